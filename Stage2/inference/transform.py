"""From any scan to the slices that a network was trained on, and back: axes, intensities, voxel size, 256 x 256.

Everything goes through the geometry of the headers, so that a mask returns to the very voxels that its scan has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.dataset_file import MODALITIES
from Stage2.datasets.volumes import Statistics, own_statistics
from Stage2.inference.request import Preparation
from Stage2.io.axes import DEFAULT_AXES, axes_of, check_axes, exchanged, upright
from Stage2.io.grid import grid_of, slabs_of, turned_to
from Stage2.io.scans import ScanFile
from Stage2.preparation.steps.normalise import (
    CT_COARSENING,
    MR_SPACING,
    SLICE_SIZE,
    centre_crop_or_pad,
    clip_bright_end,
    crop_border,
    drop_blank_trailing_slice,
    resample,
    window_intensities,
)

# Pixel types whose values float32 holds exactly.
EXACT = (sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt16, sitk.sitkFloat32)
SPACING_TOLERANCE = 1e-3  # relative: closer, and a scan is not resampled
CT_MATRIX = (512, 512)  # of the CT that training prepares: cut, then coarsened by CT_COARSENING
CT_PIXEL = 1.37  # mm, for CT of another matrix: 0.78 mm, the middle of SABS, coarsened
CT_THINNEST, CT_THICKNESS = 2.5, 3.0  # mm: SABS has slices of 2.5 to 5 mm, so thinner ones become 3 mm


@dataclass(frozen=True)
class ScanTransform:
    """How the training scans of a network were prepared.

    Attributes:
        modality: "MR" or "CT".
        axes: in which the slices lie, as in `Stage2.io.axes`.
        spacing: of the voxels along W, H, Z in mm; None: that of the modality.
        prepared: scans come as training read them: only axes and statistics are seen to.
        statistics: that normalise a CT; None, and always for MR: a volume's own.
        foreground_threshold: a voxel of a prepared volume above this value can belong to the body.
    """

    modality: str
    axes: str = DEFAULT_AXES
    spacing: tuple[float, float, float] | None = None
    prepared: bool = False
    statistics: Statistics | None = None
    foreground_threshold: float = 0.0

    def __post_init__(self):
        if self.modality not in MODALITIES:
            raise ValueError(f"modality {self.modality!r} is unknown; choose one of {', '.join(MODALITIES)}.")
        check_axes(self.axes)
        if self.spacing is not None and (len(self.spacing) != 3 or not all(0 < step < 1e3 for step in self.spacing)):
            raise ValueError(f"spacing {self.spacing}: expected three positive numbers of mm, along columns, rows, z.")
        own = self.statistics
        if own is not None and not own.can_normalise:
            raise ValueError(
                f"statistics {own.mean:g} and {own.std:g}: expected a finite mean, and a finite deviation above 0."
            )


def scan_transform(modality: str, **settings) -> ScanTransform:
    """The transform of a modality, with the foreground threshold of the built-in data set of it unless one is given."""
    if modality in MODALITIES:
        built_in = get_dataset("CHAOST2" if modality == "MR" else "SABS")
        settings.setdefault("foreground_threshold", built_in.foreground_threshold)
    return ScanTransform(modality, **settings)


def transform_for(request: Preparation, data_set: DataSet | None) -> ScanTransform:
    """How scans are prepared: modality and threshold of a data set or of a modality, voxel size and axes of an image.

    Raises:
        FileNotFoundError, ValueError: no modality is known, or the image to follow cannot be read.
    """
    modality = request.modality or (None if data_set is None else data_set.modality)
    if modality is None:
        raise ValueError(
            "the snapshot lies in no run folder that tells what it was trained on; name --modality MR or CT, or a "
            "--dataset."
        )
    settings: dict = {"prepared": request.prepared}
    if data_set is not None and data_set.modality == modality:
        settings["foreground_threshold"] = data_set.foreground_threshold
    if request.like is not None:
        image = ScanFile(request.like).read()
        settings |= {"spacing": image.GetSpacing(), "axes": axes_of(image)}
    if request.axes is not None:
        settings["axes"] = request.axes
    if request.ct_statistics is not None:
        if modality != "CT":
            raise ValueError("--ct-statistics MEAN STD is for CT; MR is normalised by itself: leave it out.")
        settings["statistics"] = Statistics(*request.ct_statistics)
    return scan_transform(modality, **settings)


def data_set_of(request: Preparation, config: Mapping) -> DataSet | None:
    """The data set that is named, else that of the run which made the snapshot, else none.

    Raises:
        FileNotFoundError, ValueError: the one that is named is unknown, or is at odds with the modality.
    """
    if request.dataset is not None:
        data_set = get_dataset(request.dataset)
        if request.modality not in (None, data_set.modality):
            raise ValueError(
                f"--modality {request.modality} and --dataset {request.dataset}, which is {data_set.modality}, "
                "contradict each other; leave one out."
            )
        return data_set
    try:
        return get_dataset(config["dataset"]) if "dataset" in config else None
    except (OSError, ValueError):  # the file of an own data set may lie elsewhere now
        return None


def label_name(data_set: DataSet | None, value: int) -> str:
    """Name of a value in a mask, as the data set has it; "label 2" where it has none."""
    if data_set is not None:
        label = value if data_set.label_values is None else data_set.label_values.get(value)
        for name, own in data_set.classes.items():
            if own == label and own:
                return name
    return f"label {value}"


def prepare_image(scan: sitk.Image, transform: ScanTransform) -> sitk.Image:
    """A scan as the network's training scans were before they were normalised, (256, 256, Z) float32.

    Raises:
        ValueError: it has no contrast, or, with `prepared`, slices of another size.
    """
    if transform.prepared:
        return to_network_grid(sitk.Cast(scan, sitk.sitkFloat32), transform)
    return drop_blank_trailing_slice(to_network_grid(_limited(scan, transform), transform))[0]


def _limited(scan: sitk.Image, transform: ScanTransform) -> sitk.Image:
    """A scan without its brightest end, or in the window of CT, float32; its axes are exchanged while it is small."""
    image = exchanged(scan, transform.axes)
    if transform.modality == "MR":
        return clip_bright_end(sitk.Cast(image, sitk.sitkFloat32))
    if image.GetPixelID() not in EXACT:
        image = sitk.Cast(image, sitk.sitkFloat32)
    return window_intensities(image, kind=sitk.sitkFloat32)


def prepare_masks(
    mask: sitk.Image, labels: Sequence[int], image: sitk.Image, transform: ScanTransform
) -> dict[int, np.ndarray]:
    """Label -> its mask on the grid of the prepared image of the same scan, (Z, 256, 256) bool.

    Each label moves as its own linear map and holds where more than one half of it does, as in preparation.
    """
    shares = {label: sitk.Cast(sitk.Equal(mask, float(label)), sitk.sitkFloat32) for label in labels}
    moved = {label: to_network_grid(share, transform, outside=0) for label, share in shares.items()}
    return {
        label: np.rint(sitk.GetArrayFromImage(share)[: image.GetDepth()]).astype(bool) for label, share in moved.items()
    }


def normalise(image: sitk.Image, transform: ScanTransform, scan: sitk.Image) -> np.ndarray:
    """Slices for the network, (Z, 256, 256) float32, by the transform's statistics or the volume's own.

    Args:
        image: the prepared image.
        transform: how it was prepared.
        scan: as it was given: the statistics of a processed scan are those of the whole file, as in training.

    Raises:
        ValueError: all voxels have the same value.
    """
    volume = sitk.GetArrayFromImage(image)
    whole = sitk.GetArrayFromImage(scan).astype(np.float32) if transform.prepared else volume
    own = transform.statistics or own_statistics(whole)
    return (volume - np.float32(own.mean)) / np.float32(own.std)


def to_network_grid(image: sitk.Image, transform: ScanTransform, outside: float | None = None) -> sitk.Image:
    """The geometry alone: axes, voxel size, 256 x 256; linear, outside as in `resample` and `centre_crop_or_pad`."""
    image = upright(image, transform.axes)
    if transform.prepared:
        if not all(side in (SLICE_SIZE[0], SLICE_SIZE[0] + 1) for side in image.GetSize()[:2]):
            columns, rows, _ = image.GetSize()
            raise ValueError(
                f"slices of {rows} x {columns} pixels; expected 256 x 256, as a scan that is prepared has: leave the "
                "preparation to this program."
            )
        return image[: SLICE_SIZE[0], : SLICE_SIZE[1], :]
    spacing = network_spacing(image, transform)
    if transform.modality == "CT" and transform.spacing is None and image.GetSize()[:2] == CT_MATRIX:
        image = crop_border(image)
    if not np.allclose(spacing, image.GetSpacing(), rtol=SPACING_TOLERANCE, atol=0):
        image = resample(image, spacing)
    return centre_crop_or_pad(image, SLICE_SIZE, outside)


def network_spacing(image: sitk.Image, transform: ScanTransform) -> tuple[float, float, float]:
    """Voxel size along W, H, Z in mm that a scan in the right axes is resampled to; a single slice keeps its own z."""
    own = image.GetSpacing()
    if transform.spacing is not None:
        spacing = transform.spacing
    elif transform.modality == "MR":
        spacing = MR_SPACING
    else:
        whole = image.GetSize()[:2] == CT_MATRIX
        in_plane = (own[0] * CT_COARSENING, own[1] * CT_COARSENING) if whole else (CT_PIXEL, CT_PIXEL)
        spacing = (*in_plane, own[2] if own[2] >= CT_THINNEST else CT_THICKNESS)
    return (*spacing[:2], own[2] if image.GetDepth() == 1 else spacing[2])


def back_to_scan(volume: np.ndarray, prepared: sitk.Image, scan: sitk.Image) -> np.ndarray:
    """Values on the network's grid, such as probabilities, at the voxels of the scan they belong to; linear.

    Args:
        volume: (Z, 256, 256) float32, on the grid of `prepared`.
        prepared: the prepared image of the scan.
        scan: as it was given.

    Returns:
        (Z', H', W') float32, in the scan's own order of axes; 0 where the network did not look. On the scan's own
        voxels nothing is interpolated.
    """
    image = sitk.GetImageFromArray(volume)
    image.CopyInformation(prepared)
    turned = turned_to(image, scan)
    same_place = np.allclose(grid_of(turned).affine, grid_of(scan).affine, rtol=0, atol=1e-5)
    if turned.GetSize() == scan.GetSize() and same_place:
        return sitk.GetArrayFromImage(turned)
    found = np.empty(scan.GetSize()[::-1], dtype=np.float32)
    for slab in slabs_of(scan.GetSize()):
        moved = sitk.Resample(image, scan[:, :, slab], sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        found[slab] = sitk.GetArrayViewFromImage(moved)
    return found
