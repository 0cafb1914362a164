"""Work over several processes: the pool of preparation, of ROCO and of the phantoms, and a stream in order."""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import cycle, islice
from multiprocessing.connection import Connection
from typing import NoReturn, TypeVar

POLL_SECONDS = 0.2
SECONDS_TO_END = 5.0  # that a worker has for the job at hand
# What OpenMP, MKL, ITK and OpenCV read when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OPENCV_FOR_THREADS_NUM")

Job = TypeVar("Job")
Result = TypeVar("Result")
Runner = Callable[[Callable[[Job], Result], Sequence[Job], int], Iterator[Result]]  # `run_jobs`, or what does its work


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, apart: bool = False
) -> Iterator[Result]:
    """Results of a function for every job, in the order in which they are ready.

    A process works on one job at a time, so the memory in use grows with the number of processes only.

    Args:
        function: of a module, so that it can be pickled, as jobs and results must.
        jobs: arguments.
        workers: processes; with one, or for one job, the work is done in this process, unless `apart`.
        apart: never in this process, in which libraries may be in another state (GDCM writes other tags after reading).

    Raises:
        Exception: the first one that the function raised; jobs not yet started are dropped.
        OSError: a process was killed.
    """
    if not jobs or (not apart and (workers == 1 or len(jobs) == 1)):
        yield from map(function, jobs)
        return
    # Not forked: a forked child can inherit a held lock of a library's thread pool and wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_set_up_process) as pool:
        futures, processes = [], set()
        for job in jobs:
            futures.append(pool.submit(function, job))
            if len(futures) <= workers or len(futures) == len(jobs):  # one that has ended is no longer listed
                processes.update(multiprocessing.active_children())
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OSError(
                f"a worker process ended in the middle of its work{_how_ended(processes)}; run again, and with "
                "--workers 1 if it ends again (what is finished is kept)."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def stream_results(
    function: Callable[[Job], Result], jobs: Iterator[Job], workers: int, stop_asked: Callable[[], bool]
) -> Iterator[Result]:
    """Results of a function for endless jobs, in their order, made ahead of time by `workers` processes.

    The processes are forked, so what the function holds in memory is shared. Each has one result ready that waits to be
    fetched through a pipe; no shared memory is used. They heed neither Ctrl-C nor SIGTERM: the caller ends them, by
    closing the iterator, after whatever it still has to do.

    Args:
        function: what it returns can be pickled.
        jobs: arguments.
        workers: processes; 0: the work is done in this process.
        stop_asked: asked while a result is waited for; the results end where it is true.

    Raises:
        Exception: the one that the function raised, when its result is due.
        OSError: a process ended, or none could be started.
    """
    if workers == 0:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("fork")
    started: list[tuple[multiprocessing.Process, Connection]] = []

    def end() -> None:
        for _, connection in started:
            connection.close()  # whoever waits for its result to be fetched ends
        for process, _ in started:
            process.join(SECONDS_TO_END)
            if process.is_alive():
                process.kill()
                process.join()

    atexit.register(end)  # for an error that leaves the iterator open
    try:
        try:
            for number in range(workers):
                ours, theirs = context.Pipe(duplex=False)
                share = islice(jobs, number, None, workers)  # of the process's own copy
                inherited = [ours, *(connection for _, connection in started)]
                process = context.Process(
                    target=_send_results, args=(function, share, theirs, inherited), daemon=True
                )
                process.start()
                theirs.close()
                started.append((process, ours))
        except OSError as error:
            raise OSError(f"{workers} workers could not be started ({error.strerror}); use fewer, or none.") from error
        for process, connection in cycle(started):
            while not connection.poll(POLL_SECONDS):
                if stop_asked():
                    return
            try:
                result, error = connection.recv()
            except (EOFError, OSError):  # before or in the middle of a result
                raise OSError(f"a worker process ended in the middle of its work{_how_ended([process])}.") from None
            if error is not None:
                raise error
            yield result
    finally:
        end()
        atexit.unregister(end)


def _send_results(
    function: Callable[[Job], Result], jobs: Iterator[Job], connection: Connection, inherited: Sequence[Connection]
) -> None:
    """A worker of `stream_results`; it closes what only its parent reads from."""
    for of_parent in inherited:
        of_parent.close()
    _set_up_process()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(BrokenPipeError):  # nobody fetches results any more
        for job in jobs:
            try:
                answer = (function(job), None)
            except Exception as error:  # which ever it is, it is the caller's
                answer = (None, error)
            connection.send(answer)


def _how_ended(processes: Iterable[multiprocessing.Process]) -> str:
    """Of the process that ended by itself; the pool ends the others with SIGTERM."""
    codes = []
    deadline = time.monotonic() + 5
    for process in processes:
        # Not joined: where the pool's own thread has just asked the system, its answer is there a moment later.
        while process.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.01)
        codes.append(process.exitcode)
    codes = [code for code in codes if code not in (None, 0, -signal.SIGTERM)]
    if not codes:
        return ""
    if codes[0] == -signal.SIGKILL:
        return " (SIGKILL: by someone, or by the system where memory is short)"
    return f" ({signal.Signals(-codes[0]).name if codes[0] < 0 else f'status {codes[0]}'})"


def _set_up_process() -> None:
    """One core each; Ctrl-C reaches all processes and the parent answers for them, and none outlives the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    os.environ |= dict.fromkeys(THREADS, "1")  # read by libraries that are loaded later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)  # none of its pool: in a forked process that would wait for ever


def end_with_parent() -> None:
    """Ends this process within seconds of its parent's end, however that came."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_at_once(status: int) -> NoReturn:
    """End this process as `sys.exit` does, but without the destructors of its C++ libraries.

    On a machine with other work, those of a process group of gloo abort a process now and then: a finished run would
    then count as failed, and its other machines would wait for the one that is gone.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(status)
