"""What a dry run tells: rows for people, facts for programs, and what keeps the command from starting."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from alexnet_skip.devices.precision import Precision
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console, size
from alexnet_skip.system.errors import UserError
from alexnet_skip.upkeep.inventory import CacheState


@dataclass(frozen=True)
class DiskNeed:
    """What is needed of the disk that a folder is on, and what to do where it is too little."""

    what: str
    folder: Path
    num_bytes: int
    way_out: str


@dataclass
class Plan:
    """What is told: rows for people, the same for programs, and what keeps the command from starting."""

    console: Console
    rows: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def tell(self, what: str, text: str, **facts: Any) -> None:
        """Add a row, and its facts for programs."""
        self.rows.append([what, text])
        self.facts |= facts

    def tell_machine(self, accelerator: Accelerator, precision: Precision) -> None:
        """Add device, processes and precision."""
        device = accelerator.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} thread(s)"
        self.tell("device", f"{device} ({name}), {accelerator.num_processes} process(es)", device=str(device))
        self.tell(
            "precision", f"{precision.mixed_precision}: {precision.reason}", precision=precision.mixed_precision,
            num_processes=accelerator.num_processes,
        )  # fmt: skip

    def tell_cache(self, state: CacheState, folder: Path | None) -> None:
        """Add what of the features is there; a folder of None is no cache."""
        if folder is None:
            self.tell("feature cache", "not used (--no-cache): the convolutions run again for every batch")
            return
        nothing = "nothing is there" if state.missing_images else "nothing is needed of it"
        known = f"{state.hits} of {state.blocks} blocks are there" if state.blocks else nothing
        self.tell(
            "feature cache", f"{known}; {state.missing_images:,} image passes to extract ({folder})",
            cache_hits=state.hits, cache_blocks=state.blocks, images_to_extract=state.missing_images,
        )  # fmt: skip

    def tell_room(self, what: str, needed: int, free: int | None, way_out: str) -> None:
        """Add a row of room needed and free, and a problem where there is too little."""
        self._tell_need(what, needed, free)
        if free is not None and needed > free:
            self.problems.append(f"{what}: {size(needed)} are needed, {size(free)} are free; {way_out}")

    def tell_disks(self, needs: Sequence[DiskNeed]) -> None:
        """Add a row for each need of room on a disk, and a problem where those on one disk are too much together."""
        disks: dict[int, list[DiskNeed]] = {}
        for need in needs:
            self._tell_need(need.what, need.num_bytes, machine.free_disk_bytes(need.folder))
            disks.setdefault(machine.disk_of(need.folder), []).append(need)
        for together in disks.values():
            free = machine.free_disk_bytes(together[0].folder)
            if sum(need.num_bytes for need in together) > free:
                needed = " and ".join(f"{need.what}: {size(need.num_bytes)}" for need in together)
                ways_out = ", or ".join(need.way_out for need in together)
                self.problems.append(f"{needed} are needed, {size(free)} are free on that disk; {ways_out}")

    def _tell_need(self, what: str, needed: int, free: int | None) -> None:
        shown = "unknown" if free is None else size(free)
        name = what.replace(" ", "_")
        self.tell(what, f"{size(needed)} needed, {shown} free", **{f"{name}_needed": needed, f"{name}_free": free})

    def conclude(self, title: str) -> dict[str, Any]:
        """Print the table; returns the facts.

        Raises:
            UserError: if there is a problem.
        """
        self.console.table(title, ("what", "how it stands"), self.rows)
        if self.problems:
            raise UserError("this would not start: " + "; ".join(self.problems))
        self.console.line("This would start. Nothing was written.")
        return self.facts | {"would_start": True}
