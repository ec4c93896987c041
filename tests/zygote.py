"""Fresh processes at the price of a fork: one process imports everything, and its children run train.py and are killed.

It must not compute before it forks: the threads of OpenMP do not survive a fork.
"""

import json
import os
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

    def start(self, arguments, log: Path) -> int:
        """Start ``train.py`` with these arguments; returns its process id at once."""
        return self._ask(do="start", arguments=[str(a) for a in arguments], log=str(log))

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


def _child(arguments: list[str], log: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        code = train.main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    os._exit(code)


if __name__ == "__main__":
    import tiny_run

    import train

    tiny_run.shrink(setattr)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "start":
            pid = os.fork()
            if pid == 0:
                sys.stdin.close()
                _child(command["arguments"], command["log"])
            print(json.dumps(pid), flush=True)
        else:
            _, status = os.waitpid(command["pid"], 0)
            print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
