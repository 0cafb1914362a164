"""What a test run leaves behind: results.json, the predicted masks, the published scalars."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from Stage1.files import write_text
from Stage2.evaluation.metrics import SCORES, ScanCounts, mean_of_defined
from Stage2.evaluation.protocol import ScanResult
from Stage2.evaluation.surface import DISTANCES, SurfaceDistances
from Stage2.io.names import image_path
from Stage2.io.nifti import write_volume
from Stage2.run_folders.layout import FULL_VOLUME, prediction_path

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

    Scores over all slices, where there are any, stand apart under "full_volume" of each entry. Undefined scores are
    null in the raw table; means leave them out, `undefined` counts the scans without Dice and `undefined_distances`
    those without surface distances (either mask is empty).
    """
    tasks = list({result.task.name: result.task for result in results}.values())
    in_range = [_scores(result.counts, result.distances) for result in results]
    class_means, mean = _means(results, in_range)
    scans = [
        {
            "class": result.task.name,
            "label": result.task.label,
            "scan": result.scan_id,
            "z_min": result.slice_range[0] if result.slice_range else None,
            "z_max": result.slice_range[1] if result.slice_range else None,
            **_nulled(scores),
        }
        for result, scores in zip(results, in_range, strict=True)
    ]
    if all(result.whole_counts is not None for result in results):
        whole = [_scores(result.whole_counts, result.whole_distances) for result in results]
        whole_class_means, mean[FULL_VOLUME] = _means(results, whole)
        for row, scores in zip(scans, whole, strict=True):
            row[FULL_VOLUME] = _nulled(scores)
        for name, row in whole_class_means.items():
            class_means[name][FULL_VOLUME] = row
    return {
        "support": {
            task.name: [{"scan": scan_id, "slices": list(slices)} for scan_id, slices in task.support_slices.items()]
            for task in tasks
        },
        "scans": scans,
        "class_means": class_means,
        "mean": mean,
    }


def _scores(counts: ScanCounts, distances: SurfaceDistances | None) -> dict[str, float]:
    """Scores of one class in one scan, NaN where undefined; distances only where they were asked for."""
    scores = {score: getattr(counts, score) for score in SCORES}
    return scores if distances is None else scores | {name: getattr(distances, name) for name in DISTANCES}


def _means(results: Sequence[ScanResult], scores: Sequence[dict[str, float]]) -> tuple[dict[str, dict], dict]:
    """Means of every class over scans, and the means of these over classes."""
    by_class: dict[str, list[dict[str, float]]] = {}
    for result, row in zip(results, scores, strict=True):
        by_class.setdefault(result.task.name, []).append(row)
    means = {
        name: {score: mean_of_defined([row[score] for row in rows]) for score in rows[0]}
        for name, rows in by_class.items()
    }
    class_means = {}
    for name, rows in by_class.items():
        class_means[name] = _nulled(means[name]) | {
            "scans": len(rows),
            "undefined": sum(math.isnan(row["dice"]) for row in rows),
        }
        if DISTANCES[0] in rows[0]:
            class_means[name]["undefined_distances"] = sum(math.isnan(row[DISTANCES[0]]) for row in rows)
    kinds = next(iter(means.values()), {})
    return class_means, _nulled({kind: mean_of_defined([row[kind] for row in means.values()]) for kind in kinds})


def _nulled(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


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
    write_text(path, json.dumps(content, indent=2) + "\n")


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
    image = sitk.ReadImage(str(image_path(data_folder, predicted[0].scan_id)))
    width, height, depth = image.GetSize()
    for result in predicted:
        on_grid = np.zeros((depth, height, width), dtype=np.uint8)
        on_grid[:, : result.mask.shape[1], : result.mask.shape[2]] = result.mask
        path = prediction_path(run_folder, result.scan_id, result.task.label)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, on_grid, like=image)


def as_text(summary: dict[str, Any]) -> str:
    """Class means as aligned tables for the console; scores over all slices, where there are any, below the others."""
    text = _text_table([*summary["class_means"].items(), ("mean", summary["mean"])])
    if FULL_VOLUME not in summary["mean"]:
        return text
    rows = [*((name, row[FULL_VOLUME]) for name, row in summary["class_means"].items())]
    whole = _text_table([*rows, ("mean", summary["mean"][FULL_VOLUME])])
    return f"in the range of the class:\n{text}\nin the full volume:\n{whole}"


def _text_table(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    headings = {"dice": f"{'Dice':>9}", "precision": f"{'precision':>11}", "recall": f"{'recall':>9}"}
    if DISTANCES[0] in rows[-1][1]:
        headings |= {"hd95_mm": f"{'HD95 mm':>10}", "assd_mm": f"{'ASSD mm':>10}"}
    width = max(12, *(len(name) for name, _ in rows))
    lines = [f"{'class':{width}}{''.join(headings.values())}"]
    for name, row in rows:
        cells = ("-" if row[score] is None else f"{row[score]:.4f}" for score in headings)
        lines.append(
            f"{name:{width}}" + "".join(c.rjust(len(h)) for c, h in zip(cells, headings.values(), strict=True))
        )
    return "\n".join(lines)
