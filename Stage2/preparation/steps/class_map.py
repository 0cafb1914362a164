"""Class maps: which slices of which scan show which class."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from Stage2.datasets.volumes import ClassMap

# An episode needs slices with some pixels of a class (1), a support slice a good view of it (100).
MIN_PIXELS = (1, 100)


def count_class_pixels(label: np.ndarray, classes: Mapping[str, int]) -> dict[str, list[int]]:
    """Pixels of every class in every slice.

    Args:
        label: label volume, (Z, H, W) integers.
        classes: class name -> label value, background included.

    Returns:
        Class name -> Z counts.

    Raises:
        ValueError: the volume holds a value that is no class.
    """
    unknown = sorted(set(np.unique(label).tolist()) - set(classes.values()))
    if unknown:
        raise ValueError(f"label values {unknown} belong to no class; expected {dict(classes)}.")
    return {name: np.count_nonzero(label == value, axis=(1, 2)).tolist() for name, value in classes.items()}


def class_map(counts: Mapping[str, Mapping[str, Sequence[int]]], classes: Iterable[str], min_pixels: int) -> ClassMap:
    """Slices with at least `min_pixels` pixels of a class.

    The published CHAOS map compares the minimum with the sum of the slice's label values, which lets in slices with
    fewer pixels of the class; here the pixels of the class itself are counted.

    Args:
        counts: scan id -> class name -> pixels per slice (`count_class_pixels`).
        classes: class names, in the order of the map.
        min_pixels: at least this many, 1 or more.

    Returns:
        Class name -> scan id -> slices, ascending; a scan without the class has an empty list.
    """
    if min_pixels < 1:
        raise ValueError(f"a minimum of {min_pixels} pixels puts every slice into the class map; use 1 or more.")
    return {
        name: {
            scan_id: [z for z, pixels in enumerate(of_scan[name]) if pixels >= min_pixels]
            for scan_id, of_scan in counts.items()
        }
        for name in classes
    }
