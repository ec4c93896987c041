"""Which processes fill one feature cache: those that see the same folder, on one machine or on several."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object


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
    folder.mkdir(parents=True, exist_ok=True)
    marks[me].touch()
    accelerator.wait_for_everyone()
    leaders = gather_object([next(process for process, mark in enumerate(marks) if mark.exists())])
    marks[me].unlink()  # now that all have looked
    disks = tuple(sorted(set(leaders)).index(leader) for leader in leaders)
    members = [process for process, disk in enumerate(disks) if disk == disks[me]]
    return Crew(members.index(me), len(members), disks[me], disks)
