"""Where runs go: one after another on this machine, or over the machines of a Ray cluster."""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from Stage1.cluster import RayTasks
from Stage1.commands import PATIENCE, run_process
from Stage2.launching.plan import ExperimentLaunch, FoldRun, plan
from Stage2.launching.progress import Status

logger = logging.getLogger(__name__)


class SerialLauncher:
    """One run after another; the console shows what they print. A fold that has begun comes before the next one.

    Args:
        root, gpu: of the repository; the GPU to use, or nothing for the default device.
    """

    def __init__(self, root: Path, gpu: str = ""):
        self.root, self.environment = root, {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        self.waiting: list[tuple[ExperimentLaunch, FoldRun]] = []
        self.n_new = 0  # runs that were given since the last one ended

    def start(self, experiment: ExperimentLaunch, run: FoldRun) -> None:
        """Take a run."""
        self.waiting.insert(self.n_new, (experiment, run))
        self.n_new += 1

    def next_ended(self, seconds: float) -> tuple[FoldRun, tuple[int, float]] | None:
        """A run that has ended, its status and seconds; None: none has in so many seconds; raises as `carry_out`."""
        self.n_new = 0
        experiment, run = self.waiting.pop(0)
        announce(run)
        return run, carry_out(self.root, experiment, run, self.environment, shown=True)

    def stop(self) -> None:
        """Ask what is at work to stop, and wait until it has kept its state: nothing is, beside this process."""


class RayLauncher(SerialLauncher):
    """Each run a task of Ray: a lost machine's runs go on elsewhere, from the state that they kept.

    Args:
        ray, per_device, device: as of `Stage1.cluster.RayTasks`.
        root: of the repository, the same on every machine, as the folders of runs and data are.
    """

    def __init__(self, ray: ModuleType, root: Path, per_device: int = 1, device: str = "auto"):
        super().__init__(root)
        self.tasks = RayTasks(ray, carry_out, per_device, device)
        if "OMP_NUM_THREADS" not in os.environ:
            self.environment = {"OMP_NUM_THREADS": str(max(int(self.tasks.cores), 1))}

    def start(self, experiment: ExperimentLaunch, run: FoldRun) -> None:
        announce(run)
        self.tasks.start(run, self.root, experiment, run, self.environment, wait=PATIENCE, folder=Path.cwd())

    def next_ended(self, seconds: float) -> tuple[FoldRun, tuple[int, float]] | None:
        return self.tasks.next_ended(seconds)

    def stop(self) -> None:
        for run in self.tasks.at_work.values():
            logger.info("%s: asked to stop", run.title)
        self.tasks.stop(PATIENCE)


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
    """Do what is now left of a run, in a folder, and as `run_process` does it; returns exit status and seconds."""
    begun = time.monotonic()
    if folder is not None:
        os.chdir(folder)
    (now,) = (own for own in plan(experiment, [run.fold]) if own.title == run.title)
    if now.finished:
        return 0, 0.0
    status = run_process(entry_command(root, experiment, now), now.log, now.title, environment, **how)
    return status, time.monotonic() - begun
