"""Work over the machines of a Ray cluster: connecting to it, and actors that take one job at a time."""

import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from Stage1.processes import THREADS

LAUNCHERS = ("serial", "ray")
TRIES = 3  # of a job whose process ended: a lost machine, or the job's own fault
# Nothing is sent to Ray's makers; what a worker started is not killed with it, but may keep its state.
RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_kill_child_processes_on_worker_exit": "0"}
SHOWN = "CUDA_VISIBLE_DEVICES"
RETRIES = 10  # of a task whose machine was lost
OBJECT_STORE = 200 * 2**20  # bytes of memory on this machine: jobs and results are small

Job = TypeVar("Job")
Result = TypeVar("Result")


class Lost:
    """Stands for the result of a job whose process ended in each of its tries."""


@contextmanager
def ray_cluster(gpus: Sequence[str] = ()) -> Iterator[ModuleType]:
    """Ray, connected to the cluster that RAY_ADDRESS names, or to a new one of this machine, until the block ends.

    A connection that the caller has made is used and kept.

    Args:
        gpus: numbers of this machine's GPUs to use; none: all.

    Raises:
        ValueError: Ray is not installed, or `gpus` are named for the cluster of RAY_ADDRESS.
        ConnectionError: there is no cluster at RAY_ADDRESS.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ValueError("Ray is not installed; run bash tools/setup.sh --cluster, or use launcher serial.") from None
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    if address and gpus:
        raise ValueError(f"GPUs are named for this machine, but RAY_ADDRESS={address} has its own; name one.")
    code = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))
    own = {} if address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    shown = os.environ.get(SHOWN)
    if gpus:
        own["num_gpus"] = len(gpus)
        os.environ[SHOWN] = ",".join(gpus)
    none = f"RAY_ADDRESS={address}: there is no Ray cluster; start it, or correct this."
    try:
        try:
            ray.init(
                address or "local", log_to_driver=False, logging_level="error",
                runtime_env={"env_vars": {"PYTHONPATH": code}}, **own,
            )  # fmt: skip
        except ConnectionError as error:
            raise ConnectionError(none) from error
        yield ray
    finally:
        ray.shutdown()
        if gpus:
            os.environ.pop(SHOWN)
            os.environ |= {} if shown is None else {SHOWN: shown}


def count_places(ray: ModuleType, cores: float, gpus: float = 0) -> int:
    """How many jobs with these needs the machines of the cluster take at a time.

    Raises:
        ValueError: none.
    """
    places = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        fits = [has.get(name, 0) / needed for name, needed in (("CPU", cores), ("GPU", gpus)) if needed]
        places += int(min(fits) + 1e-6)
    if not places:
        needs = f"{cores:g} core(s)" + (f" and {gpus:g} GPU(s)" if gpus else "")
        raise ValueError(f"no machine of the Ray cluster has {needs} for a job; ask for less, or add machines.")
    return places


def share_of(ray: ModuleType, per_device: int = 1, device: str = "auto") -> tuple[float, float]:
    """Cores and GPUs of a job, where so many share a GPU or, without GPUs, a machine; whole cores where it has some.

    Args:
        ray: connected.
        per_device: jobs at a time.
        device: "cpu" takes no GPU.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    with_gpu = [] if device == "cpu" else [own for own in machines if own.get("GPU")]
    shares = [own["CPU"] / own["GPU"] for own in with_gpu] or [own["CPU"] for own in machines] or [1.0]
    cores = min(shares) / per_device
    return int(cores) if cores > 1 else cores, 1 / per_device if with_gpu else 0


