"""Fresh processes at the price of a fork: one process imports everything, and its children run train.py and are killed.

It must not compute before it forks: the threads of OpenMP do not survive a fork.
"""

import ctypes
import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Zygote:
    """Starts runs of train.py, as small as :func:`tiny_run.shrink` makes them, as processes of their own."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        assert self._answer() == "ready"

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the zygote died"
        return json.loads(line)

    def _ask(self, **command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def start(self, arguments, log: Path, *, script: str = "train", **environment: str) -> int:
        """Start ``train.py``, or another module's ``main``, with these arguments; returns its process id at once."""
        arguments = [str(a) for a in arguments]
        return self._ask(do="start", script=script, arguments=arguments, log=str(log), environment=environment)

    def start_together(self, processes: int, arguments, log: Path, **more: str) -> list[int]:
        """Start the processes of one distributed run, as a launcher would; each has a log of its own (``log-0``, …)."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        common = {
            "ACCELERATE_USE_CPU": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }  # fmt: skip
        return [
            self.start(arguments, log.with_name(f"{log.name}-{r}"), RANK=str(r), LOCAL_RANK=str(r), **common, **more)
            for r in range(processes)
        ]

    def wait(self, pid: int) -> int:
        """Wait for a process; returns its exit code, negative for a signal."""
        return self._ask(do="wait", pid=pid)

    def run(self, arguments, log: Path) -> int:
        """Start and wait."""
        return self.wait(self.start(arguments, log))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def _child(script: str, arguments: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    if "MACHINE" in environment:
        _enter(environment["MACHINE"])
    if "FOLDER" in environment:
        os.chdir(environment["FOLDER"])
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        if environment.get("SPOIL_RANK") == os.environ.get("RANK", "0"):
            _spoil()
        if "PREDICT_ROWS" in environment:
            importlib.import_module("alexnet_skip.features.source").PREDICT_ROWS = int(environment["PREDICT_ROWS"])
        if "RUN_AS" in environment:
            os.setuid(int(environment["RUN_AS"]))
        code = importlib.import_module(script).main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    os._exit(code)


def _enter(machine: str) -> None:
    """Go into a network namespace, as ``ip netns exec`` does (os.setns comes with Python 3.12)."""
    namespace = os.open(f"/run/netns/{machine}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0):
        raise OSError(ctypes.get_errno(), f"{machine} can't be entered")
    os.close(namespace)


def _spoil() -> None:
    """Make the eighth loss of this process NaN."""
    from alexnet_skip.training.finite_guard import FiniteGuard

    backward, calls = FiniteGuard.backward, []

    def spoilt(guard, loss, factor):
        calls.append(1)
        backward(guard, loss * float("nan") if len(calls) == 8 else loss, factor)

    FiniteGuard.backward = spoilt


if __name__ == "__main__":
    import tiny_run

    tiny_run.shrink(setattr)
    tiny_run.share_processors(setattr)
    # Once here, not in every child; the last is what the first optimizer imports.
    for module in ("train", "evaluate", "embed", "torch._dynamo"):
        importlib.import_module(module)
    importlib.import_module("alexnet_skip.evaluation.evaluate").draw_evaluation = lambda *_: None
    importlib.import_module("alexnet_skip.embedding.output").write_pictures = lambda *_: None
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "start":
            pid = os.fork()
            if pid == 0:
                sys.stdin.close()
                _child(command["script"], command["arguments"], command["log"], command["environment"])
            print(json.dumps(pid), flush=True)
        else:
            _, status = os.waitpid(command["pid"], 0)
            print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
