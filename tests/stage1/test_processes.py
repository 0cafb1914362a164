"""Jobs over processes: what is said when one dies, and that none outlives its parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from Stage1.processes import _how_ended, run_jobs


def end_by(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(5)


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGKILL, r"\(SIGKILL: by someone, or by the system where .*\)"), (signal.SIGABRT, r"\(SIGABRT\)")],
)
def test_a_process_that_ends_by_itself_is_told_of_with_its_signal(number, how):
    with pytest.raises(OSError, match=rf"^a worker process ended in the middle of its work {how}; .*--workers 1"):
        list(run_jobs(end_by, [number, number], 2))


def test_the_end_of_a_process_that_another_thread_has_just_asked_for_is_waited_for():
    class Process:
        answers = iter([None, None, 1])

        def join(self, seconds):
            """Returns at once: the system has given its only answer to the other thread."""

        @property
        def exitcode(self):
            return next(self.answers, 1)

    assert _how_ended([Process()]) == " (status 1)"


def test_no_process_outlives_a_killed_parent():
    job = "__import__('os').write(1, b'working\\n') and __import__('time').sleep(60)"
    script = f"from Stage1.processes import run_jobs\nlist(run_jobs(eval, [{job!r}] * 2, 2))"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert [parent.stdout.readline() for _ in range(2)] == ["working\n"] * 2
    parent.kill()
    parent.wait()
    started = time.monotonic()
    assert parent.stdout.read() == ""  # ends when the last process that holds the pipe has ended
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("end", "status"), [("sys.exit(3)", -signal.SIGABRT), ("end_at_once(3)", 3)])
def test_a_process_ends_without_the_destructors_of_its_libraries(end, status):
    script = (
        "import atexit, ctypes, sys; from Stage1.processes import end_at_once; own = ctypes.CDLL(None)\n"
        "own.__cxa_atexit(own.abort, None, None)  # as a library whose destructor aborts\n"
        f"atexit.register(print, 'left', end=''); print('done', end=' '); {end}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "done left")
