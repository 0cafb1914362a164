"""Runs of an experiment on this machine: one after another, or several at a time over devices."""

import fcntl
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from Stage2.launching.plan import FoldRun
from Stage2.launching.progress import Status
from Stage2.launching.time_left import Pace, describe, time_left

POLL_SECONDS = 0.1
FIRST_REPORT, LONGEST_PAUSE = 30.0, 600.0  # seconds between reports of the time left: doubling
PATIENCE = 120.0  # seconds that a run has for keeping its state when it is asked to stop
LAST_LINES = 20
HEADER = "=== "  # of a run in its log
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """A place where one run at a time can be.

    Attributes:
        label: for people; empty where there is nothing to tell.
        environment: variables that runs there get.
    """

    label: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def make_slots(gpus: Sequence[str], jobs_per_gpu: int) -> list[Slot]:
    """Slots of the GPUs, the first one of each GPU first; without GPUs, `jobs_per_gpu` slots on the default device.

    Several runs at a time share the cores of the machine, unless OMP_NUM_THREADS says otherwise.
    """
    count = max(len(gpus), 1) * jobs_per_gpu
    shared = {}
    if count > 1 and "OMP_NUM_THREADS" not in os.environ:
        shared = {"OMP_NUM_THREADS": str(max(len(os.sched_getaffinity(0)) // count, 1))}
    if not gpus:
        return [Slot("", shared)] * jobs_per_gpu
    return [Slot(f"GPU {gpu}", shared | {"CUDA_VISIBLE_DEVICES": gpu}) for _ in range(jobs_per_gpu) for gpu in gpus]


def run_on_slots(jobs: Sequence[FoldRun], command: Callable[[FoldRun], list[str]], slots: Sequence[Slot]) -> int:
    """Run the jobs, in order, as slots become free; the first failure, or a signal, ends all others.

    With one slot the console shows what the runs print; with several it shows what starts and ends, and the time left.
    Each run's log file gets the whole of it. Trainings that are asked to stop keep their state.

    Args:
        jobs: none of them finished.
        command: the command line of a job.
        slots: where they can run.

    Returns:
        Exit status: 0, or that of the first run that failed; 128 + n after signal n.

    Raises:
        ValueError: another process is at the same run.
    """
    waiting, pace = deque(jobs), Pace()
    pause = FIRST_REPORT
    next_report = time.monotonic() + pause
    with _noted_signals() as received, _Pool(command, slots, pace) as pool:
        while (waiting or pool.running) and not received:
            while waiting and pool.free:
                pool.start(waiting.popleft())
            time.sleep(POLL_SECONDS)
            for run in pool.running:
                if run.log_error is not None:
                    logger.error(
                        "%s was stopped, for its log %s could not be written (%s); make room, or name another folder "
                        "by LOGS; the same command goes on from here.", run.job.title, run.job.log, run.log_error,
                    )  # fmt: skip
                    return 1
            for run in pool.take_ended():
                if run.status != 0 and not received:
                    logger.error(_failure(run))
                    return run.status
                if waiting or pool.running:
                    done = len(jobs) - len(waiting) - len(pool.running)
                    left = time_left(waiting, pool.running, pace, len(slots))
                    logger.info("%d of %d done, %s", done, len(jobs), describe(left))
            if len(slots) > 1 and pool.running and time.monotonic() > next_report:
                pool.report()
                logger.info("%s", describe(time_left(waiting, pool.running, pace, len(slots))))
                pause = min(2 * pause, LONGEST_PAUSE)
                next_report = time.monotonic() + pause
    return 128 + received[0] if received else 0


@dataclass
class RunningFold:
    """A run in progress, or ended.

    Attributes:
        job: what it does.
        slot: where it is.
        process: its process.
        log: its console log, locked as long as the process lives.
        begun: monotonic time of its start.
        pump: copies its output to the log, and to the console where one run at a time is at work.
        log_error: why the log could not be written; its output is still read, so that it does not wait for ever.
    """

    job: FoldRun
    slot: Slot
    process: subprocess.Popen
    log: BinaryIO
    begun: float
    pump: threading.Thread | None = None
    log_error: str | None = None

    @property
    def status(self) -> int:
        """Exit status as a shell tells it."""
        code = self.process.returncode
        return code if code >= 0 else 128 - code


class _Pool:
    """The runs in progress. Leaving it asks those that are left to stop, and waits for them."""

    def __init__(self, command: Callable[[FoldRun], list[str]], slots: Sequence[Slot], pace: Pace):
        self.command = command
        self.free = list(slots)
        self.shown = len(slots) == 1
        self.pace = pace
        self.running: list[RunningFold] = []

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *error: object) -> None:
        for run in self.running:
            logger.info("%s: asked to stop", run.job.title)
            run.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for run in self.running:
            try:
                run.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                run.process.kill()
                run.process.wait()
            self._close(run)

    def start(self, job: FoldRun) -> None:
        """Start a job in the first free slot."""
        words = self.command(job)
        log, slot = _locked_log(job, words), self.free.pop(0)
        where = f" on {slot.label}" if slot.label else ""
        resumed = job.progress.status is Status.INTERRUPTED
        again = f", going on with {job.progress.run} (step {job.progress.step} or later)" if resumed else ""
        logger.info("%s%s: %s%s; log %s", job.title, where, job.start, again, job.log)
        self.pace.begin(job)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **slot.environment},
            start_new_session=True,  # Ctrl-C comes from here, once
            pass_fds=(log.fileno(),),  # keeps the lock as long as the run lives
        )
        run = RunningFold(job, slot, process, log, time.monotonic())
        run.pump = threading.Thread(target=_copy, args=(run, self.shown), daemon=True)
        run.pump.start()
        self.running.append(run)

    def take_ended(self) -> list[RunningFold]:
        """Runs that have ended since the last call."""
        ended = [run for run in self.running if run.process.poll() is not None]
        for run in ended:
            self.running.remove(run)
            self.free.append(run.slot)
            self._close(run)
            if run.status == 0:
                self.pace.end(run.job, time.monotonic() - run.begun)
                logger.info("%s done in %s", run.job.title, describe(time.monotonic() - run.begun, ""))
        return ended

    def report(self) -> None:
        """Say how far the trainings in progress are."""
        for run in self.running:
            step = self.pace.note(run.job)
            where = f" on {run.slot.label}" if run.slot.label else ""
            of = f"step {step} of {run.job.steps}" if run.job.steps else "testing"
            logger.info("%s%s: %s", run.job.title, where, of)

    def _close(self, run: RunningFold) -> None:
        run.pump.join(timeout=10)
        with suppress(OSError):  # of a full disk, which was told
            run.log.close()


