"""What a test run leaves behind: results.json, the predicted masks, the published scalars."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from Stage1.files import write_text
from Stage2.evaluation.metrics import METRICS, heading, mean_of_defined, metric_names
from Stage2.evaluation.protocol import ScanResult
from Stage2.io.names import image_path
from Stage2.io.volumes import read_volume, write_volume
from Stage2.run_folders.layout import FULL_VOLUME, prediction_path


def summarise(results: Sequence[ScanResult]) -> dict[str, Any]:
    """The tables of results.json: supports, scores per scan, means per class, means over classes.

    Scores over all slices, where there are any, stand apart under "full_volume" of each entry. Undefined scores are
    null in the raw table; means leave them out, `undefined` counts the scans without Dice and `undefined_distances`
    those without surface distances (either mask is empty).
    """
    scans = [
        {
            "class": result.task.name,
            "label": result.task.label,
            "scan": result.scan_id,
            "z_min": result.slice_range[0] if result.slice_range else None,
            "z_max": result.slice_range[1] if result.slice_range else None,
            **_nulled(result.scores),
        }
        for result in results
    ]
    class_means, mean = _means([(result.task.name, result.scores) for result in results])
    if all(result.whole_scores is not None for result in results):
        whole_class_means, mean[FULL_VOLUME] = _means([(result.task.name, result.whole_scores) for result in results])
        for row, result in zip(scans, results, strict=True):
            row[FULL_VOLUME] = _nulled(result.whole_scores)
        for name, row in whole_class_means.items():
            class_means[name][FULL_VOLUME] = row
    support = {
        result.task.name: [{"scan": scan, "slices": list(own)} for scan, own in result.task.support_slices.items()]
        for result in results
    }
    return {"support": support, "scans": scans, "class_means": class_means, "mean": mean}


def _means(scores: Sequence[tuple[str, Mapping[str, float]]]) -> tuple[dict[str, dict], dict]:
    """Means of every class over scans, and the means of these over classes, of (class, scores) of every scan."""
    by_class: dict[str, list[Mapping[str, float]]] = {}
    for name, row in scores:
        by_class.setdefault(name, []).append(row)
    means, class_means = {}, {}
    for name, rows in by_class.items():
        means[name] = {metric: mean_of_defined(row[metric] for row in rows) for metric in rows[0]}
        undefined = {metric: sum(math.isnan(row[metric]) for row in rows) for metric in rows[0]}
        class_means[name] = _nulled(means[name]) | {"scans": len(rows), "undefined": undefined["dice"]}
        distances = [undefined[metric] for metric in rows[0] if METRICS[metric].setting == "surface_distances"]
        class_means[name] |= {"undefined_distances": max(distances)} if distances else {}
    metrics = next(iter(means.values()), {})
    return class_means, _nulled({own: mean_of_defined(row[own] for row in means.values()) for own in metrics})


def _nulled(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def published_scalars(results: Sequence[ScanResult]) -> dict[str, Any]:
    """The metrics that have published names, under these: per class, mean, and per scan and class."""
    scalars = {}
    for metric in results[0].scores:
        if METRICS[metric].published is None:
            continue
        by_class: dict[str, list[float]] = {}
        for result in results:
            by_class.setdefault(result.task.name, []).append(result.scores[metric])
        means = [mean_of_defined(values) for values in by_class.values()]
        raw = [list(row) for row in zip(*by_class.values(), strict=True)]
        scalars |= zip(METRICS[metric].published, (means, mean_of_defined(means), raw), strict=True)
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
    image = read_volume(image_path(data_folder, predicted[0].scan_id))
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
    metrics = metric_names(rows[-1][1])
    widths = [max(9, len(heading(metric)) + 2) for metric in metrics]
    first = max(12, *(len(name) for name, _ in rows))
    table = [["class", *map(heading, metrics)]]
    for name, row in rows:
        table.append([name, *("-" if row.get(own) is None else f"{row[own]:.4f}" for own in metrics)])
    return "\n".join(
        f"{name:{first}}" + "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for name, *cells in table
    )
