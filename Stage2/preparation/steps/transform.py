"""What preparation does to the volumes of a data set, as values that a manifest can hold, and the doing of it."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from Stage2.io.grid import SLICE_SIZES
from Stage2.preparation.raw.scan import RawVolumes
from Stage2.preparation.steps.normalise import (
    CT_BORDER,
    CT_COARSENING,
    CT_WINDOW,
    MR_PERCENTILE,
    MR_SPACING,
    centre_crop_or_pad,
    clip_bright_end,
    crop_border,
    drop_blank_trailing_slice,
    resample,
    resample_labels,
    window_intensities,
)

BELOW_AIR = -1050  # Hounsfield units: no tissue or air has less
LEAST_INSIDE = 0.02  # of the voxels, inside the window
MOST_ABOVE = 0.1  # of the voxels, above a window of Hounsfield units: bone and contrast medium are less

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VolumeTransform:
    """Steps in the order in which they are done; None or 0 leaves a step out.

    Attributes:
        window: intensities clipped to it and stretched to [0, 255] (CT, Hounsfield units).
        percentile: intensities above this percentile of the volume are set to it (MR).
        border: pixels cut off each in-plane border.
        spacing: mm along x, y, z; None along an axis keeps its spacing.
        coarsening: factor for the in-plane spacing, instead of `spacing`.
        centre: slices cropped or padded about their centre to 256 x 256.
        drop_blank_slice: the last slice left out where it is blank, as the size formula of resampling often adds one.
    """

    window: tuple[float, float] | None = None
    percentile: float | None = None
    border: int = 0
    spacing: tuple[float | None, float | None, float | None] | None = None
    coarsening: float | None = None
    centre: bool = True
    drop_blank_slice: bool = False

    def parameters(self) -> dict[str, Any]:
        """As JSON holds them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


CHAOS_TRANSFORM = VolumeTransform(percentile=MR_PERCENTILE, spacing=MR_SPACING)
SABS_TRANSFORM = VolumeTransform(window=CT_WINDOW, border=CT_BORDER, coarsening=CT_COARSENING, centre=False)


def expect_plausible(image: sitk.Image, transform: VolumeTransform) -> None:
    """Refuse a raw image that a window cannot be for; warn of one that it is perhaps not for.

    Raises:
        ValueError: nearly all voxels lie outside the window, or the window is one of Hounsfield units and the image
            has none.
    """
    if transform.window is None:
        return
    low, high = transform.window
    voxels = sitk.GetArrayViewFromImage(image)
    # Scanners pad with values that are no Hounsfield units, such as -2000 or -3024.
    lowest, highest = voxels.min(initial=voxels.max(), where=voxels >= BELOW_AIR), voxels.max()
    if low < 0 <= lowest < highest:
        sentence = (
            f"its values run from {lowest:g} to {highest:g}, but the window from {low:g} to {high:g} is for a CT in "
            "Hounsfield units, whose air is near -1000: it lacks its offset (RescaleIntercept, often -1024), was "
            "scaled before, or is no CT; correct it, or choose a window for its values."
        )
        if highest <= 1 or np.mean(voxels >= high) > MOST_ABOVE:
            raise ValueError(sentence)
        logger.warning("%s", sentence)
    inside = np.mean((voxels > low) & (voxels < high))
    if inside < LEAST_INSIDE:
        raise ValueError(
            f"{100 * (1 - inside):.1f} % of its voxels lie outside the window from {low:g} to {high:g} (they run from "
            f"{lowest:g} to {highest:g}); correct the window or the intensities."
        )


def normalise_scan(image: sitk.Image, label: sitk.Image | None, transform: VolumeTransform) -> RawVolumes:
    """Processed image, and label uint8, of slices of 256 x 256 (257).

    Args:
        image, label: on one grid, as read from NIfTI, whose spacing is float32: the published size formula can give
            another number of slices for the unrounded one.

    Raises:
        ValueError: no contrast in the window, slices too small for the border, or not of 256 x 256 in the end.
    """
    if transform.window is not None:
        image = window_intensities(image, transform.window)
    if transform.percentile is not None:
        image = clip_bright_end(image, transform.percentile)
    volumes = [image] if label is None else [image, label]
    if transform.border:
        volumes = [crop_border(volume, transform.border) for volume in volumes]
    spacing = _new_spacing(transform, image)
    if spacing is not None:
        volumes = [resample(volumes[0], spacing), *(resample_labels(volume, spacing) for volume in volumes[1:])]
    if transform.centre:
        volumes = [centre_crop_or_pad(volumes[0]), *(centre_crop_or_pad(one, outside=0) for one in volumes[1:])]
    done: RawVolumes = (volumes[0], volumes[1] if label is not None else None)
    if transform.drop_blank_slice:
        done = drop_blank_trailing_slice(*done)
    _expect_slice_size(done[0], image, transform)
    if transform.window is not None:  # published as float64; training reads float32, which halves the file
        done = (sitk.Cast(done[0], sitk.sitkFloat32), done[1])
    return done


def _new_spacing(transform: VolumeTransform, image: sitk.Image) -> list[float] | None:
    x, y, z = image.GetSpacing()
    if transform.coarsening is not None:
        return [x * transform.coarsening, y * transform.coarsening, z]
    if transform.spacing is None:
        return None
    return [old if new is None else new for old, new in zip((x, y, z), transform.spacing, strict=True)]


def _expect_slice_size(processed: sitk.Image, raw: sitk.Image, transform: VolumeTransform) -> None:
    width, height, _ = processed.GetSize()
    if {width, height} - set(SLICE_SIZES):
        columns, rows, _ = raw.GetSize()
        steps = f"border {transform.border}"
        if transform.coarsening:
            steps += f", coarsening {transform.coarsening:g}"
        raise ValueError(
            f"slices of {rows} x {columns} pixels become {height} x {width} (rows x columns; {steps}); expected "
            f"{SLICE_SIZES[0]} x {SLICE_SIZES[0]}: prepare the scan as a custom data set, with a centre crop."
        )
