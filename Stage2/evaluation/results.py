"""What a test run leaves behind: results.json, the predicted masks, the published scalars."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from Stage2.evaluation.metrics import SCORES, mean_of_defined
from Stage2.evaluation.protocol import ScanResult
from Stage2.nifti import write_volume
from Stage2.run_folder import prediction_path

# Names under which the published code logs a test run; "al" in the last one is its own spelling.
PUBLISHED_NAMES = {
    "dice": ("mar_val_batches_classDice", "mar_val_batches_meanDice", "mar_val_batches_rawDice"),
    "precision": ("mar_val_batches_classPrec", "mar_val_batches_meanPrec", "mar_val_batches_rawPrec"),
    "recall": ("mar_val_batches_classRec", "mar_val_al_batches_meanRec", "mar_val_al_batches_rawRec"),
}


def class_scores(results: Sequence[ScanResult], score: str) -> dict[str, list[float]]:
    """Class name -> a score of every scan (NaN where undefined), in order of the results.

    Args:
        results: of a test run.
        score: "dice", "precision" or "recall".
    """
    scores: dict[str, list[float]] = {}
    for result in results:
        scores.setdefault(result.task.name, []).append(getattr(result.counts, score))
    return scores


def summarise(results: Sequence[ScanResult]) -> dict[str, Any]:
    """The tables of results.json: supports, scores per scan, means per class, means over classes.

    Undefined scores are null in the raw table; means leave them out, and `undefined` counts the scans without Dice.
    """
    tasks = list({result.task.name: result.task for result in results}.values())
    means = {
        score: {name: mean_of_defined(values) for name, values in class_scores(results, score).items()}
        for score in SCORES
    }
    dice = class_scores(results, "dice")
    return {
        "support": {
            task.name: [{"scan": scan_id, "slices": list(slices)} for scan_id, slices in task.support_slices.items()]
            for task in tasks
        },
        "scans": [
            {
                "class": result.task.name,
                "label": result.task.label,
                "scan": result.scan_id,
                "z_min": result.slice_range[0] if result.slice_range else None,
                "z_max": result.slice_range[1] if result.slice_range else None,
                **{score: _or_null(getattr(result.counts, score)) for score in SCORES},
            }
            for result in results
        ],
        "class_means": {
            task.name: {
                **{score: _or_null(means[score][task.name]) for score in SCORES},
                "scans": len(dice[task.name]),
                "undefined": sum(math.isnan(value) for value in dice[task.name]),
            }
            for task in tasks
        },
        "mean": {score: _or_null(mean_of_defined(means[score].values())) for score in SCORES},
    }


def published_scalars(results: Sequence[ScanResult]) -> dict[str, Any]:
    """The scores under their published names: per class, mean, and per scan and class."""
    scalars = {}
    for score, (class_name, mean_name, raw_name) in PUBLISHED_NAMES.items():
        raw = list(class_scores(results, score).values())
        means = [mean_of_defined(values) for values in raw]
        scalars[class_name] = means
        scalars[mean_name] = mean_of_defined(means)
        scalars[raw_name] = [list(row) for row in zip(*raw, strict=True)]
    return scalars


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Write results.json at once."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


def write_masks(run_folder: Path, data_folder: Path, results: Sequence[ScanResult]) -> None:
    """Write the predicted masks of one scan on the grid of its processed image, as uint8 NIfTI.

    Args:
        run_folder: of the test run.
        data_folder: processed folder with the images.
        results: of one scan; a class without prediction is passed over.
    """
    predicted = [result for result in results if result.mask is not None]
    if not predicted:
        return
    image = sitk.ReadImage(str(data_folder / f"image_{predicted[0].scan_id}.nii.gz"))
    width, height, depth = image.GetSize()
    for result in predicted:
        on_grid = np.zeros((depth, height, width), dtype=np.uint8)
        on_grid[:, : result.mask.shape[1], : result.mask.shape[2]] = result.mask
        path = prediction_path(run_folder, result.scan_id, result.task.label)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, on_grid, like=image)


def as_text(summary: dict[str, Any]) -> str:
    """Class means as an aligned table for the console."""
    rows = [*summary["class_means"].items(), ("mean", summary["mean"])]
    width = max(12, *(len(name) for name, _ in rows))
    lines = [f"{'class':{width}}{'Dice':>9}{'precision':>11}{'recall':>9}"]
    for name, row in rows:
        cells = ["-" if row[score] is None else f"{row[score]:.4f}" for score in SCORES]
        lines.append(f"{name:{width}}{cells[0]:>9}{cells[1]:>11}{cells[2]:>9}")
    return "\n".join(lines)


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
