"""Scalars of trainings as curves: those of Stage 1's work folders, and of Stage 2's run folders."""

import json
from collections.abc import Mapping
from pathlib import Path

from Stage2.reporting.figures import Curves
from Stage2.run_folders.selection import TRAIN_SCANS_DICE

STAGE1_LOSSES = {"loss": "total", "loss_contra_single": "global", "loss_contra_dense": "dense"}
STAGE2_LOSSES = {"query_loss": "query", "align_loss": "alignment"}
STAGE2_KINDS = {
    "query_loss": "query loss",
    "align_loss": "alignment loss",
    TRAIN_SCANS_DICE: "Dice of training classes in training scans",
}


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
        started = False
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a training that was killed leaves half a line
            if "loss" in entry:
                if not started:
                    entries = {step: earlier for step, earlier in entries.items() if step < entry["step"]}
                started = True
                entries[entry["step"]] = entry
    if not entries:
        raise ValueError(f"{files[-1]} holds no loss; it should have one JSON object a line with 'loss' and 'step'")
    curves = {}
    for name, heading in STAGE1_LOSSES.items():
        points = [(step, entry[name]) for step, entry in entries.items() if name in entry]
        if points:
            curves[heading] = tuple(map(list, zip(*points, strict=True)))
    return curves


def stage2_losses(scalars: Curves) -> Curves:
    """The losses of a run, under the names that figures show."""
    return {text: scalars[name] for name, text in STAGE2_LOSSES.items() if name in scalars}


def stage2_kinds(scalars: Curves) -> dict[str, Curves]:
    """What a run's training is watched by: kind -> the curve of it."""
    return {kind: {name: scalars[name]} for name, kind in STAGE2_KINDS.items() if name in scalars}
