"""Axes of a scan: in which direction of the patient its columns, rows and slices run.

A code such as LAS says, in the manner of ITK, where indices rise to: columns to the patient's left, rows to the front
(anterior), slices to the head (superior). CHAOS and SABS, prepared as published, are LAS.
"""

import math
from itertools import product

import numpy as np
import SimpleITK as sitk

from Stage2.io.grid import outside_value

DEFAULT_AXES = "LAS"
STORED = "stored"  # take the slices as they lie in the file: for planes that follow the organ, as in cardiac MR
MAX_TILT = 5.0  # degrees: what training's augmentation turns slices by; scans tilted further are resampled
_PAIRS = ("LR", "PA", "SI")


def check_axes(axes: str) -> None:
    """Refuse what is no code of axes.

    Raises:
        ValueError: it is not one letter of each pair left/right, posterior/anterior, superior/inferior.
    """
    if axes != STORED and (len(axes) != 3 or not all(any(side in axes for side in pair) for pair in _PAIRS)):
        raise ValueError(
            f"axes {axes!r}: expected three letters, one each of L/R, P/A and S/I, such as {DEFAULT_AXES}, or {STORED}."
        )


def axes_of(image: sitk.Image) -> str:
    """The code of the axes that an image's header comes closest to."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def direction_of(axes: str) -> np.ndarray:
    """Unit vectors of axes as columns, (3, 3), in the patient coordinates of ITK: left, posterior, superior."""
    direction = np.zeros((3, 3))
    for column, letter in enumerate(axes):
        row = next(number for number, pair in enumerate(_PAIRS) if letter in pair)
        direction[row, column] = 1.0 if letter in "LPS" else -1.0
    return direction


def tilt(image: sitk.Image) -> float:
    """The largest angle between an axis of the image and the patient axis it is closest to, in degrees."""
    direction = np.abs(np.reshape(image.GetDirection(), (3, 3)))
    return math.degrees(math.acos(min(float(direction.max(axis=0).min()), 1.0)))


def exchanged(image: sitk.Image, axes: str) -> sitk.Image:
    """The image with its axes exchanged and flipped to come closest to these; each voxel keeps its place and value."""
    return image if axes in (STORED, axes_of(image)) else sitk.DICOMOrient(image, axes)


def upright(image: sitk.Image, axes: str) -> sitk.Image:
    """The image with its axes in this order and direction: exchanged and flipped, and resampled if it is tilted.

    A tilt of up to MAX_TILT stays, as it does in training. Beyond, linear interpolation at the voxel size that the
    image has, on a grid that holds all of it, `outside_value` outside.
    """
    image = exchanged(image, axes)
    if axes == STORED or tilt(image) <= MAX_TILT:
        return image
    direction = direction_of(axes)
    corners = np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint(corner)
            for corner in product(*((0.0, side - 1.0) for side in image.GetSize()))
        ]
    )
    along = corners @ direction  # places of the corners along the new axes, in mm
    first, extent = along.min(axis=0), np.ptp(along, axis=0)
    spacing = np.array(image.GetSpacing())
    size = [int(count) for count in np.floor(extent / spacing + 1e-6) + 1]
    origin = direction @ first
    return sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        origin.tolist(),
        spacing.tolist(),
        direction.flatten().tolist(),
        outside_value(image),
        image.GetPixelID(),
    )


def slice_axis(image: sitk.Image, axes: str = DEFAULT_AXES) -> int:
    """Axis of the image's array (Z, H, W) along which the slices of these axes lie: head and feet, unless they differ.

    Slices that are taken as they lie in the file lie along the first one.
    """
    if axes == STORED:
        return 0
    row = next(number for number, pair in enumerate(_PAIRS) if axes[2] in pair)
    direction = np.abs(np.reshape(image.GetDirection(), (3, 3)))
    return 2 - int(direction[row].argmax())
