"""Ctrl-C, SIGTERM, a closed terminal: finish what must not be torn, then leave with the exit code that tells why."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from alexnet_skip.system.streams import let_go_of_terminal

# A terminal sends Ctrl-C to every process, and a launcher passes it on once more: within this time it is one Ctrl-C.
SAME_KEYPRESS_SECONDS = 1.0
# All that end a session: Ctrl-C, a stop by the system, a closed terminal (POSIX, Windows), as far as a system has them.
ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)  # fmt: skip

Handler = Callable[[int, FrameType | None], None]


class InterruptedRunError(BaseException):
    """A run stopped because it was asked to; says how to go on.

    Like KeyboardInterrupt no ``Exception``: a library that reads a file would take it for a damaged one.

    Attributes:
        exit_code: 128 and the signal's number: 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def _install(numbers: tuple[int, ...], handler: Handler) -> dict[int, object]:
    """Set a handler for signals; returns those before. What ``nohup`` has ignored stays ignored."""
    before: dict[int, object] = {}
    for number in numbers:
        if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
            continue
        try:
            before[number] = signal.signal(number, handler)
        except ValueError:
            break  # not the main thread: whoever runs us there looks after signals
    return before


def _restore(before: dict[int, object]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


class Interruption:
    """Within this context the first signal of :data:`ENDING` is only noted; a second Ctrl-C leaves at once.

    Attributes:
        signal_number: of the signal received; 0 before any.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._received = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        self._before = _install(ENDING, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._before)
        if self.signal_number and error is None:
            # Nobody stopped for it while it was noted: whoever goes on from here has to.
            signal.raise_signal(self.signal_number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        let_go_of_terminal()
        if not self.signal_number:
            self.signal_number, self._received = number, now
        elif number == signal.SIGINT and now - self._received > SAME_KEYPRESS_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Within this context a signal that ends a session ends the program as Ctrl-C does, by an exception.

    Raises:
        InterruptedRunError: from wherever the signal finds the program.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        let_go_of_terminal()
        raise InterruptedRunError("Terminated; what was finished is kept.", number)

    before = _install(tuple(number for number in ENDING if number != signal.SIGINT), leave)
    try:
        yield
    finally:
        _restore(before)
