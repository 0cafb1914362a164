"""Results in order from forked workers, and that no worker is left, whatever ends the work."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from Stage1.processes import stream_results

ROOT = Path(__file__).resolve().parents[2]
# Prints the workers' numbers, then ends in the way that is asked for, in the middle of the work.
PROGRAM = """
import multiprocessing, os, sys, time
from itertools import count
from Stage1.processes import stream_results
results = stream_results(lambda job: job * bytes(300_000), count(), 3, lambda: False)
for _ in range(4):
    next(results)
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
if sys.argv[1] == "error":
    raise RuntimeError("an error")
time.sleep(60)
"""


def never() -> bool:
    return False


def squared(job: int) -> np.ndarray:
    return np.full((200, 200), job**2)  # larger than a pipe holds


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers):
    with closing(stream_results(squared, count(5), workers, never)) as results:
        assert [int(result[0, 0]) for result in islice(results, 7)] == [n**2 for n in range(5, 12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_function_is_the_callers(workers):
    def broken(job):
        if job == 3:
            raise FileNotFoundError(2, "No such file", "image.npy")
        return job

    with closing(stream_results(broken, count(), workers, never)) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(FileNotFoundError, match=r"image\.npy"):
            next(results)


def test_a_killed_worker_is_told_and_the_others_end():
    pids = []

    def job_of(job):
        if job == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    started = time.monotonic()
    ended = pytest.raises(OSError, match=r"a worker process ended in the middle of its work \(SIGKILL")
    with closing(stream_results(job_of, count(), 3, never)) as results, ended:
        pids += results
    assert time.monotonic() - started < 10
    assert set(pids) and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_waiting_ends_where_it_is_asked_to():
    with closing(stream_results(lambda job: time.sleep(60 * job), count(), 2, lambda: True)) as results:
        started = time.monotonic()
        assert list(results) in ([], [None])
    assert time.monotonic() - started < 20  # a worker that does not end by itself is killed


@pytest.mark.parametrize("how", ["error", "SIGKILL", "SIGTERM"])
def test_no_worker_outlives_its_parent(how):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 3
    if how != "error":
        process.send_signal(signal.Signals[how])
    process.communicate(timeout=20)
    assert process.returncode == (1 if how == "error" else -signal.Signals[how])
    deadline = time.monotonic() + 10
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