def _locked_log(job: FoldRun, words: Sequence[str]) -> BinaryIO:
    """The log, open for appending, with the command as its next line.

    Raises:
        ValueError: a process that is at the same run holds it.
        OSError: it cannot be written.
    """
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("ab", buffering=0)
        log.write(f"{HEADER}{datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(words)}\n".encode())
    except OSError as error:
        raise OSError(
            f"{job.log} could not be written ({error.strerror}); make room, or name another folder by LOGS."
        ) from error
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        raise ValueError(
            f"{job.title}: another process is at this run (it holds {job.log}); wait for it, or end it."
        ) from None
    except OSError as error:  # a file system without locks
        logger.debug("%s cannot be locked: %s", job.log, error)
    return log


def _copy(run: RunningFold, shown: bool) -> None:
    """Copy what a run prints to its log, and to the console as long as there is one; reads on where it cannot."""
    console = sys.stdout if shown else None
    while piece := os.read(run.process.stdout.fileno(), 65536):
        if run.log_error is None:
            try:
                run.log.write(piece)
            except OSError as error:
                run.log_error = error.strerror
        if console is not None:
            try:
                console.buffer.write(piece)
                console.flush()
            except OSError:
                console = None
    run.process.stdout.close()


def _failure(run: RunningFold) -> str:
    last = "\n".join(f"    {line}" for line in last_lines(run.job.log))
    return f"{run.job.title} failed with status {run.status}; the last lines of {run.job.log}:\n{last}"


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """Last lines of a console log; of a progress bar, its last state."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - 100_000, 0))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line.strip() and not line.startswith(HEADER)][-count:]


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Within it, signals that end the driver only leave their numbers in the list."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield received
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
