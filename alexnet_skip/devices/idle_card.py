"""An NVIDIA card that PyTorch can't use, and the commands that mend it: without them it idles and nobody is told."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from alexnet_skip.devices.environment import ON
from alexnet_skip.system.console import Console

INDEX = "https://download.pytorch.org/whl/"
# Of PyTorch 2.14's wheels (its RELEASE.md, CUDA Support Matrix): cu126 runs on compute capability 5.0 to 9.0 and with
# drivers from 525 on, cu130 from 7.5 on (the only one for 10.0 and above) and with drivers from 580 on.
OLD, NEW, NEEDS_NEW = "cu126", "cu130", (10, 0)
OLDEST_CUDA = 12
# Drivers that CUDA's major versions need (NVIDIA's CUDA Compatibility, table 1).
DRIVERS = {"11": 450, "12": 525, "13": 580}

PROC = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class TorchBuild:
    """What a decision needs to know of the installed PyTorch and of the card as it sees it.

    Attributes:
        cuda: CUDA's version that it is built with; None without CUDA.
        architectures: what it is compiled for, as ``torch.cuda.get_arch_list`` has it.
        capability: the card's compute capability, None if PyTorch can't reach a card.
        name: the card's, as PyTorch has it.
    """

    cuda: str | None
    architectures: tuple[str, ...] = ()
    capability: tuple[int, int] | None = None
    name: str = ""

    @property
    def lacks_the_card(self) -> bool:
        """Whether PyTorch reaches a card that it is not compiled for."""
        return self.capability is not None and not runs_on(self.architectures, self.capability)


def installed_torch(device_index: int = 0) -> TorchBuild:
    """Describe this process's PyTorch; for AMD's there is nothing to know."""
    if not torch.cuda.is_available() or torch.version.hip is not None:
        return TorchBuild(torch.version.cuda or torch.version.hip)
    index = min(device_index, torch.cuda.device_count() - 1)
    capability, name = torch.cuda.get_device_capability(index), torch.cuda.get_device_name(index)
    return TorchBuild(torch.version.cuda, tuple(torch.cuda.get_arch_list()), capability, name)


def runs_on(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a card.

    Machine code (``sm_86``) runs on its major version from its minor version on, PTX (``compute_90``) on every later
    card; either with a suffix (``sm_90a``) on that very card, or with ``f`` on its major version.
    """
    for architecture in architectures:
        if found := re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture):
            kind, built, suffix = found[1], (int(found[2]), int(found[3])), found[4]
            later = built <= capability and (built[0] == capability[0] or (kind == "compute" and not suffix))
            if built == capability if suffix == "a" else later:
                return True
    return not architectures


def find_cards() -> list[str]:
    """Names of the NVIDIA cards whose driver is there, whatever PyTorch says; empty where there is none."""
    if program := shutil.which("nvidia-smi"):
        try:
            listed = subprocess.run([program, "-L"], capture_output=True, text=True, errors="replace", timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            listed = None
        # It fails where the driver is installed and the card is not.
        if listed and listed.returncode == 0:
            return re.findall(r"^GPU \d+: (.+?) \(UUID", listed.stdout, re.MULTILINE) or ["an NVIDIA card"]
    elif platform.system() == "Windows":
        library = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll")
        return ["an NVIDIA card"] if library.is_file() else []
    try:
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(PROC.glob("*/information"))]
    except OSError:
        return []
    return [model[1] if (model := re.search(r"Model:\s*(.+)", text)) else "an NVIDIA card" for text in texts]


def hidden(environment: Mapping[str, str]) -> bool:
    """Whether the user has asked for the CPU, or hidden the cards."""
    cards = environment.get("CUDA_VISIBLE_DEVICES")
    return environment.get("ACCELERATE_USE_CPU", "").strip().lower() in ON or (
        cards is not None and cards.strip() in ("", "-1")
    )


def advice(build: TorchBuild, cards: Sequence[str]) -> tuple[str, str | None] | None:
    """What to say of cards that PyTorch can't use, and the index of one that can; None if there is nothing to say.

    The index is None where no other PyTorch would help.
    """
    if build.lacks_the_card:
        assert build.capability is not None
        capability, made_for = ".".join(map(str, build.capability)), ", ".join(build.architectures)
        return (
            f"{build.name} has compute capability {capability}, but this PyTorch is made for {made_for}: everything "
            "runs on the CPU. Install one that fits, by the two lines below.",
            NEW if build.capability >= NEEDS_NEW else OLD,
        )
    if build.capability is not None or not cards:
        return None
    if build.cuda is None:
        return (
            f"{cards[0]} is here, but the installed PyTorch has no CUDA: everything runs on the CPU. Install PyTorch "
            f"with CUDA, by the two lines below; for an RTX 50xx write {NEW} instead of {OLD}.",
            OLD,
        )
    major = build.cuda.partition(".")[0]
    needed = f"; it needs one from {DRIVERS[major]} on" if major in DRIVERS else ""
    told = (
        f"{cards[0]} is here, but PyTorch, which is built with CUDA {build.cuda}, can't reach it: everything runs on "
        f"the CPU. Most often the driver is older than that (nvidia-smi shows which it is{needed}). Update it from "
        "nvidia.com/drivers"
    )
    if int(major) <= OLDEST_CUDA:  # there is none for an older driver
        return f"{told}.", None
    return f"{told}, or install PyTorch with an older CUDA, by the two lines below.", OLD


def commands(index: str) -> tuple[str, str]:
    """What installs PyTorch from an index, on any shell; versions as in pyproject.toml, or PyPI's would replace it."""
    return (
        "python -m pip uninstall --yes torch torchvision",
        f'python -m pip install "torch<2.15" "torchvision<0.30" --index-url {INDEX}{index}',
    )


def tell_idle_card(console: Console) -> None:
    """Show a panel if there is an NVIDIA card that PyTorch can't use, unless the CPU was chosen."""
    if hidden(os.environ):
        return
    build = installed_torch(int(os.environ.get("LOCAL_RANK", 0)))
    reachable = build.capability is not None or torch.version.hip is not None
    if found := advice(build, [] if reachable else find_cards()):
        text, index = found
        console.panel("The graphics card is not used", text)
        # Below the panel, which would break them.
        for command in commands(index) if index is not None else ():
            console.line(f"  {command}")
