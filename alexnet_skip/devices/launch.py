"""Start Accelerate: which device, how many processes, which precision, and whether the copies see each other."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
    TorchDynamoPlugin,
)

from alexnet_skip.devices.environment import ON, PRECISION, check_environment, lone_process, wanted_precision
from alexnet_skip.devices.idle_card import installed_torch, tell_idle_card
from alexnet_skip.devices.precision import Precision, choose_precision, describe
from alexnet_skip.devices.self_test import self_test
from alexnet_skip.system.console import Console, is_first_process
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.machine import available_cpus, keep_freed_memory
from alexnet_skip.system.script import OutputSettings

# How long processes wait for each other: while one downloads from a slow server (CIFAR-10's has taken an hour), waits
# for a cache that another training fills, or fits the basis. By default NCCL gives up after 10 minutes, gloo after 30.
COLLECTIVE_TIMEOUT = timedelta(hours=3)


def start(
    mixed_precision: Literal["auto", "no", "fp16", "bf16"],
    logging_dir: Path | None = None,
    *,
    force_precision: bool = False,
    batch_size: int = 1,
) -> tuple[Accelerator, Precision]:
    """Create the Accelerator of this process.

    Args:
        mixed_precision, force_precision: as :func:`alexnet_skip.devices.precision.choose_precision` takes them.
        batch_size: over all processes; fp16 is tried with this process's share.
        logging_dir: where TensorBoard runs are kept, or None to log nothing.

    Raises:
        UserError: if the launcher asks for what these scripts can't do, several copies were launched that do not see
            each other or are more than the GPUs, or the precision is not possible.
    """
    check_environment()
    rank = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").strip().lower() not in ON
    cuda = cuda and not installed_torch(rank).lacks_the_card
    if cuda and rank >= (cards := torch.cuda.device_count()):
        raise UserError(
            f"LOCAL_RANK is {rank}, but this process sees {cards} GPU(s), and each process of a machine takes one of "
            f"its own; launch {cards} on it (--num_processes of `accelerate launch`, --nproc_per_node of torchrun)"
        )
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    trial = partial(self_test, device, max(1, batch_size // launched))
    wish = wanted_precision() if mixed_precision == "auto" else os.environ.get(PRECISION)
    precision = choose_precision(mixed_precision, describe(device), trial, force=force_precision, launcher=wish)
    project = ProjectConfiguration(str(logging_dir), str(logging_dir)) if logging_dir else None
    accelerator = _accelerator(cuda, precision, project)
    if launched != accelerator.num_processes:
        raise UserError(
            f"WORLD_SIZE is {launched}, but this process sees {accelerator.num_processes} process(es): the copies "
            "would overwrite each other; launch with `accelerate launch --multi_gpu`, or on CPUs with "
            "`ACCELERATE_USE_CPU=1 torchrun --standalone --nproc_per_node 2 train.py`"
        )
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    # Launchers set OMP_NUM_THREADS=1 unless they are told otherwise: the other cores would stay idle, with a GPU where
    # the basis is fitted.
    threads, by_launcher = os.environ.get("OMP_NUM_THREADS"), {PRECISION, "WORLD_SIZE"} & os.environ.keys()
    if threads is None or (threads == "1" and by_launcher):
        torch.set_num_threads(available_cpus())
    set_products(accelerator.device.type)
    return accelerator, precision


def set_products(device_type: str) -> None:
    """How products of the head and convolutions that learn are made where they are not in mixed precision."""
    if device_type == "cpu":
        # oneDNN's matrix products: fp32 arithmetic, and over twice as fast as MKL's on AMD processors (measured). On
        # processors with native bf16 matrix units torch may round inputs to bf16 here, as TF32 does on GPUs.
        torch.set_float32_matmul_precision("medium")
    else:
        # TF32 in the head, where the card has it; cards without it take no notice. Convolutions that learn are judged
        # and published in true fp32, and are trained so.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = False


def _accelerator(cuda: bool, precision: Precision, project: ProjectConfiguration | None) -> Accelerator:
    """Accelerate's object, with everything given that it would take from the environment otherwise.

    Raises:
        UserError: if Accelerate refuses to start, or starts on what these scripts do not run on.
    """
    try:
        # cpu=True: without it, torchrun on a machine without a GPU gives independent copies (accelerate#2741).
        accelerator = Accelerator(
            cpu=not cuda,
            mixed_precision=precision.mixed_precision,
            log_with="tensorboard" if project else None,
            project_config=project,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            dynamo_plugin=TorchDynamoPlugin(
                backend="no", mode="default", fullgraph=False, dynamic=False, use_regional_compilation=False
            ),
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=COLLECTIVE_TIMEOUT),
                # The only buffers are the PCA projection and what follows from it, which never change.
                DistributedDataParallelKwargs(broadcast_buffers=False),
            ],
        )
    except (ImportError, NotImplementedError, ValueError) as error:
        variables = ", ".join(sorted(name for name in os.environ if name.startswith("ACCELERATE_"))) or "none"
        raise UserError(
            f"Accelerate does not start ({str(error).splitlines()[0]}); change what it was launched with (variables "
            f"set: {variables}), or use `python` instead of `accelerate launch`"
        ) from None
    kinds = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in kinds or accelerator.device.type not in ("cpu", "cuda"):
        raise UserError(
            f"Accelerate has started as {accelerator.distributed_type} on {accelerator.device}, but must run on CPUs "
            "or on NVIDIA or AMD GPUs; use `accelerate launch --cpu` or `--multi_gpu`"
        )
    return accelerator


def start_anew() -> None:
    """Let the next start be as the first of its process: a notebook trains in one precision and evaluates in another.

    Accelerate's state outlives its object and refuses any other precision; there is no public call that ends it.
    """
    AcceleratorState._reset_state(reset_partial_state=True)


def open_console(quiet: bool, accelerator: Accelerator) -> Console:
    """The console of a started process; says first where fewer processes were started than asked for."""
    console = Console(quiet, accelerator.is_main_process)
    if accelerator.num_processes == 1 and (told := lone_process()):
        console.line(told, style="yellow")
    return console


Settings = TypeVar("Settings", bound=OutputSettings)


@dataclass(frozen=True)
class Job(Generic[Settings]):
    """What a command that trains nothing has in hand, in each of its processes.

    Attributes:
        settings: what it is asked for.
        accelerator: its device, and the other processes.
        console: shows what the main process says.
    """

    settings: Settings
    accelerator: Accelerator
    console: Console


def start_job(settings: Settings) -> Job[Settings]:
    """Start Accelerate for a command that trains nothing: in fp32, without a log; raises as :func:`start`."""
    with Console(settings.quiet, is_first_process()).working("Starting Accelerate"):
        accelerator, _ = start("no")
    if accelerator.device.type != "cpu":
        torch.set_float32_matmul_precision("highest")  # judged without TF32, which is for training the head
    console = open_console(settings.quiet, accelerator)
    tell_idle_card(console)
    return Job(settings, accelerator, console)
