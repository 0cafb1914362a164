"""From raw scans to processed volumes: intensities, resampling, crop, labels. Images are SimpleITK's, (W, H, Z)."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from Stage2.datasets.catalog import CHAOS_GREY_VALUES
from Stage2.datasets.labels import no_labels
from Stage2.io.grid import changed_voxels, image_on_grid, outside_value, times
from Stage2.io.guards import expect_fits

MR_SPACING = (1.25, 1.25, 7.70)  # mm
MR_PERCENTILE = 99.5
CT_WINDOW = (-125.0, 275.0)  # Hounsfield units
CT_BORDER = 32  # pixels cut off each in-plane border: 512 -> 448
CT_COARSENING = 1.75  # in-plane: 448 -> 256 (257 by the size formula)
SLICE_SIZE = (256, 256)


def clip_bright_end(image: sitk.Image, percentile: float = MR_PERCENTILE) -> sitk.Image:
    """Voxels above a percentile of the volume set to it; the pixel type stays (integers: the percentile cut off).

    Raises:
        ValueError: no contrast is left.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    upper = voxels.dtype.type(np.percentile(voxels, percentile))
    if upper <= voxels.min():
        raise ValueError(
            f"all voxels have the same value, {upper:g}, but the brightest {100 - percentile:g} %; expected contrast."
        )
    return changed_voxels(image, lambda own: np.minimum(own, upper), image.GetPixelID())


def window_intensities(
    image: sitk.Image, window: tuple[float, float] = CT_WINDOW, kind: int = sitk.sitkFloat64
) -> sitk.Image:
    """Clip to a window, then stretch what is left linearly to [0, 255], computed in float64.

    The lowest and highest *remaining* values become 0 and 255, as published: a volume that does not fill the window
    is stretched more.

    Args:
        image: Hounsfield units.
        window: its ends.
        kind: pixel type of the result; that of float32 takes half the memory.

    Raises:
        ValueError: no contrast is left.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    lowest, highest = (float(np.clip(float(value), *window)) for value in (voxels.min(), voxels.max()))
    if lowest == highest:
        raise ValueError(
            f"all voxels are {lowest:g} after clipping to {list(window)}; expected a CT in Hounsfield units."
        )

    def stretch(own: np.ndarray) -> np.ndarray:
        return (np.clip(own.astype(np.float64), *window) - lowest) / (highest - lowest) * 255

    return changed_voxels(image, stretch, kind)


def resampled_size(size: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]) -> list[int]:
    """Voxels along each axis after resampling, by the published formula, floor(extent / new spacing + 1).

    The one more can put the last row, column or slice outside the scan.
    """
    return [int(n * old / new + 1) for n, old, new in zip(size, spacing, new_spacing, strict=True)]


def resample(image: sitk.Image, spacing: Sequence[float]) -> sitk.Image:
    """Resample linearly to a spacing in mm; origin, direction and pixel type stay, outside is `outside_value`.

    Raises:
        ValueError: more voxels than a volume may have, or than memory holds: a header that counts in another unit.
    """
    size = resampled_size(image.GetSize(), image.GetSpacing(), spacing)
    expect_fits(f"the scan, resampled from {times(image.GetSpacing())} mm to {times(spacing)} mm,", size, 4)
    return sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        [float(value) for value in spacing],
        image.GetDirection(),
        outside_value(image),
        image.GetPixelID(),
    )


def resample_labels(label: sitk.Image, spacing: Sequence[float]) -> sitk.Image:
    """Resample a label volume as `resample` does an image: each value as its own linear map, rounded at 0.5; uint8.

    A voxel in which no value reaches more than one half becomes background.

    Raises:
        ValueError: values that are not whole numbers in [0, 255].
    """
    voxels = sitk.GetArrayFromImage(label)
    values = np.unique(voxels)
    if len(no_labels(values)) or values[-1] > 255:
        raise ValueError(f"label values run from {values[0]} to {values[-1]}; expected whole numbers in [0, 255].")
    grid = resample(label, spacing)
    result = np.zeros(grid.GetSize()[::-1], dtype=np.uint8)
    for value in values[values > 0]:
        # float32 as published: in float64 some voxels at one half round the other way.
        share = resample(image_on_grid((voxels == value).astype(np.float32), label), spacing)
        result += np.rint(sitk.GetArrayViewFromImage(share)).astype(np.uint8) * np.uint8(value)
    return image_on_grid(result, grid)


def crop_border(image: sitk.Image, pixels: int = CT_BORDER) -> sitk.Image:
    """Cut a number of pixels off each in-plane border; the origin moves with the first voxel."""
    width, height, _ = image.GetSize()
    if min(width, height) <= 2 * pixels:
        raise ValueError(f"slices of {height} x {width} pixels have no room to cut {pixels} off each border.")
    return sitk.Crop(image, (pixels, pixels, 0), (pixels, pixels, 0))


def centre_crop_or_pad(
    image: sitk.Image, size: tuple[int, int] = SLICE_SIZE, outside: float | None = None
) -> sitk.Image:
    """Slices of a size (W, H), cropped or padded about their centre.

    An odd pixel goes to the far side. The published preparation keeps the old origin; here it moves with the first
    voxel, so that every voxel stays at its place in the patient.

    Args:
        image: 3D.
        size: of its slices then.
        outside: what they are padded with, 0 for labels; None: the volume's minimum, as published for images.
    """
    old = image.GetSize()
    surplus = [old[0] - size[0], old[1] - size[1], 0]
    cut = [max(amount, 0) for amount in surplus]
    added = [max(-amount, 0) for amount in surplus]
    if outside is None:
        outside = float(sitk.GetArrayViewFromImage(image).min())
    return sitk.ConstantPad(sitk.Crop(image, *_halves(cut)), *_halves(added), outside)


def drop_blank_trailing_slice(
    image: sitk.Image, label: sitk.Image | None = None
) -> tuple[sitk.Image, sitk.Image | None]:
    """Leave out the last slice of an image, and of its label, if all voxels of the image's are `outside_value`.

    The size formula of `resampled_size` often adds one. Published volumes keep it, so this is optional.
    """
    last = sitk.GetArrayViewFromImage(image)[-1]
    if image.GetDepth() == 1 or (last != outside_value(image)).any():
        return image, label
    return image[:, :, :-1], None if label is None else label[:, :, :-1]


def labels_from_grey_values(grey: np.ndarray) -> np.ndarray:
    """Labels 0 to 4 of CHAOS MR ground truth, of any shape, uint8.

    Raises:
        ValueError: a grey value that is not in the table.
    """
    table = np.full(256, 255, dtype=np.uint8)
    known = list(CHAOS_GREY_VALUES)
    table[known] = list(CHAOS_GREY_VALUES.values())
    unknown = np.setdiff1d(grey, known)
    if unknown.size:
        raise ValueError(f"grey values {unknown[:5].tolist()} are no CHAOS MR labels; expected only {known}.")
    return table[grey]


def _halves(amounts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Shares of the near and the far side; the far side takes the odd one."""
    return [amount // 2 for amount in amounts], [amount - amount // 2 for amount in amounts]
