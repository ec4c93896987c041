"""Which processes fill one feature cache: all of them where they share a disk, otherwise those of one machine."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list


@dataclass(frozen=True)
class Crew:
    """This process's place among those that fill the same cache.

    Attributes:
        rank: from 0, who leads.
        shared: whether all processes of the run see the same disk.
    """

    rank: int
    size: int
    shared: bool


def crew_of(folder: Path, accelerator: Accelerator) -> Crew:
    """Find out whether all processes see the same folder, by a file that the main one makes in it; on every process."""
    everyone = Crew(accelerator.process_index, accelerator.num_processes, True)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    if local == accelerator.num_processes:
        return everyone  # on one machine
    (name,) = broadcast_object_list([f".seen-{uuid.uuid4().hex}"])
    mark = folder / name
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    accelerator.wait_for_everyone()
    seen = torch.tensor(int(mark.exists()), device=accelerator.device)
    shared = int(accelerator.reduce(seen, "sum").item()) == accelerator.num_processes
    if accelerator.is_main_process:
        mark.unlink()
    return everyone if shared else Crew(accelerator.local_process_index, local, False)
