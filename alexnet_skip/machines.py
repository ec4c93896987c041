"""Which processes fill one feature cache: all of them where they share a disk, otherwise those of one machine."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object


@dataclass(frozen=True)
class Crew:
    """This process's place among those that fill the same cache.

    Attributes:
        rank: from 0, who leads.
        machine: number of this process's machine.
        machines: the same of every process of the run; all 0 where they share a disk.
    """

    rank: int
    size: int
    machine: int
    machines: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether all processes of the run see the same disk."""
        return len(set(self.machines)) == 1

    @property
    def leaders(self) -> list[int]:
        """The process of each machine that leads there."""
        return [self.machines.index(machine) for machine in sorted(set(self.machines))]


def crew_of(folder: Path, accelerator: Accelerator) -> Crew:
    """Find out whether all processes see the same folder, by a file that the main one makes in it; on every process."""
    everyone = Crew(accelerator.process_index, accelerator.num_processes, 0, (0,) * accelerator.num_processes)
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
    if shared:
        return everyone
    leads = np.array(
        gather_object([accelerator.is_local_main_process])
    )  # launchers number a machine's processes in a row
    machines = tuple((np.cumsum(leads) - 1).tolist())
    return Crew(accelerator.local_process_index, local, machines[accelerator.process_index], machines)
