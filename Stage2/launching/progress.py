"""What run folders tell about a fold: not begun, interrupted, or finished with the very settings that are wanted."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from Stage2.run_folders.layout import (
    CONFIG,
    RESULTS,
    STATE_FILE,
    list_runs,
    list_snapshots,
    read_config,
    read_results,
    read_scalars,
    snapshot_path,
)
from Stage2.run_folders.selection import place_in_log_folder
from Stage2.runs.settings import DEFAULTS, flatten, with_protocol_defaults

# Settings that leave the result of a run as it is. Where the data lie is one of them: on a cluster they are copied to
# the node of the day. Other data need another log folder.
WITHOUT_EFFECT = frozenset(
    {
        "device", "num_workers", "print_interval", "save_snapshot_every", "eval_every", "eval_scans", "resume",
        "exp_prefix", "select", "selection.rule",
        "selection.reason", "path.log_dir", "path.data_dir", "path.cache_dir",
    }
)  # fmt: skip


class Status(Enum):
    """How far a fold is."""

    NEW = "new"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


@dataclass(frozen=True)
class Progress:
    """What there is of a fold.

    Attributes:
        status: where it is.
        run: the run folder that tells; None where there is none.
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
    begun = [run for run in list_runs(folder) if list_snapshots(run) or (run / STATE_FILE).is_file()]
    if not begun:
        return Progress(Status.NEW)
    latest, n_steps = begun[-1], settings["n_steps"]
    differing = differences(latest, settings)
    length = _length(latest)
    if not differing and length == n_steps and snapshot_path(latest, n_steps).is_file():
        return Progress(Status.FINISHED, latest, n_steps)
    if not differing and length <= n_steps and (latest / STATE_FILE).is_file():
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
        if not (run / RESULTS).is_file() or differences(run, settings):
            continue
        try:
            read_results(run)
        except ValueError:
            continue  # cut short
        return Progress(Status.FINISHED, run)
    return Progress(Status.NEW)


def differences(run: Path, settings: Mapping[str, Any]) -> list[str]:
    """Settings with an effect in which a run differs from those wanted, as ``key=there there, here here``.

    A file of starting weights is told by its name, a snapshot by its experiment folder, run and step: folders may have
    moved. `n_steps` is left to the caller.
    """
    found = dict(flatten(read_config(run)))
    if not found:
        return [f"its {CONFIG} is missing"]
    defaults = dict(flatten(DEFAULTS))
    there, here = defaults | found, defaults | with_protocol_defaults(settings)
    return [
        f"{key}={there[key]} there, {here[key]} here"
        for key in defaults
        if key not in WITHOUT_EFFECT
        and key != "n_steps"
        and _comparable(key, there[key]) != _comparable(key, here[key])
    ]


def steps_done(folder: Path, earlier: Container[Path] = ()) -> int:
    """Step that the latest run of a training has last reported; 0 where none has.

    Args:
        folder: experiment folder.
        earlier: run folders that are not looked at.
    """
    for run in reversed(list_runs(folder)):
        if run in earlier:
            continue
        try:
            steps, _ = read_scalars(run).get("total_loss", ([], []))
        except (OSError, ValueError):
            continue
        return max(steps, default=0)
    return 0


def _length(run: Path) -> int:
    """Steps that a run was to have; 0 where nothing tells."""
    steps = read_config(run).get("n_steps")
    return steps if isinstance(steps, int) else 0


def _comparable(key: str, value: Any) -> Any:
    if value is None:
        return None
    if key == "reload_model_path":
        return place_in_log_folder(str(value))
    if key in ("pretrained_backbone", "adapt_start") or (key == "dataset" and str(value).endswith((".yaml", ".yml"))):
        return Path(str(value)).name
    return list(value) if isinstance(value, tuple) else value
