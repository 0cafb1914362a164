"""Independent jobs over several processes: the one pool of preparation, of ROCO and of the phantoms."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Results of a function for every job, in the order in which they are ready.

    A process works on one job at a time, so the memory in use grows with the number of processes only.

    Args:
        function: of a module, so that it can be pickled, as jobs and results must.
        jobs: arguments.
        workers: processes; with one, or for one job, the work is done in this process.

    Raises:
        Exception: the first one that the function raised; jobs not yet started are dropped.
        OSError: a process was killed.
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    # Not forked: a forked child can inherit a held lock of a library's thread pool and wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_set_up_process) as pool:
        futures = [pool.submit(function, job) for job in jobs]
        processes = multiprocessing.active_children()
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


def _how_ended(processes: Sequence[multiprocessing.Process]) -> str:
    """Of the process that ended by itself; the pool ends the others with SIGTERM."""
    codes = []
    for process in processes:
        process.join(5)
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
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"  # read by libraries that are loaded later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def _exit_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
