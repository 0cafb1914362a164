"""Which snapshot of a training run to test or fine-tune, chosen without any test label."""

import math
from pathlib import Path

from Stage2.run_folder import SNAPSHOTS, list_runs, list_snapshots, read_scalars

LAST, TRAIN_SCANS = "last", "train_scans"
RULES = (LAST, TRAIN_SCANS)
TRAIN_SCANS_DICE = "train_scans_dice"  # scalar that a run with eval_every logs


def select_snapshot(folder: Path, rule: str) -> Path:
    """A snapshot of a run.

    Args:
        folder: run folder, or experiment folder: then the latest run with snapshots.
        rule: "last": the highest step; "train_scans": the highest Dice of the training classes in training scans (the
            earlier one of equals).

    Raises:
        FileNotFoundError: there are no snapshots, or no metrics.json.
        ValueError: the rule is unknown, or no snapshot's step was tested on training scans.
    """
    if rule not in RULES:
        raise ValueError(f"select={rule} is unknown; choose one of {', '.join(RULES)}.")
    runs = [folder] if (folder / SNAPSHOTS).is_dir() else list_runs(folder)
    with_snapshots = [run for run in runs if list_snapshots(run)]
    if not with_snapshots:
        raise FileNotFoundError(
            f"{folder} holds no {SNAPSHOTS}/<step>.pth; give a snapshot, or the folder of a run that has some."
        )
    run = with_snapshots[-1]
    snapshots = dict(list_snapshots(run))
    if rule == LAST:
        return snapshots[max(snapshots)]
    steps, values = read_scalars(run).get(TRAIN_SCANS_DICE, ([], []))
    tested = {step: value for step, value in zip(steps, values, strict=True) if step in snapshots and _defined(value)}
    if not tested:
        raise ValueError(
            f"{run} has no {TRAIN_SCANS_DICE} for its snapshots, which select={TRAIN_SCANS} compares; train with "
            f"eval_every=STEPS, or choose select={LAST}."
        )
    return snapshots[max(sorted(tested), key=tested.get)]


def resolve_snapshot(reload_model_path: str | None, rule: str) -> Path | None:
    """The snapshot that a configuration means: none, a file, or a folder's by the rule."""
    if reload_model_path is None:
        return None
    path = Path(reload_model_path)
    return select_snapshot(path, rule) if path.is_dir() else path


def selection_rule(reload_model_path: str | None, rule: str) -> str | None:
    """The rule that `resolve_snapshot` went by; None where the snapshot was given, or there is none."""
    return rule if reload_model_path is not None and Path(reload_model_path).is_dir() else None


def _defined(value: object) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
