"""Label volumes: stored values as labels of the class table, and what a support slice must show."""

from collections.abc import Mapping, Sequence

import numpy as np


def no_labels(values: np.ndarray) -> np.ndarray:
    """Those of some values that no label can have, as they are no whole numbers from 0 up."""
    return values[(values != np.rint(values)) | (values < 0)]


def class_labels(
    voxels: np.ndarray, classes: Mapping[str, int], label_values: Mapping[int, int] | None = None
) -> np.ndarray:
    """Labels of a volume whose values must all be known.

    Args:
        voxels: as stored, any shape and numeric type.
        classes: class name -> label, 0 to 255.
        label_values: stored value -> label; None: labels are stored as they are.

    Returns:
        The same shape, uint8.

    Raises:
        ValueError: the volume holds a value that is no class, or that `label_values` does not map.
    """
    stored = {label: label for label in classes.values()} if label_values is None else label_values
    labels = np.zeros(voxels.shape, dtype=np.uint8)
    known = np.zeros(voxels.shape, dtype=bool)
    for value, label in stored.items():
        here = voxels == value
        known |= here
        if label:
            labels[here] = label
    if not known.all():
        unknown = np.unique(voxels[~known]).tolist()
        shown = f"{unknown[:8]}" + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        if label_values is None:
            raise ValueError(f"label values {shown} belong to no class; expected {dict(classes)}.")
        raise ValueError(f"label values {shown} are not in label_values {dict(stored)}; map them to a class, or to 0.")
    return labels


def check_support(
    scan_id: str, volume: np.ndarray, slices: Sequence[int], label: int, class_name: str | None = None
) -> None:
    """The support slices that a class map names must show the class.

    Args:
        scan_id: of the support scan.
        volume: its labels, (Z, H, W).
        slices: the support slices.
        label: of the class.
        class_name: for the error; None: the label.

    Raises:
        ValueError: a slice does not exist or has no pixel of the class: the class map is not that of these labels.
    """
    for z in slices:
        if z >= len(volume) or not (volume[z] == label).any():
            raise ValueError(
                f"slice {z} of support scan {scan_id} has no pixel of {class_name or f'label {label}'}, against the "
                "class map; delete the class maps and make them anew: python tools/prepare_data.py superpixels FOLDER"
            )
