"""Signals that end a run (Ctrl-C, Slurm's SIGTERM): at once, or after the step at hand where a state must be kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sacred.utils import SacredInterrupt

from Stage1.signals import signal_handlers

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LONGEST_STEP = 30.0  # seconds that a run has for the step or test at hand, and for keeping its state


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

    with signal_handlers(dict.fromkeys(SIGNALS, interrupt)):
        yield


@contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within it, a signal only leaves its number, for whoever asks.

    `RunInterrupted` is raised where nobody has asked `LONGEST_STEP` seconds later, and by a second SIGINT.

    Yields:
        the question: the number of the signal that came, or None.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise RunInterrupted(number)
        if not received:
            signal.setitimer(signal.ITIMER_REAL, LONGEST_STEP)
        received.append(number)

    def give_up(number: int, frame: FrameType | None) -> None:
        raise RunInterrupted(received[0], f"nothing was kept, for the step took over {LONGEST_STEP:.0f} s")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    with signal_handlers(dict.fromkeys(SIGNALS, note) | {signal.SIGALRM: give_up}):
        try:
            yield lambda: received[0] if received else None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
