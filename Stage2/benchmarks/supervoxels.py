"""How well superpixels and supervoxels fit organs, how many there are, and how long they take to be made.

Labels are looked at for this comparison alone; the pseudo-labels are made without them.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.volumes import read_image, read_label
from Stage2.io.names import image_path
from Stage2.io.nifti import read_header
from Stage2.preparation.steps.pseudo_labels import pseudo_label_volume, supervoxel_volume


class Fit(NamedTuple):
    """Pseudo-labels of one scan, or means over scans.

    Attributes:
        seconds: of processor time to make them.
        number: of them in the scan.
        slice_dice: of the one that fits an organ best in a slice, mean over organs and their slices.
        pair_dice: the same for two successive slices. A supervoxel must fit both; of superpixels it is the best one of
            each slice, as if they were linked without error.
    """

    seconds: float
    number: float
    slice_dice: float
    pair_dice: float


def dice_of_segments(segments: np.ndarray, organ: np.ndarray) -> dict[int, np.ndarray]:
    """Slice -> Dice of every segment with the organ, of the slices that show it.

    Args:
        segments: (Z, H, W) integers, 0 outside.
        organ: (Z, H, W) bool.

    Returns:
        Arrays (n + 1,) where n is the highest number in the volume; entry 0 is 0.
    """
    shown, n = np.flatnonzero(organ.any(axis=(1, 2))), int(segments.max())
    dice = {}
    for z in shown.tolist():
        sizes = np.bincount(segments[z].ravel(), minlength=n + 1)
        common = np.bincount(segments[z][organ[z]], minlength=n + 1)
        common[0] = 0
        dice[z] = 2 * common / (sizes + np.count_nonzero(organ[z]))
    return dice


def best_dice(segments: np.ndarray, label: np.ndarray, organs: Sequence[int], linked: bool) -> tuple[float, float]:
    """Mean Dice of the best segment, over organs and slices, and over organs and pairs of successive slices.

    Args:
        segments: (Z, H, W) integers, 0 outside.
        label: (Z, H, W) integers.
        organs: labels.
        linked: a number is one segment through the volume; else every slice has its own.
    """
    single, double = [], []
    for organ in organs:
        dice = dice_of_segments(segments, label == organ)
        single += [of_slice.max() for of_slice in dice.values()]
        for z in dice.keys() & {z - 1 for z in dice}:
            pair = (dice[z], dice[z + 1])
            double.append(sum(pair).max() / 2 if linked else sum(of_slice.max() for of_slice in pair) / 2)
    return float(np.mean(single)), float(np.mean(double))


def measure_supervoxels(folder: Path, data_set: DataSet, scale: str, scan_id: str) -> dict[str, Fit]:
    """Both kinds of pseudo-labels of a scan, made in this process.

    Raises:
        FileNotFoundError, ValueError: the scan, or its label, is missing or damaged, or shows no organ in two slices.
    """
    image, label = read_image(folder, scan_id), read_label(folder, scan_id, data_set)
    spacing, threshold = read_header(image_path(folder, scan_id)).spacing, data_set.foreground_threshold
    if not any((label[:-1] == organ).any() and (label[1:] == organ).any() for organ in data_set.evaluated):
        raise ValueError(f"scan {scan_id} of {folder} shows no evaluated organ in two slices; name another scan.")
    found = {}
    for name in ("superpixels", "supervoxels"):
        begun = time.process_time()
        if name == "superpixels":
            segments, _ = pseudo_label_volume(image, threshold, scale)
        else:
            segments, _ = supervoxel_volume(image, spacing, threshold, scale)
        seconds, linked = time.process_time() - begun, name == "supervoxels"
        number = int(segments.max() if linked else segments.max(axis=(1, 2)).sum())
        segments = segments[:, : label.shape[1], : label.shape[2]]
        found[name] = Fit(seconds, number, *best_dice(segments, label, data_set.evaluated, linked))
    return found


def fit_table(
    folder: Path | None, dataset: str, scale: str, scan_ids: Sequence[str]
) -> tuple[str, Sequence[str], Sequence[Sequence[str]]]:
    """Title, header and rows of a table of both kinds of pseudo-labels in some scans, and their means.

    Raises:
        FileNotFoundError, ValueError: as `measure_supervoxels`; no folder.
    """
    if folder is None:
        raise ValueError("--fit needs --data DIR, a processed folder with labels.")
    data_set = get_dataset(dataset)
    fits = {scan_id: measure_supervoxels(folder, data_set, scale, scan_id) for scan_id in scan_ids}
    rows = [(scan_id, name, fit) for scan_id, of_scan in fits.items() for name, fit in of_scan.items()]
    for kind in ("superpixels", "supervoxels"):
        rows.append(("mean", kind, Fit(*np.mean([fit for _, name, fit in rows if name == kind], axis=0))))
    return (
        f"Superpixels and supervoxels ({scale}), one process; of superpixels, two slices as if linked without error",
        ("scan", "", "CPU s", "number", "Dice of the best, one slice", "two successive slices"),
        [
            (scan_id, name, f"{f.seconds:.1f}", f"{f.number:.0f}", f"{f.slice_dice:.3f}", f"{f.pair_dice:.3f}")
            for scan_id, name, f in rows
        ],
    )
