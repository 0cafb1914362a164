"""Where runs go: one after another on this machine, or over the machines of a Ray cluster."""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

from Stage1.cluster import count_places
from Stage1.commands import PATIENCE, run_process
from Stage2.launching.plan import ExperimentLaunch, FoldRun, plan
from Stage2.launching.progress import Status

RETRIES = 10  # of a run whose machine was lost

logger = logging.getLogger(__name__)


class Launcher(Protocol):
    """Runs what it is given, as far as there are places."""

    def start(self, experiment: ExperimentLaunch, run: FoldRun) -> None:
        """Take a run."""

    def next_ended(self, seconds: float) -> tuple[FoldRun, int, float] | None:
        """A run that has ended, its exit status and its seconds; None: none has in so many seconds.

        Raises:
            ValueError, OSError: as `carry_out`, of a run.
        """

    def stop(self) -> None:
        """Ask what is at work to stop, and wait until it has kept its state."""


class SerialLauncher:
    """One run after another; the console shows what they print. A fold that has begun comes before the next one.

    Args:
        root: of the repository.
        gpu: the one to use; empty: the default device.
    """

    def __init__(self, root: Path, gpu: str = ""):
        self.root, self.environment = root, {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        self.waiting: list[tuple[ExperimentLaunch, FoldRun]] = []
        self.n_new = 0  # runs that were given since the last one ended

    def start(self, experiment: ExperimentLaunch, run: FoldRun) -> None:
        self.waiting.insert(self.n_new, (experiment, run))
        self.n_new += 1

    def next_ended(self, seconds: float) -> tuple[FoldRun, int, float]:
        self.n_new = 0
        experiment, run = self.waiting.pop(0)
        announce(run)
        return run, *carry_out(self.root, experiment, run, self.environment, shown=True)

    def stop(self) -> None:
        """Nothing is at work beside this process."""


class RayLauncher:
    """Each run a task of Ray: a lost machine's runs go on elsewhere, from the state that they kept.

    Args:
        ray: connected.
        root: of the repository, the same on every machine, as the folders of runs and data are.
        per_device: runs at a time on a GPU or, where none is used, on a machine.
        device: of the settings; "cpu" uses no GPU.
    """

    def __init__(self, ray: ModuleType, root: Path, per_device: int = 1, device: str = "auto"):
        self.ray, self.root, self.at_work = ray, root, {}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        with_gpu = [] if device == "cpu" else [own for own in machines if own.get("GPU")]
        shares = [own["CPU"] / own["GPU"] for own in with_gpu] or [own["CPU"] for own in machines] or [1.0]
        cores = min(shares) / per_device
        cores, gpus = int(cores) if cores > 1 else cores, 1 / per_device if with_gpu else 0
        self.places = count_places(ray, cores, gpus)
        self.environment = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(int(cores), 1))}
        self.task = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)(carry_out)

    def start(self, experiment: ExperimentLaunch, run: FoldRun) -> None:
        announce(run)
        given = (self.root, experiment, run, self.environment)
        self.at_work[self.task.remote(*given, wait=PATIENCE, folder=Path.cwd())] = run

    def next_ended(self, seconds: float) -> tuple[FoldRun, int, float] | None:
        done, _ = self.ray.wait(list(self.at_work), num_returns=1, timeout=seconds)
        if not done:
            return None
        run = self.at_work.pop(done[0])
        try:
            return run, *self.ray.get(done[0])
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayError as error:
            raise OSError(f"{run.title} was given up, for {RETRIES + 1} processes of the cluster were lost.") from error

    def stop(self) -> None:
        for reference, run in self.at_work.items():
            logger.info("%s: asked to stop", run.title)
            self.ray.cancel(reference)
        if self.at_work:
            self.ray.wait(list(self.at_work), num_returns=len(self.at_work), timeout=PATIENCE)


def announce(run: FoldRun) -> None:
    """Say what begins, and from where."""
    resumed = run.progress.status is Status.INTERRUPTED
    again = f", going on with {run.progress.run} (step {run.progress.step} or later)" if resumed else ""
    logger.info("%s: %s%s; log %s", run.title, run.start, again, run.log)


def entry_command(root: Path, experiment: ExperimentLaunch, run: FoldRun) -> list[str]:
    """Command line of a run."""
    return [sys.executable, str(root / "Stage2" / experiment.kind.entry), "with", *run.words]


def carry_out(
    root: Path, experiment: ExperimentLaunch, run: FoldRun, environment: Mapping[str, str], *,
    folder: Path | None = None, **how: float,
) -> tuple[int, float]:  # fmt: skip
    """Do what is now left of a run, in a folder or in that of this process; returns exit status and seconds.

    Raises:
        ValueError, OSError: as `plan` and `run_process`, whose settings are `environment` and `how`.
    """
    begun = time.monotonic()
    if folder is not None:
        os.chdir(folder)
    (now,) = (own for own in plan(experiment, [run.fold]) if own.title == run.title)
    if now.finished:
        return 0, 0.0
    status = run_process(entry_command(root, experiment, now), now.log, now.title, environment, **how)
    return status, time.monotonic() - begun
