"""Reading a processed folder: volumes, class maps, normalised scans ready for episodes and testing."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from Stage2.datasets.catalog import TRAINING, VOLUME, DataSet
from Stage2.datasets.labels import class_labels
from Stage2.datasets.pseudo_labels import OURS, PseudoLabels
from Stage2.io.grid import check_same_grid, check_same_size, check_slice_size
from Stage2.io.names import (
    IMAGE,
    class_map_path,
    class_maps_of,
    image_path,
    label_path,
    superpixel_path,
    supervoxel_path,
    volume_name,
    volumes_of,
)  # fmt: skip
from Stage2.io.nifti import check_label_file, read_header, read_voxels

SLICE_SIZE = 256  # pixels; processed CT volumes have 257, of which the first 256 are used
MAX_SUPERPIXELS = 1 << 20  # more than a slice has pixels: numbers beyond that are no superpixels

ClassMap = dict[str, dict[str, list[int]]]


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation that normalise an image."""

    mean: float
    std: float

    @property
    def can_normalise(self) -> bool:
        """Whether a finite image stays finite: a finite mean, and a finite deviation above 0."""
        return math.isfinite(self.mean) and 0 < self.std < math.inf


class Slices(Protocol):
    """Slices of one scan, (Z, 256, 256): an array, or one that stays on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, z: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Scan:
    """One scan: image float32 normalised; label uint8, superpixels and supervoxels of an integer type, where read."""

    id: str
    image: Slices
    label: Slices | None = None
    superpixels: Slices | None = None
    supervoxels: Slices | None = None


def list_scans(folder: Path) -> list[str]:
    """Ids of the scans of a processed folder, sorted by number."""
    expected = f"expected a processed data set with {volume_name(IMAGE, '<id>')}"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; {expected} files.")
    images = volumes_of(folder, IMAGE)
    if not images:
        raise FileNotFoundError(f"{folder} has no {volume_name(IMAGE, '<id>')}; {expected}.")
    by_number: dict[int, str] = {}
    for scan_id, path in images.items():
        if not scan_id.isdecimal():
            raise ValueError(f"{path}: the id {scan_id!r} is not a number; rename the file.")
        other = by_number.setdefault(int(scan_id), scan_id)
        if other != scan_id:
            raise ValueError(f"{folder} has scans {other} and {scan_id}, which are one number; rename one of them.")
    return sorted(images, key=int)


def read_class_map(folder: Path, min_pixels: int) -> ClassMap:
    """Class name -> scan id -> slices with at least `min_pixels` pixels of the class.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is no class map.
    """
    path, command = class_map_path(folder, min_pixels), f"python tools/prepare_data.py superpixels {folder}"
    if not path.is_file():
        found = ", ".join(other.name for other in class_maps_of(folder)) or "none"
        raise FileNotFoundError(f"{path} is missing (class maps found: {found}); make it with: {command}")
    try:
        content = json.loads(path.read_text())
        lists = [slices for scans in content.values() for slices in scans.values()]
        if all(isinstance(slices, list) and all(type(z) is int and z >= 0 for z in slices) for slices in lists):
            return content
    except (ValueError, AttributeError, RecursionError):
        pass
    raise ValueError(
        f"{path} is no class map (cut short?); expected {{class name: {{scan id: [slices]}}}}: delete it and make it "
        f"anew with: {command}"
    )


def slices_with_class(class_map: ClassMap, class_name: str, scan_id: str, folder: Path) -> list[int]:
    """Slices of a scan with this class, ascending, possibly none."""
    try:
        return sorted(class_map[class_name][scan_id])
    except KeyError:
        raise ValueError(
            f"the class map of {folder} has no entry for class {class_name}, scan {scan_id}; make it anew with: "
            f"python tools/prepare_data.py superpixels {folder}"
        ) from None


def own_statistics(volume: np.ndarray, path: Path | None = None) -> Statistics:
    """Mean and standard deviation over all voxels of one volume (MR); the path is for the error."""
    try:
        return pooled_statistics([volume])
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path else str(error)) from None


def pooled_statistics(volumes: Iterable[np.ndarray]) -> Statistics:
    """Mean and standard deviation over all voxels of all volumes (CT), computed in one pass in float64."""
    count, mean, squares = 0, 0.0, 0.0
    for volume in volumes:
        values = volume.astype(np.float64)
        own_mean = values.mean()
        own_squares = np.square(values - own_mean).sum()
        total = count + values.size
        squares += own_squares + (own_mean - mean) ** 2 * count * values.size / total
        mean += (own_mean - mean) * values.size / total
        count = total
    if count == 0:
        raise ValueError("no volumes to compute the mean and standard deviation of.")
    if squares == 0:
        raise ValueError("all voxels have the same value: an image without contrast cannot be normalised.")
    return Statistics(mean=float(mean), std=float(np.sqrt(squares / count)))


def fold_statistics(
    folder: Path, modality: str, training_scans: Sequence[str], ct_statistics: str = TRAINING
) -> Statistics | None:
    """Statistics shared by all scans of a fold: those of its training volumes for CT; None: each scan has its own.

    Args:
        folder: processed folder.
        modality: MR scans always have their own.
        training_scans: of the fold.
        ct_statistics: one of `CT_STATISTICS`.
    """
    if modality == "MR" or ct_statistics == VOLUME:
        return None
    return pooled_statistics(read_voxels(image_path(folder, scan_id)) for scan_id in training_scans)


def load_scan(
    folder: Path, scan_id: str, statistics: Statistics | None, *,
    with_label: bool = False, superpixel_scale: str | None = None, supervoxel_scale: str | None = None,
    data_set: DataSet | None = None,
) -> Scan:  # fmt: skip
    """Read and normalise one scan.

    Args:
        folder: processed folder.
        scan_id: id of the scan.
        statistics: of the fold; None to normalise by the volume's own.
        with_label: read its label.
        superpixel_scale: read its superpixels of this scale.
        supervoxel_scale: read its supervoxels of this scale.
        data_set: tells the classes and how label files store them; None: labels are taken as they are.

    Raises:
        FileNotFoundError, ValueError: a file is missing, unreadable or not finite, its size differs from the image's,
            slices are not 256 x 256, or the label lies elsewhere or holds a value that is no class.
    """
    volume = read_image(folder, scan_id)
    statistics = statistics or own_statistics(volume, image_path(folder, scan_id))
    label = superpixels = supervoxels = None
    if with_label:
        label = read_label(folder, scan_id, data_set)
    if superpixel_scale is not None:
        superpixels = read_superpixels(folder, scan_id, superpixel_scale, volume.shape)
    if supervoxel_scale is not None:
        check_supervoxels(folder, scan_id, supervoxel_scale, data_set)
        supervoxels = read_supervoxels(folder, scan_id, supervoxel_scale, volume.shape)
    image = (volume[:, :SLICE_SIZE, :SLICE_SIZE] - np.float32(statistics.mean)) / np.float32(statistics.std)
    return Scan(scan_id, image, label, superpixels, supervoxels)


def read_image(folder: Path, scan_id: str) -> np.ndarray:
    """Image of a scan as stored, (Z, H, W) float32 with H and W of 256 or 257."""
    path = image_path(folder, scan_id)
    volume = read_voxels(path).astype(np.float32)
    check_slice_size(path, volume.shape)
    return volume


def read_superpixels(folder: Path, scan_id: str, scale: str, shape: tuple[int, ...]) -> np.ndarray:
    """Superpixels on the grid of an image of this shape, cut to 256 x 256, int32."""
    path = superpixel_path(folder, scan_id, scale)
    return _read_segments(path, image_path(folder, scan_id), shape, "superpixels numbered from 1 in every slice")


def read_supervoxels(folder: Path, scan_id: str, scale: str, shape: tuple[int, ...]) -> np.ndarray:
    """Supervoxels on the grid of an image of this shape, cut to 256 x 256, int32."""
    path = supervoxel_path(folder, scan_id, scale)
    return _read_segments(path, image_path(folder, scan_id), shape, "supervoxels numbered from 1")


def check_supervoxels(folder: Path, scan_id: str, scale: str, data_set: DataSet | None) -> None:
    """Refuse supervoxels of ours that lie on another grid than the image, or were made with other settings.

    Those of other programs tell neither; their size is compared where they are read.

    Raises:
        FileNotFoundError, ValueError: there are none, or one of the above.
    """
    path, image, labels = supervoxel_path(folder, scan_id, scale), image_path(folder, scan_id), PseudoLabels.SUPERVOXELS
    header = read_header(path)
    if data_set is None or not header.note.startswith(OURS):
        return
    expected, remedy = labels.note(scale, data_set.foreground_threshold), labels.command(folder, data_set, scale)
    if header.note != expected:
        raise ValueError(
            f"{path} was made with other settings ({header.note}); expected {expected}: make it anew with {remedy}"
        )
    try:
        check_same_grid(path, header.grid, image, read_header(image).grid)
    except ValueError as error:
        found = str(error).rpartition(";")[0]
        raise ValueError(f"{found}; expected supervoxels of this image: make them anew with {remedy} --force") from None


def _read_segments(path: Path, image: Path, shape: tuple[int, ...], what: str) -> np.ndarray:
    numbers = read_voxels(path)
    check_same_size(path, numbers.shape, image, shape)
    numbers = numbers[:, :SLICE_SIZE, :SLICE_SIZE]
    if numbers.min() < 0 or numbers.max() >= MAX_SUPERPIXELS:
        raise ValueError(
            f"{path} has values from {numbers.min():.0f} to {numbers.max():.0f}; expected {what}, 0 "
            f"outside: make them anew with: python tools/prepare_data.py {what.split()[0]} {path.parent} --force"
        )
    return numbers.astype(np.int32)


def read_label(folder: Path, scan_id: str, data_set: DataSet | None) -> np.ndarray:
    """Labels on the grid of the scan's image, cut to 256 x 256, uint8."""
    path = label_path(folder, scan_id)
    check_label_file(path, image_path(folder, scan_id))
    voxels = read_voxels(path)[:, :SLICE_SIZE, :SLICE_SIZE]
    if data_set is None:
        return voxels.astype(np.uint8)
    try:
        return class_labels(voxels, data_set.classes, data_set.label_values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
