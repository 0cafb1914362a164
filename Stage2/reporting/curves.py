"""Scalars of trainings as curves: those of Stage 1's work folders, and of Stage 2's run folders."""

import json
from collections.abc import Mapping
from pathlib import Path

from Stage2.reporting.checks import is_number
from Stage2.run_folders.layout import read_scalars
from Stage2.run_folders.selection import TRAIN_SCANS_DICE

Curves = Mapping[str, tuple[list[float], list[float | None]]]  # name -> steps, values
STAGE1_LOSSES = {"loss": "total", "loss_contra_single": "global", "loss_contra_dense": "dense"}
STAGE2_LOSSES = {"query_loss": "query", "align_loss": "alignment"}
STAGE2_KINDS = {
    "query_loss": "query loss", "align_loss": "alignment loss",
    TRAIN_SCANS_DICE: "Dice of training classes in training scans",
}  # fmt: skip


def read_stage1_losses(path: Path) -> Curves:
    """Losses of a Stage 1 training: of a ``scalars.json`` (one JSON object a line), or of all those in its work folder.

    A training that was resumed left one file for each start; from its first step on, a later file counts.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no file holds a line with a loss.
    """
    files = [path] if path.is_file() else sorted(path.glob("*/vis_data/scalars.json"))
    if not files:
        raise FileNotFoundError(f"no */vis_data/scalars.json in {path}; name the work_dir of a Stage 1 training")
    entries: dict[int, Mapping] = {}
    for file in files:
        own = {entry["step"]: entry for entry in map(_loss_entry, file.read_bytes().splitlines()) if entry is not None}
        entries = {step: entry for step, entry in entries.items() if step < min(own, default=step + 1)} | own
    if not entries:
        raise ValueError(f"{files[-1]} holds no loss; it should have one JSON object a line with 'loss' and 'step'")
    points = {
        text: {step: entry[name] for step, entry in entries.items() if is_number(entry.get(name))}
        for name, text in STAGE1_LOSSES.items()
    }
    return {text: ([*own], [*own.values()]) for text, own in points.items() if own}


def read_curves(run: Path, names: Mapping[str, str]) -> Curves:
    """Those of the scalars of a run, under the names that figures show.

    Args:
        run: its folder.
        names: of a scalar -> shown name.

    Raises:
        FileNotFoundError: the run has no ``metrics.json``.
        ValueError: the file is damaged, or a curve in it has no number for every step.
    """
    scalars = read_scalars(run)
    curves = {text: scalars[name] for name, text in names.items() if name in scalars}
    for text, (steps, values) in curves.items():
        if len(steps) != len(values) or not all(map(is_number, (*steps, *(v for v in values if v is not None)))):
            raise ValueError(f"{run} has a damaged curve of the {text} in its scalars; expected a number for each step")
    return curves


def _loss_entry(line: bytes) -> dict | None:
    """An entry with a loss; None for others, and for the half line of a training that was killed."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "loss" in entry and isinstance(entry.get("step"), int) else None
