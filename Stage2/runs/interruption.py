"""Signals that end a run (Ctrl-C, Slurm's SIGTERM): at once, or after the step at hand where a state must be kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sacred.utils import SacredInterrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunInterrupted(SacredInterrupt):
    """A signal ended the run; sacred notes it as INTERRUPTED in run.json.

    Attributes:
        status: exit status of the process, 128 + the signal's number: 130 after SIGINT, 143 after SIGTERM.
    """

    STATUS = "INTERRUPTED"

    def __init__(self, number: int, message: str = "nothing was kept"):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.status = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM raise `RunInterrupted`; only the main thread can see to that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise RunInterrupted(number)

    with _handler(interrupt):
        yield


@contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within it, a signal only leaves its number, for whoever asks; a second SIGINT raises `RunInterrupted`.

    Yields:
        the question: the number of the signal that came, or None.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise RunInterrupted(number)
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    with _handler(note):
        yield lambda: received[0] if received else None


@contextmanager
def _handler(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
