"""Scans as people have them: NIfTI files, folders with a DICOM series, folders full of either."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.io.grid import MAX_SHIFT
from Stage2.io.names import SUFFIX
from Stage2.io.nifti import read_volume

NIFTI_SUFFIXES = (SUFFIX, ".nii")
GAP_TOLERANCE = 0.1  # of the distance of slices: DICOM positions are rounded

_POSITION = "0020|0032"  # of the first voxel of a slice


@dataclass(frozen=True)
class ScanFile:
    """Where a scan is: a NIfTI file, or a folder with one DICOM series."""

    path: Path

    @property
    def name(self) -> str:
        """Of the file without its suffix, or of the folder."""
        return self.path.name.removesuffix(_suffix(self.path) or "")

    @property
    def is_nifti(self) -> bool:
        return _suffix(self.path) is not None

    def read(self) -> sitk.Image:
        """The scan, 3D with one value per voxel.

        Raises:
            FileNotFoundError, ValueError: it is missing, damaged, not 3D, has colours or values that are not finite.
        """
        if self.is_nifti:
            return read_volume(self.path)
        if not self.path.is_dir():
            reason = "is no scan" if self.path.exists() else "does not exist"
            raise FileNotFoundError(f"{self.path} {reason}; expected .nii.gz, .nii, or a folder with a DICOM series.")
        return read_series(self.path)

    def content_hash(self) -> str:
        """SHA-256 of the file, or of the names and contents of all files of the folder.

        Raises:
            FileNotFoundError: there is no such file or folder.
        """
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist; expected .nii.gz, .nii, or a folder with DICOM.")
        if not self.path.is_dir():
            return hash_of_file(self.path)
        files = [path for path in sorted(self.path.iterdir()) if path.is_file()]
        names_and_contents = "".join(f"{path.name} {hash_of_file(path)}\n" for path in files)
        return hashlib.sha256(names_and_contents.encode()).hexdigest()


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_scans(path: Path) -> list[ScanFile]:
    """The scans that a path means, by name: a file, a folder with a DICOM series, or all scans that a folder holds.

    Raises:
        FileNotFoundError: there are none.
    """
    if not path.is_dir():
        return [ScanFile(path)]
    files = [ScanFile(entry) for entry in sorted(path.iterdir()) if entry.is_file() and _suffix(entry)]
    files = [scan for scan in files if not scan.path.name.startswith(".")]
    if files:
        return files
    if list_series(path):
        return [ScanFile(path)]
    folders = [ScanFile(entry) for entry in sorted(path.iterdir()) if entry.is_dir() and list_series(entry)]
    if not folders:
        raise FileNotFoundError(
            f"{path} holds no scan; expected .nii.gz or .nii files, a DICOM series, or folders with one each."
        )
    return folders


def list_series(folder: Path) -> tuple[str, ...]:
    """Ids of the DICOM series in a folder, subfolders left out."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # GDCM warns of every folder without a series
    try:
        return tuple(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def read_series(folder: Path) -> sitk.Image:
    """The one DICOM series of a folder.

    Raises:
        FileNotFoundError, ValueError: none or several, slices missing, colours, or it cannot be read.
    """
    series = list_series(folder)
    if not series:
        raise FileNotFoundError(f"{folder} holds no DICOM series.")
    if len(series) > 1:
        counts = [len(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), one)) for one in series]
        raise ValueError(
            f"{folder} holds {len(series)} DICOM series (of {', '.join(map(str, counts))} files); expected one: put "
            "each into a folder of its own."
        )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{folder} cannot be read as a DICOM series ({reason}); copy or export it again.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{folder} holds colour or {image.GetDimension()}D images; expected 3D grey values.")
    _check_gaps(reader, image.GetDepth(), folder)
    return image


def check_same_grid(mask: sitk.Image, scan: sitk.Image, mask_name: str, scan_name: str) -> None:
    """Refuse a mask whose voxels are not those of its scan.

    Raises:
        ValueError: sizes differ, or a corner lies more than MAX_SHIFT of the smallest voxel side from its counterpart.
    """
    if mask.GetSize() != scan.GetSize():
        raise ValueError(
            f"{mask_name} has {_times(mask.GetSize())} voxels but {scan_name} has {_times(scan.GetSize())}; both must "
            "lie on one grid: resample the mask to the scan's."
        )
    corners = np.stack(np.meshgrid(*((0, side - 1) for side in scan.GetSize())), axis=-1).reshape(-1, 3)
    places = [
        np.array([image.TransformContinuousIndexToPhysicalPoint(corner.astype(float).tolist()) for corner in corners])
        for image in (mask, scan)
    ]
    distance = np.linalg.norm(places[0] - places[1], axis=1).max()
    if distance > MAX_SHIFT * min(scan.GetSpacing()):
        raise ValueError(
            f"{mask_name} lies elsewhere than {scan_name}: voxels of {_times(mask.GetSpacing())} mm against "
            f"{_times(scan.GetSpacing())} mm, corners up to {distance:.4g} mm apart; resample the mask to the scan's "
            "grid, or correct its header."
        )


def _check_gaps(reader: sitk.ImageSeriesReader, depth: int, folder: Path) -> None:
    """Refuse slices that are not evenly spaced: ITK would close the gap."""
    if depth < 3 or not all(reader.HasMetaDataKey(z, _POSITION) for z in range(depth)):
        return
    places = np.array([[float(part) for part in reader.GetMetaData(z, _POSITION).split("\\")] for z in range(depth)])
    steps = np.array([np.linalg.norm(after - before) for before, after in pairwise(places)])
    usual = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - usual) > GAP_TOLERANCE * usual)
    if len(wrong):
        raise ValueError(
            f"{folder}: slices {wrong[0]} and {wrong[0] + 1} lie {steps[wrong[0]]:.4g} mm apart, the others "
            f"{usual:.4g} mm; slices are missing or belong to several scans: export the series again."
        )


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in NIFTI_SUFFIXES if path.name.endswith(suffix)), None)


def _times(values) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
