"""What run folders tell about a fold: not begun, interrupted, or finished with the very settings that are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from Stage2.run_folders import layout
from Stage2.run_folders.layout import list_runs, list_snapshots, snapshot_path
from Stage2.runs.same_settings import differences


class Status(Enum):
    """How far a fold is."""

    NEW = "new"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


@dataclass(frozen=True)
class Progress:
    """What there is of a fold.

    Attributes:
        status, run: where it is, and the run folder that tells; None where there is none.
        step: steps that are safely kept (trainings).
        note: what else is to be said about the runs that were found; empty if nothing.
    """

    status: Status
    run: Path | None = None
    step: int = 0
    note: str = ""


def progress_of_training(folder: Path, settings: Mapping[str, Any]) -> Progress:
    """What there is of a training or fine-tuning.

    Tests and fine-tuning take the latest run with snapshots, so only the latest run can be the finished or the
    interrupted one.

    Args:
        folder: experiment folder of the fold.
        settings: the wanted ones, by dotted key; the others have their defaults.

    Raises:
        ValueError: an earlier run is finished with these settings, but a later one has others.
    """
    begun = [run for run in list_runs(folder) if list_snapshots(run) or (run / layout.STATE_FILE).is_file()]
    if not begun:
        return Progress(Status.NEW)
    latest, n_steps = begun[-1], settings["n_steps"]
    differing = differences(latest, settings)
    length = _length(latest)
    if not differing and length == n_steps and snapshot_path(latest, n_steps).is_file():
        return Progress(Status.FINISHED, latest, n_steps)
    if not differing and length <= n_steps and (latest / layout.STATE_FILE).is_file():
        kept = max((step for step, _ in list_snapshots(latest)), default=0)
        return Progress(Status.INTERRUPTED, latest, kept)
    why = "; ".join(differing) or f"n_steps={length} there, {n_steps} here"
    for run in reversed(begun[:-1]):
        if snapshot_path(run, n_steps).is_file() and _length(run) == n_steps and not differences(run, settings):
            raise ValueError(
                f"{run} is finished with these settings, but {latest} is newer and has others ({why}), and what comes "
                f"next takes the newest: move {latest} away, or give another LOGDIR (or RESTART=1, which trains anew)."
            )
    return Progress(Status.NEW, note=f"{latest} has other settings ({why})")


def progress_of_test(folder: Path, settings: Mapping[str, Any]) -> Progress:
    """What there is of a test: finished, if any run has results of the same snapshot and settings."""
    for run in reversed(list_runs(folder)):
        if not (run / layout.RESULTS).is_file() or differences(run, settings):
            continue
        try:
            layout.read_results(run)
        except ValueError:
            continue  # cut short
        return Progress(Status.FINISHED, run)
    return Progress(Status.NEW)


def _length(run: Path) -> int:
    """Steps that a run was to have; 0 where nothing tells."""
    steps = layout.read_config(run).get("n_steps")
    return steps if isinstance(steps, int) else 0
