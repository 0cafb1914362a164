"""One run as a process: alone at its log, which gets all that it prints, and asked to stop when its driver ends."""

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from Stage1.signals import signal_handlers

PATIENCE = 120  # seconds that a run has for keeping its state when it is asked to stop
WITHOUT_END = 1e8  # seconds: a wait that a cancelled Ray task can interrupt
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEADER = "=== "  # of a run in its log
HELD = 75  # status of flock(1) where another process holds the file


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within it, SIGINT, SIGTERM and SIGHUP raise a KeyboardInterrupt with their number."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt(number)

    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    with signal_handlers(dict.fromkeys(heeded, interrupt)):
        yield


def run_process(words: Sequence[str], log: Path, title: str, environment: Mapping[str, str], *, wait: float = 0,
                shown: bool = False) -> int:  # fmt: skip
    """Run a command to its end; what interrupts this, or kills this process, asks the command to stop.

    flock(1) holds the log as long as the command lives, setpriv(1) sends SIGTERM where this process is gone, and
    tee(1) fills console and log.

    Args:
        words: the command.
        log: gets all that it prints, after the command itself.
        title: of the run.
        environment: variables to add to this process's.
        wait: seconds that another process at the log has for its end.
        shown: the console gets it as well, as long as there is one.

    Returns:
        Exit status as a shell tells it.

    Raises:
        ValueError: another process holds the log.
        OSError: the log cannot be written.
    """
    alone = ["flock", "--wait", str(wait), "--conflict-exit-code", str(HELD), "--no-fork", str(log)]
    before = [*["setpriv", "--pdeathsig", "TERM"], *alone] if shutil.which("setpriv") and shutil.which("flock") else []
    full = "make room, or name another folder by LOGS; the same command goes on from here."
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab", buffering=0)
        file.write(f"{HEADER}{datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(words)}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise OSError(f"{log} could not be written ({error.strerror}); {full}") from error
    apart = {"start_new_session": True}  # Ctrl-C comes from here, once
    with file:
        run = subprocess.Popen(
            [*before, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if shown else file,
            stderr=subprocess.STDOUT, env={**os.environ, **environment}, **apart,
        )  # fmt: skip
        copy = None
        if shown:
            copy = subprocess.Popen(["tee", "-a", "--output-error=exit-nopipe", log], stdin=run.stdout, **apart)
            run.stdout.close()
        try:
            status = run.wait(WITHOUT_END)
        finally:
            with _uninterrupted():
                end_process(run, signal.SIGTERM, PATIENCE)
    if copy and copy.wait():
        raise OSError(f"{title} was stopped, for its log {log} could not be written; {full}")
    if status == HELD:
        raise ValueError(f"{title}: another process is at this run (it holds {log}); wait for it, or end it.")
    return status if status >= 0 else 128 - status


def end_process(process: subprocess.Popen, asked_by: signal.Signals, patience: float) -> None:
    """Ask a process that is still there to stop, by a signal, and kill it where it has not after so many seconds."""
    if process.poll() is None:
        process.send_signal(asked_by)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Within it, to be asked to stop once more changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with signal_handlers(dict.fromkeys(SIGNALS, signal.SIG_IGN)):
        yield


def last_lines(log: Path, count: int = 20) -> list[str]:
    """Last lines of a console log; of a progress bar, its last state."""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 100_000, 0))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line.strip() and not line.startswith(HEADER)][-count:]
