"""What a test run leaves behind: results.json, the predicted masks, the published scalars."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from Stage1.files import write_text
from Stage2.evaluation.metrics import METRICS, heading, mean_of_defined, metric_names, or_none
from Stage2.evaluation.over_supports import over_supports
from Stage2.evaluation.protocol import ScanResult
from Stage2.io.names import image_path
from Stage2.io.volumes import read_volume, write_volume
from Stage2.run_folders.layout import FULL_VOLUME, prediction_path

COUNTS = ("scans", "undefined", "undefined_distances")  # of an entry of class_means


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


def summarise_supports(by_support: Mapping[str, Sequence[ScanResult]]) -> dict[str, Any]:
    """The tables of results.json where several supports were tried in turn.

    Scores per scan, and means, are means over supports; scans and undefined values are counted over all of them.
    "over_supports" holds class (or "mean") -> metric -> `OverSupports`, "supports" the tables of each support.

    Args:
        by_support: support scan -> results of its test scans.
    """
    tables = {scan: summarise(results) for scan, results in by_support.items()}
    cells: dict[tuple, list[dict]] = {}
    for table in tables.values():
        for row in table["scans"]:
            cells.setdefault((row["class"], row["scan"]), []).append(row)
    rows = {scan: table["scans"] for scan, table in tables.items()}
    classes = list(dict.fromkeys(name for table in tables.values() for name in table["class_means"]))
    metrics = [name for name in next(iter(tables.values()))["mean"] if name in METRICS]
    of_class = {name: [table["class_means"][name] for table in tables.values()] for name in classes}
    over = {
        name or "mean": {
            metric: _finite(asdict(over_supports([rows], name, metric, METRICS[metric].better))) for metric in metrics
        }
        for name in (*classes, None)
    }
    return {
        "support": {},
        "scans": [_mean_entry(of_cell) for of_cell in cells.values()],
        "class_means": {name: _mean_entry(entries) for name, entries in of_class.items()},
        "mean": _mean_entry([table["mean"] for table in tables.values()]),
        "over_supports": over,
        "supports": [{"scan": scan, **table} for scan, table in tables.items()],
    }


def _mean_entry(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Entries of results.json as one: the mean of every metric, counts added up, what else there is as in the first."""
    made: dict[str, Any] = {}
    for name, value in entries[0].items():
        values = [entry[name] for entry in entries]
        if name == FULL_VOLUME:
            made[name] = _mean_entry(values)
        elif name in METRICS:
            made[name] = or_none(mean_of_defined(math.nan if own is None else own for own in values))
        else:
            made[name] = sum(values) if name in COUNTS else value
    return made


def _finite(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: or_none(value) if isinstance(value, float) else value for name, value in entry.items()}


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


def write_masks(run_folder: Path, data_folder: Path, results: Sequence[ScanResult], support: str | None = None) -> None:
    """Write the predicted masks of one scan on the grid of its processed image, as uint8 NIfTI.

    Args:
        run_folder: of the test run.
        data_folder: processed folder with the images.
        results: of one scan; a class without prediction is passed over.
        support: id of the support scan, where several are tried in turn.
    """
    predicted = [result for result in results if result.mask is not None]
    if not predicted:
        return
    image = read_volume(image_path(data_folder, predicted[0].scan_id))
    width, height, depth = image.GetSize()
    for result in predicted:
        on_grid = np.zeros((depth, height, width), dtype=np.uint8)
        on_grid[:, : result.mask.shape[1], : result.mask.shape[2]] = result.mask
        path = prediction_path(run_folder, result.scan_id, result.task.label, support)
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
