"""Masks that people draw, of supports and as ground truth: both on the grid of their scan, both of whole numbers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.datasets.labels import no_labels
from Stage2.io.grid import on_grid_of
from Stage2.io.names import MASK_ENDINGS, label_name_of
from Stage2.io.nifti import NIFTI_SUFFIXES
from Stage2.io.scans import ScanFile

UNKNOWN = 255  # value of voxels of which an annotation says nothing
MOST_VALUES = 250  # of a mask: more are those of an image

logger = logging.getLogger(__name__)


def mask_on_scan(mask: sitk.Image, scan: sitk.Image, mask_name: str, scan_name: str) -> sitk.Image:
    """A mask on the grid of its scan, turned there where only the order or direction of axes differs.

    Raises:
        ValueError: another grid, values that are not whole numbers from 0 up or too many for a mask, or no voxel.
    """
    mask = on_grid_of(mask, scan, mask_name, scan_name)
    values = np.unique(sitk.GetArrayViewFromImage(mask))
    wrong = no_labels(values)
    if len(wrong) or len(values) > MOST_VALUES:
        found = f"values such as {wrong[0]}" if len(wrong) else f"{len(values)} values, as an image has"
        raise ValueError(f"{mask_name} has {found}; expected whole numbers: 0 for background, one for each organ.")
    if not values.any():
        raise ValueError(f"{mask_name} is empty: it marks no voxel; annotate the organ in it.")
    return mask


def labels_in(mask: sitk.Image) -> list[int]:
    """The labels that a mask shows, ascending."""
    return [int(value) for value in np.unique(sitk.GetArrayViewFromImage(mask)) if value]


def reach_neighbours(mask: np.ndarray, axis: int, drawn: Mapping[int, Sequence[int]], reach: int) -> np.ndarray:
    """A mask in which slices where an organ is drawn stand for those up to `reach` away where it is not.

    Args:
        mask: whole numbers, with slices along `axis`.
        axis: of the slices.
        drawn: label -> slices in which it is drawn.
        reach: slices either way; of two that are drawn, the nearer one counts.
    """
    slices = np.moveaxis(mask, axis, 0)
    found = slices.copy()
    for label, places in drawn.items():
        for place in sorted(set(range(len(slices))) - set(places)):
            nearest = min(places, key=lambda own, place=place: abs(own - place), default=None)
            if nearest is not None and abs(nearest - place) <= reach:
                found[place][(slices[nearest] == label) & (found[place] == 0)] = label
    return np.moveaxis(found, 0, axis)


def find_truth(path: Path, query: ScanFile) -> Path:
    """The ground truth of a query: the file given, or, in a folder, the one whose name follows from the query's.

    That of image_<id> is label_<id>; of other scans it is the name, with or without an ending such as _mask. An image
    is never a truth: neither image_<id> nor the query itself.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.is_dir():
        return path
    label = label_name_of(query.name)
    names = [label] if label != query.name else []
    names += [query.name + end for end in MASK_ENDINGS if end or not names]
    for candidate in (path / f"{name}{suffix}" for name in names for suffix in NIFTI_SUFFIXES):
        if candidate.is_file() and candidate.resolve() != query.path.resolve():
            return candidate
    expected = " or ".join(f"{name}.nii.gz" for name in dict.fromkeys((names[0], f"{query.name}_mask", names[-1])))
    raise FileNotFoundError(f"{path} holds no ground truth of {query.name}; expected {expected}.")


def read_truth(path: Path, scan: sitk.Image, query: ScanFile, labels: Sequence[int]) -> sitk.Image:
    """A ground truth on the grid of its scan; a label that it lacks is named in the log.

    Raises:
        FileNotFoundError, ValueError: it is missing, damaged, the scan itself, as in `mask_on_scan`, or shows none of
            the labels.
    """
    truth = ScanFile(path).read()
    same_size = truth.GetSize() == scan.GetSize()
    if same_size and np.array_equal(*(sitk.GetArrayViewFromImage(image) for image in (truth, scan))):
        raise ValueError(f"{path} holds the voxels of {query.path}: an image is no ground truth; give its mask.")
    truth = mask_on_scan(truth, scan, str(path), str(query.path))
    shown = labels_in(truth)
    missing = [label for label in labels if label not in shown]
    if len(missing) == len(labels):
        raise ValueError(f"label {missing[0]} is not in {path}; it holds {shown[:20]}: give the truth of these labels.")
    for label in missing:
        logger.warning("%s: label %d is not in %s, which holds %s", query.name, label, path, shown[:20])
    return truth
