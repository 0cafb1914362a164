"""Cells of slices: what a frozen-feature probe names and recognises.

A cell is one position of the feature grid, 8 x 8 pixels of a slice. Classes are numbered 0 (background: whatever is no
evaluated organ, as in Stage 2's episodes) and 1, 2, ... (the evaluated organs, in the catalog's order).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Stage2.datasets.body import foreground_mask
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.folds import support_slices
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.io.names import image_path
from Stage2.io.nifti import read_voxels
from Stage2.models.encoders import OUTPUT_STRIDE

MIN_CELLS = 20  # of every class: fewer say more about the few cells than about the features


@dataclass(frozen=True)
class ScanCells:
    """The probed slices of one scan, h = w = 32 for slices of 256 x 256.

    Attributes:
        images: (Z, H, W) float32, normalised as in Stage 2.
        labels: (Z, h, w) int64, the class that covers most pixels of the cell.
        pure: (Z, h, w) bool, that class covers at least half of the cell.
        scored: (Z, h, w) bool, cells in the body, and those of an organ; air is left out, as any feature tells it.
    """

    images: np.ndarray
    labels: np.ndarray
    pure: np.ndarray
    scored: np.ndarray


def class_share(mask: np.ndarray, side: int = OUTPUT_STRIDE) -> np.ndarray:
    """Share of every cell's pixels that lie in a mask: (Z, H, W) bool -> (Z, H / side, W / side) float64."""
    depth, height, width = mask.shape
    return mask.reshape(depth, height // side, side, width // side, side).mean(axis=(2, 4))


def cell_labels(label: np.ndarray, organs: Sequence[int], side: int = OUTPUT_STRIDE) -> tuple[np.ndarray, np.ndarray]:
    """Class of every cell, and how much of the cell it covers.

    Args:
        label: (Z, H, W) label values; those not in `organs` are background.
        organs: label values of class 1, 2, ...
        side: of a cell in pixels.

    Returns:
        (Z, H / side, W / side) int64 classes, the lower one where two cover the same; the same shape float64 shares.
    """
    shares = np.stack([class_share(mask, side) for mask in (~np.isin(label, organs), *(label == o for o in organs))])
    return shares.argmax(axis=0), shares.max(axis=0)


def read_cells(cohort: Cohort, scan_id: str, max_slices: int | None = None) -> ScanCells:
    """Slices and cells of a scan, from the first to the last slice with an evaluated organ.

    Args:
        cohort: the processed folder, whose fold decides how CT is normalised.
        scan_id: id of the scan, which must have a label.
        max_slices: take this many, evenly spaced; None: all.
    """
    scan = cohort.annotated_scan(scan_id)
    organs = cohort.data_set.evaluated
    shown = np.flatnonzero(np.isin(scan.label, organs).any(axis=(1, 2)))
    slices = list(range(shown[0], shown[-1] + 1)) if len(shown) else []
    if max_slices is not None and len(slices) > max_slices:
        slices = support_slices(slices, max_slices)  # the middle slice of every part, as Stage 2 takes supports
    volume = read_voxels(image_path(cohort.folder, scan_id))  # the body's threshold is in its units
    body = np.zeros((len(slices), SLICE_SIZE, SLICE_SIZE), dtype=bool)
    for row, z in enumerate(slices):
        body[row] = foreground_mask(volume[z, :SLICE_SIZE, :SLICE_SIZE], cohort.data_set.foreground_threshold)
    labels, shares = cell_labels(scan.label[slices], organs)
    return ScanCells(
        images=scan.image[slices],
        labels=labels,
        pure=shares >= 0.5,
        scored=(class_share(body) >= 0.5) | (labels > 0),
    )


def choose_training_cells(
    scans: Sequence[ScanCells], class_names: Sequence[str], cells_per_class: int, seed: int
) -> list[np.ndarray]:
    """A random sample with the same number of pure cells of every class.

    Args:
        scans: the training scans.
        class_names: of class 0, 1, ...
        cells_per_class: at most this many; fewer where the rarest class has fewer.
        seed: of the sample.

    Returns:
        For every scan (Z, h, w) bool, the chosen cells.

    Raises:
        ValueError: a class has fewer than MIN_CELLS cells.
    """
    labels = np.concatenate([np.where(scan.pure & scan.scored, scan.labels, -1).ravel() for scan in scans])
    places = [np.flatnonzero(labels == index) for index in range(len(class_names))]
    for name, found in zip(class_names, places, strict=True):
        if len(found) < MIN_CELLS:
            raise ValueError(
                f"found {len(found)} training cells of {name}, expected at least {MIN_CELLS}; take more slices per "
                "scan, or check the labels."
            )
    count = min(cells_per_class, *map(len, places))
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for found in places:
        chosen[generator.choice(found, count, replace=False)] = True
    ends = np.cumsum([scan.labels.size for scan in scans])[:-1]
    return [part.reshape(scan.labels.shape) for part, scan in zip(np.split(chosen, ends), scans, strict=True)]
