"""The graph of an experiment's runs: a step of a fold starts when the step before it has ended in that fold."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from Stage1.commands import last_lines
from Stage2.io.text import duration
from Stage2.launching.launchers import SerialLauncher
from Stage2.launching.plan import ExperimentLaunch, FoldRun, plan
from Stage2.run_folders.layout import last_step, list_runs

FIRST_REPORT, LONGEST_PAUSE = 30.0, 600.0  # seconds between reports of the time left: doubling

logger = logging.getLogger(__name__)


class RunFailed(Exception):
    """A run ended with another `status` than 0; the message shows the end of its log."""

    def __init__(self, run: FoldRun, status: int):
        last = "".join(f"\n    {line}" for line in last_lines(run.log))
        super().__init__(f"{run.title} failed with status {status}; the last lines of {run.log}:{last}")
        self.status = status


@dataclass(frozen=True, eq=False)
class Step:
    """What a mode does in a fold: one run, or one for each of several snapshots, known when the step starts.

    Attributes:
        experiment, fold, after: what, where, and the step that must have ended before; None: it can start at once.
    """

    experiment: ExperimentLaunch
    fold: int
    after: "Step | None" = None

    @property
    def title(self) -> str:
        return f"{self.experiment.label}fold {self.fold}"

    def runs(self, tolerant: bool = False) -> list[FoldRun]:
        return plan(self.experiment, [self.fold], tolerant)


def build_graph(experiments: Iterable[tuple[ExperimentLaunch, Sequence[int]]]) -> list[Step]:
    """Steps of experiments, each with its folds; those that write to one folder follow each other in each fold."""
    chains: dict[object, list[Step]] = {}
    for experiment, folds in experiments:
        for fold in folds:
            chain = chains.setdefault(experiment.folder("", fold), [])
            chain.append(Step(experiment, fold, chain[-1] if chain else None))
    return [step for chain in chains.values() for step in chain]


def run_graph(steps: Sequence[Step], launcher: SerialLauncher) -> None:
    """Run what is not finished; the first failure, or what interrupts this, stops all others, which keep their state.

    Args:
        steps: each after the one that it waits for.
        launcher: where they run.

    Raises:
        RunFailed, FileNotFoundError, ValueError, OSError: the first one; as `carry_out`.
    """
    waiting = {step: [run for run in step.runs(tolerant=True) if not run.finished] for step in steps}
    work = [run.units for runs in waiting.values() for run in runs]
    running: dict[FoldRun, tuple[Step, list]] = {}  # with the run folders before
    begun, pause, n_done, done = time.monotonic(), FIRST_REPORT, 0, 0
    try:
        while waiting or running:
            held_up = {*waiting, *(step for step, _ in running.values())}
            for step in [own for own in waiting if own.after not in held_up]:
                del waiting[step]
                for run in step.runs():
                    if not run.finished:
                        running[run] = (step, list_runs(run.folder))
                        launcher.start(step.experiment, run)
            if not running:
                continue
            if (ended := launcher.next_ended(pause)) is None:
                steps_now = {run: last_step(run.folder, before) for run, (_, before) in running.items() if run.steps}
                for run, step_now in steps_now.items():
                    logger.info("%s: step %d of %d", run.title, step_now, run.steps)
                logger.info("%s", _left(begun, done + sum(steps_now.values()), sum(work)))
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            run, (status, seconds) = ended
            del running[run]
            if status:
                raise RunFailed(run, status)
            n_done, done = n_done + 1, done + run.units
            logger.info("%s done in %s", run.title, duration(seconds))
            if n_done < len(work):
                logger.info("%d of %d done, %s", n_done, len(work), _left(begun, done, sum(work)))
    finally:
        launcher.stop()


def _left(begun: float, done: int, total: int) -> str:
    if not done:
        return "time left not known yet"
    return f"about {duration((time.monotonic() - begun) * max(total - done, 0) / done)} left"
