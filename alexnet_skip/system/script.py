"""How a script begins and ends: a sign of life at once, the exit code, and the one JSON line for programs."""

import errno
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from alexnet_skip.system.console import REFUSED, Console, is_first_process
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.interruption import InterruptedRunError, signals_as_exceptions
from alexnet_skip.system.streams import make_streams_print, reader_may_leave

# What takes seconds to import, and every script needs once its command line is understood.
SLOW_PACKAGES = ("torch", "accelerate", "matplotlib.figure")


class OutputSettings(Protocol):
    """Settings that say what is shown."""

    @property
    def quiet(self) -> bool:
        """Show nothing but the JSON line."""
        ...

    @property
    def json(self) -> bool:
        """Show the JSON line on a terminal, too."""
        ...


Settings = TypeVar("Settings", bound=OutputSettings)


def run_script(parse: Callable[[], Settings], body: Callable[[Settings], tuple[dict[str, Any], bool]]) -> int:
    """Run a script; returns its exit code: 0, 2 for a user's mistake, 128 and its number after a signal (Ctrl-C 130).

    Args:
        parse: reads the command line.
        body: returns the figures and paths a program needs, and whether this process prints them as the last line.
    """
    make_streams_print()
    try:
        with signals_as_exceptions():
            with reader_may_leave():
                settings = parse()
            with Console(settings.quiet, is_first_process()).working("Starting: loading PyTorch"):
                for package in SLOW_PACKAGES:
                    importlib.import_module(package)
            result, speaks = body(settings)
    except UserError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        if error.errno == errno.EACCES and error.filename2:
            # Windows replaces no file that is open; the first name is that of what was to take its place.
            return _refuse(
                f"{error.filename2} can't be replaced ({error.strerror}): most likely it is open in another program; "
                "close it there, and run again"
            )
        place = f"{error.filename}: " if error.filename else ""
        return _refuse(
            f"{place}{error.strerror}; make room or choose a folder that can be written, and run again: what was "
            "finished is kept, and train.py --resume goes on with a run"
        )
    except KeyboardInterrupt:
        Console().line("Interrupted.")
        return 130
    except InterruptedRunError as end:
        if str(end):
            Console().line(str(end))
        return end.exit_code
    if speaks and (settings.quiet or settings.json or not _is_terminal(sys.stdout)):
        with reader_may_leave():
            print_json(result)
    return 0


def _refuse(reason: str) -> int:
    console = Console()
    console.error(reason)
    # The launcher sets it always, and its config file may.
    if is_first_process() and "ACCELERATE_MIXED_PRECISION" in os.environ:
        console.line(
            "(A traceback below is the launcher's own, as is its exit code 1; its --quiet leaves the traceback out. On "
            "one device `python` instead of `accelerate launch` does the same, and ends with exit code 2.)"
        )
    return 2


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()


def print_json(value: Mapping[str, Any]) -> None:
    """Print the one line on stdout that a program reads: figures and paths as one JSON object."""
    print(json.dumps(value, allow_nan=False), flush=True)
