"""Ctrl-C and SIGTERM: finish what must not be torn, then leave with the exit code that tells why."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

# A terminal sends Ctrl-C to every process, and a launcher passes it on once more: within this time it is one Ctrl-C.
SAME_KEYPRESS_SECONDS = 1.0


class InterruptedRunError(Exception):
    """A run stopped because it was asked to; says how to go on.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM: 128 and the signal's number.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Interruption:
    """Within this context the first Ctrl-C or SIGTERM is only noted; a second Ctrl-C leaves at once.

    Attributes:
        signal_number: of the signal received; 0 before any.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._received = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._receive)
            except ValueError:
                break  # not the main thread: whoever runs us there looks after signals
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self.signal_number and error is None:
            # Nobody stopped for it while it was noted: whoever goes on from here has to.
            signal.raise_signal(self.signal_number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.signal_number:
            self.signal_number, self._received = number, now
        elif number == signal.SIGINT and now - self._received > SAME_KEYPRESS_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """Within this context SIGTERM ends the program as Ctrl-C does, by an exception.

    Raises:
        InterruptedRunError: from wherever the signal finds the program.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError("Terminated; what was finished is kept.", number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: whoever runs us there looks after signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
