"""From probabilities on the network's grid to labels at the voxels of a scan, in little memory."""

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from Stage2.inference.transform import back_to_scan
from Stage2.io.grid import slabs_of
from Stage2.segmentation.scans import label_map

Box = tuple[slice, slice, slice]  # along W, H, Z


def labels_on_scan(volumes: Mapping[int, np.ndarray], prepared: sitk.Image, scan: sitk.Image) -> np.ndarray:
    """The `label_map` of what `back_to_scan` makes of all labels, (Z', H', W'), of the smallest type that holds them.

    Only the voxels near those where a probability is above 0.5 are looked at, some slices at a time: linear
    interpolation gives nothing above 0.5 elsewhere. Equal up to rounding of the voxels' places.

    Args:
        volumes: label -> its probability, (Z, S, S) float32 on the grid of `prepared`.
        prepared: tells where the volumes lie.
        scan: as it was given.
    """
    result = np.zeros(scan.GetSize()[::-1], dtype=np.min_scalar_type(max(volumes)))
    boxes = {label: box_of(volume > 0.5, prepared, scan) for label, volume in volumes.items()}
    for slab in slabs_of(scan.GetSize()):
        own = [(label, _cut(box, slab)) for label, box in boxes.items() if box is not None]
        shown = [(label, box) for label, box in own if box[2].start < box[2].stop]
        if not shown:
            continue
        columns, rows, slices = (
            slice(min(box[axis].start for _, box in shown), max(box[axis].stop for _, box in shown))
            for axis in range(3)
        )
        part = scan[columns, rows, slices]
        result[slices, rows, columns] = label_map(
            {label: back_to_scan(volumes[label], prepared, part) for label, _ in shown}
        )
    return result


def box_of(mask: np.ndarray, prepared: sitk.Image, scan: sitk.Image) -> Box | None:
    """The voxels of a scan that lie within a voxel of a mask on another grid; None where there are none.

    Args:
        mask: (Z, S, S) bool on the grid of `prepared`.
        prepared: tells where the mask lies.
        scan: of the voxels.
    """
    spans = []
    for axis in range(3):
        shown = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != 2 - axis)))
        if not len(shown):
            return None
        spans.append((float(shown[0]) - 1, float(shown[-1]) + 1))
    corners = np.array(
        [
            scan.TransformPhysicalPointToContinuousIndex(prepared.TransformContinuousIndexToPhysicalPoint((x, y, z)))
            for x in spans[0]
            for y in spans[1]
            for z in spans[2]
        ]
    )
    first = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
    stop = np.minimum(np.ceil(corners.max(axis=0)) + 1, scan.GetSize()).astype(int).tolist()
    if any(start >= end for start, end in zip(first, stop, strict=True)):
        return None
    return tuple(slice(start, end) for start, end in zip(first, stop, strict=True))


def _cut(box: Box, slab: slice) -> Box:
    """The part of a box in consecutive slices, which may be none."""
    return (*box[:2], slice(max(box[2].start, slab.start), min(box[2].stop, slab.stop)))
