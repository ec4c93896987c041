"""Which processes fill one cache, and how disks that are not shared get what others extracted."""

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import distributed

from alexnet_skip.features.cache import FeatureCache
from alexnet_skip.system.files import release_pages


@dataclass(frozen=True)
class Crew:
    """This process's place among those that fill the same cache.

    Attributes:
        rank: from 0, who leads.
        disk: number of the disk that this process's cache lies on.
        disks: the same of every process of the run.
    """

    rank: int
    size: int
    disk: int
    disks: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether all processes of the run see the same disk."""
        return len(set(self.disks)) == 1

    @property
    def leaders(self) -> list[int]:
        """For each disk, the process that leads there."""
        return [self.disks.index(disk) for disk in sorted(set(self.disks))]


def crew_of(folder: Path, accelerator: Accelerator) -> Crew:
    """Find out which processes see the same folder, by a file that each makes in it; to be called by every process."""
    me, total = accelerator.process_index, accelerator.num_processes
    if int(os.environ.get("LOCAL_WORLD_SIZE", total)) == total:
        return Crew(me, total, 0, (0,) * total)  # on one machine
    (token,) = broadcast_object_list([uuid.uuid4().hex])
    marks = [folder / f".seen-{token}-{process}" for process in range(total)]
    with suppress(OSError):  # a disk that can't be written counts as this process's own: nothing is exchanged on it
        folder.mkdir(parents=True, exist_ok=True)
        marks[me].touch()
    accelerator.wait_for_everyone()
    leaders = gather_object([next((process for process, mark in enumerate(marks) if mark.exists()), me)])
    with suppress(OSError):  # which such a disk says of what is not there, too
        marks[me].unlink(missing_ok=True)  # now that all have looked
    disks = tuple(sorted(set(leaders)).index(leader) for leader in leaders)
    members = [process for process, disk in enumerate(disks) if disk == disks[me]]
    return Crew(members.index(me), len(members), disks[me], disks)


Piece = tuple[int, str]  # a block of rows, and the array that it belongs to


@dataclass(frozen=True)
class Division:
    """Who does what.

    Attributes:
        extract: for each process, the blocks that it extracts, and the arrays to write of each.
        send: pieces in order, with the disk that has each when everything is extracted.
        lacking: for each disk, what it lacked at the start.
    """

    extract: list[dict[int, list[str]]]
    send: dict[Piece, int]
    lacking: list[set[Piece]]


def divide(lacking: Sequence[Mapping[int, Sequence[str]]], disks: Sequence[int]) -> Division:
    """Share the work: what no disk has is extracted once, by all processes alike; the rest is only sent.

    Args:
        lacking: for each process, blocks and arrays that its disk lacks; those of one disk each report some.
        disks: for each process, its disk's number from 0.
    """
    of_disk: list[set[Piece]] = [set() for _ in range(max(disks) + 1)]
    for disk, blocks in zip(disks, lacking, strict=True):
        of_disk[disk] |= {(block, name) for block, names in blocks.items() for name in names}
    nowhere = set.intersection(*of_disk)
    extract: list[dict[int, list[str]]] = [{} for _ in disks]
    send: dict[Piece, int] = {}
    for turn, block in enumerate(sorted({block for block, _ in nowhere})):
        process = turn % len(disks)
        extract[process][block] = sorted(name for b, name in nowhere if b == block)
        send |= {(block, name): disks[process] for name in extract[process][block]}
    for piece in set.union(*of_disk) - nowhere:
        send[piece] = next(disk for disk, pieces in enumerate(of_disk) if piece not in pieces)
    return Division(extract, dict(sorted(send.items())), of_disk)


def exchange(cache: FeatureCache, division: Division, crew: Crew, accelerator: Accelerator) -> None:
    """Send every piece from the disk that has it to those that lacked it; to be called by every process."""
    leaders = distributed.new_group(crew.leaders)  # which every process must make
    if isinstance(leaders, distributed.ProcessGroup):  # this process is one of them
        arrays = {name: cache.open(name, "r+") for name in {name for _, name in division.send}}
        with cache.progress_file(crew.rank).open("a", encoding="utf-8") as progress:
            for (block, name), disk in division.send.items():
                rows = np.array(arrays[name][cache.rows(block)])
                piece = torch.from_numpy(rows).to(accelerator.device)
                distributed.broadcast(piece, src=crew.leaders[disk], group=leaders)
                if disk != crew.disk and (block, name) in division.lacking[crew.disk]:
                    progress.write(cache.write(name, block, piece.cpu().numpy(), arrays[name]))
                    progress.flush()
                release_pages(arrays[name])
        for array in arrays.values():
            array.flush()  # type: ignore[attr-defined]
        distributed.destroy_process_group(leaders)
    accelerator.wait_for_everyone()