def stream_over_actors(
    ray: ModuleType, make: Callable[[], Callable[[Job], Result]], jobs: Iterable[Job], *, cores: int = 1,
    gpus: float = 0, at_most: int | None = None,
) -> Iterator[tuple[int, Result | Lost]]:  # fmt: skip
    """Number and result of every job, in the order in which they are ready.

    Each actor makes its function once, and has one job at a time, so that what is on its way is bounded. One that is
    lost, with its machine or by its job, is replaced as soon as there is a place, and its job is done again.

    Args:
        ray: connected.
        make: makes the function, in the actor; both travel by pickle, as jobs and results do.
        jobs: arguments.
        cores, gpus: of each actor; libraries use as many threads as it has cores.
        at_most: actors; None: as many as the cluster has places for.

    Raises:
        Exception: the first one that making the function, or the function, raised.
        OSError: actors end as they start.
        ValueError: as `count_places`.
    """
    jobs = list(jobs)
    if not jobs:
        return
    threads = dict.fromkeys(THREADS, str(cores))
    remote = ray.remote(num_cpus=cores, num_gpus=gpus, runtime_env={"env_vars": threads})(_Actor)
    n_actors = min(count_places(ray, cores, gpus), len(jobs), at_most or len(jobs))
    waiting, tries, left, failed_starts = deque(range(len(jobs))), Counter(), len(jobs), 0
    actors, idle = set(), []
    at_work: dict[Any, tuple[Any, int | None]] = {}  # what is awaited -> the actor, and its job

    def start() -> None:
        actor = remote.remote(make, Path.cwd())
        actors.add(actor)
        at_work[actor.ready.remote()] = (actor, None)

    try:
        for _ in range(n_actors):
            start()
        while left:
            while waiting and idle:
                actor, number = idle.pop(), waiting.popleft()
                at_work[actor.do.remote(jobs[number])] = (actor, number)
            (reference,), _ = ray.wait(list(at_work), num_returns=1)
            actor, number = at_work.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:  # the actor is gone
                actors.remove(actor)
                if number is None:
                    failed_starts += 1
                    if failed_starts == TRIES * n_actors:
                        reason = str(error).strip().partition("\n")[0]
                        raise OSError(f"processes of the Ray cluster end as they start: {reason}") from error
                else:
                    tries[number] += 1
                    if tries[number] < TRIES:
                        waiting.appendleft(number)
                    else:
                        left -= 1
                        yield number, Lost()
                start()
                continue
            idle.append(actor)
            if number is not None:
                left -= 1
                yield number, result
    finally:
        for actor in actors:
            ray.kill(actor)


class RayTasks:
    """Tasks that begin as the cluster has places, and again elsewhere where their machine is lost.

    Args:
        ray: connected.
        function: of a module, as it travels by pickle; its arguments and results do too.
        per_device, device: as of `share_of`.

    Attributes:
        cores: of each task.
        at_once: tasks at a time.
    """

    def __init__(self, ray: ModuleType, function: Callable[..., Result], per_device: int = 1, device: str = "auto"):
        self.cores, gpus = share_of(ray, per_device, device)
        self.at_once = count_places(ray, self.cores, gpus)
        self.ray, self.function = ray, function
        self.task = ray.remote(num_cpus=self.cores, num_gpus=gpus, max_retries=RETRIES)(_interruptible)
        self.at_work: dict[Any, Any] = {}  # what is awaited -> its key

    def start(self, key: Any, *given: Any, **named: Any) -> None:
        """Call the function, on some machine."""
        self.at_work[self.task.remote(self.function, *given, **named)] = key

    def next_ended(self, seconds: float) -> tuple[Any, Result] | None:
        """Key and result of one that has ended; None: none has in so many seconds.

        Raises:
            Exception: what the function raised.
            OSError: its processes were lost again and again.
        """
        done, _ = self.ray.wait(list(self.at_work), num_returns=1, timeout=seconds)
        if not done:
            return None
        key = self.at_work.pop(done[0])
        try:
            return key, self.ray.get(done[0])
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayError as error:
            raise OSError(f"a job was given up, for {RETRIES + 1} processes of the cluster were lost.") from error

    def stop(self, patience: float) -> None:
        """Raise KeyboardInterrupt in what is at work, and wait for its end as long as there is patience."""
        for reference in self.at_work:
            self.ray.cancel(reference)
        if self.at_work:
            self.ray.wait(list(self.at_work), num_returns=len(self.at_work), timeout=patience)


def _interruptible(function: Callable[..., Result], *given: Any, **named: Any) -> Result:
    """Call a function so that Ray can interrupt it: a cluster started in the background ignores SIGINT otherwise."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return function(*given, **named)


def run_jobs_over(
    ray: ModuleType, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[Result]:  # fmt: skip
    """What `Stage1.processes.run_jobs` does, over a Ray cluster.

    Raises:
        Exception: the first one that the function raised.
        OSError: a job ended its process again and again.
    """
    for number, result in stream_over_actors(ray, partial(_same, function), jobs, at_most=workers):
        if isinstance(result, Lost):
            raise OSError(
                f"{jobs[number]} ended its process {TRIES} times; is there enough memory? Run again, with fewer "
                "--workers (what is finished is kept)."
            )
        yield result


class _Actor:
    """A process of the cluster that does jobs, in the folder of the driver."""

    def __init__(self, make: Callable[[], Callable[[Job], Result]], folder: Path):
        os.chdir(folder)
        self.make = make

    def ready(self) -> None:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(int(os.environ[THREADS[0]]))
        self.work = self.make()

    def do(self, job: Job) -> Result:
        return self.work(job)


def _same(function: Callable[[Job], Result]) -> Callable[[Job], Result]:
    return function
