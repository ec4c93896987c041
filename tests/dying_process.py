"""The agent that the launcher starts, with forks for processes, which need not import PyTorch; the second one dies."""

import os
import sys
import traceback
from pathlib import Path

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import train
from alexnet_skip.training.trainer import Trainer


def work(arguments: list[str], pids: Path) -> None:
    """Train as one of the processes, which writes its id into a folder."""
    rank = os.environ["RANK"]
    (pids / f"{rank}.pid").write_text(str(os.getpid()))

    def record(trainer, epoch, figures):
        raise RuntimeError("the second process has had enough")

    if rank == "1":
        Trainer.record = record
    try:
        code = train.main(arguments)
    except BaseException:
        # Python itself would print it and end so, were this a script.
        traceback.print_exc()
        sys.stderr.flush()
        code = 1
    os._exit(code)


def main(arguments: list[str]) -> int:
    """Start two processes, as ``--standalone --nproc_per_node 2`` does; the first argument is a folder for ids."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="dying", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        max_restarts=0, start_method="fork",
    )  # fmt: skip
    elastic_launch(config, work)(arguments[1:], Path(arguments[0]))
    return 0
