"""What is made of every scan once: a NIfTI file of a DICOM series, a thumbnail, and a small volume to show at once."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from Stage1.files import whole_file, write_json
from Stage2.drawing.masks import as_bytes, grey, write_png
from Stage2.inference.pictures import RADIOLOGICAL
from Stage2.io.axes import slice_axis
from Stage2.io.grid import changed_voxels
from Stage2.io.nifti import read_header
from Stage2.io.volumes import placed, write_volume
from Stage2.serving.folder import Scan

THUMBNAIL = 128  # pixels of its longer side
LONGEST = 160  # voxels along an axis of the small volume
_KEPT = (sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkFloat32)  # types that the small volume may have


@dataclass(frozen=True)
class Facts:
    """What a scan's header says.

    Attributes:
        shape: voxels along x, y, z of the file.
        spacing: of these, mm.
        slice_axis: the one of them that runs between head and feet: along which slices are drawn and counted.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    slice_axis: int


def facts_of(path: Path) -> Facts:
    """From the header of a NIfTI file.

    Raises:
        FileNotFoundError, ValueError: it is no volume.
    """
    header = read_header(path)
    spacing = tuple(round(own, 6) for own in header.spacing[::-1])
    return Facts(header.size[::-1], spacing, 2 - slice_axis(geometry_of(path)))


def geometry_of(path: Path) -> sitk.Image:
    """An image of one voxel with the place, spacing and direction of a NIfTI file, whose voxels are not read."""
    return placed(read_header(path), sitk.Image([1, 1, 1], sitk.sitkUInt8))


class Made:
    """The files made of a scan, in a folder of their own; made anew where the scan has changed.

    Args:
        folder: of all of them.
        scan: that they are made of.
    """

    def __init__(self, folder: Path, scan: Scan):
        self.scan, self.folder = scan, folder / scan.id
        self.thumbnail = self.folder / "thumbnail.png"
        self.small = self.folder / "preview.nii.gz"
        self._noted = self.folder / "made.json"

    @property
    def volume(self) -> Path:
        """The scan as a NIfTI file: itself, or what was made of the series."""
        return self.scan.file.path if self.scan.kind == "nifti" else self.folder / "scan.nii.gz"

    def note(self) -> dict | None:
        """What was noted when the files were made: facts, or an error; None where they have to be made."""
        try:
            noted = json.loads(self._noted.read_text(encoding="utf-8"))
            return noted if noted["fingerprint"] == self.scan.fingerprint() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def make(self) -> dict:
        """Make what is not there, with the whole scan in memory; returns the note.

        Raises:
            OSError: the scan is gone, or nothing can be written.
        """
        noted = self.note()
        if noted is not None:
            return noted
        noted = {"fingerprint": self.scan.fingerprint()}
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            image = self.scan.file.read()
            if self.scan.kind == "dicom":
                write_volume(self.volume, sitk.GetArrayViewFromImage(image), image)
            write_png(self.thumbnail, thumbnail_of(image))
            small = smaller(image)
            write_volume(self.small, sitk.GetArrayViewFromImage(small), small)
            noted["facts"] = asdict(facts_of(self.volume))
        except ValueError as error:
            noted["error"] = str(error)
        write_json(self._noted, noted)
        return noted


def thumbnail_of(image: sitk.Image) -> np.ndarray:
    """The middle slice between head and feet as radiologists see it, (H, W) uint8 with square pixels."""
    axis = 2 - slice_axis(image)
    middle = image.GetSize()[axis] // 2
    cut = [slice(None)] * 3
    cut[axis] = slice(middle, middle + 1)
    upright = sitk.DICOMOrient(image[tuple(cut)], RADIOLOGICAL)
    width, height = (size * step for size, step in zip(upright.GetSize()[:2], upright.GetSpacing()[:2], strict=True))
    scale = THUMBNAIL / max(width, height)
    pixels = as_bytes(grey(sitk.GetArrayViewFromImage(upright)[0]))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def smaller(image: sitk.Image) -> sitk.Image:
    """Every n-th voxel along each axis, so that none is longer than `LONGEST`; at the places that they had."""
    steps = [-(-size // LONGEST) for size in image.GetSize()]
    small = image[tuple(slice(None, None, step) for step in steps)]
    if small.GetPixelID() in _KEPT:
        return small
    return changed_voxels(small, lambda voxels: voxels.astype(np.float32), sitk.sitkFloat32)


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file, whole or not at all. Raises OSError as `whole_file`."""
    with whole_file(path, durable=True) as temporary:
        shutil.copyfile(source, temporary)
