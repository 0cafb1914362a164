"""Scans as people have them: volumes in a file, folders with a DICOM series, folders full of either."""

import csv
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from Stage1.files import hash_file
from Stage2.io.dicom import holds_dicom, read_series_of
from Stage2.io.names import masks_among
from Stage2.io.nifti import NIFTI_SUFFIXES
from Stage2.io.volumes import SUFFIXES, read_volume, voxel_file

_FILES = ", ".join(SUFFIXES)
_EXPECTED = f"expected {_FILES}, or a folder with a DICOM series"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanFile:
    """Where a scan is: a file with a volume, or a folder with one DICOM series.

    Attributes:
        path: of the file or folder.
        given: name; None: that of the path.
    """

    path: Path
    given: str | None = None

    @property
    def name(self) -> str:
        """That is given, or of the file without its suffix, or of the folder."""
        suffix = next((end for end in SUFFIXES if self.path.name.endswith(end)), "")
        own = self.path.name if self.path.name not in ("", "..") else self.path.resolve().name
        return self.given or own.removesuffix(suffix)

    @property
    def is_nifti(self) -> bool:
        return self.path.name.endswith(NIFTI_SUFFIXES)

    def read(self) -> sitk.Image:
        """The scan, 3D with one value per voxel.

        Raises:
            FileNotFoundError, ValueError: it is missing, or as `read_volume` and `read_series`.
        """
        if self.path.is_dir():
            return read_series_of(self.path).image
        if self.path.name.endswith(SUFFIXES):
            return read_volume(self.path)
        reason = "is no scan" if self.path.exists() else "does not exist"
        raise FileNotFoundError(f"{self.path} {reason}; {_EXPECTED}.")

    def content_hash(self) -> str:
        """SHA-256 of the file, or of the names and contents of all files of the folder, or of a header and its voxels.

        Raises:
            FileNotFoundError: there is no such file or folder.
        """
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist; {_EXPECTED}.")
        if self.path.is_dir():
            files = [path for path in sorted(self.path.iterdir()) if path.is_file()]
        else:
            voxels = voxel_file(self.path)
            if voxels is None:
                return hash_file(self.path)
            files = [self.path, voxels]
        names_and_contents = "".join(f"{path.name} {hash_file(path)}\n" for path in files)
        return hashlib.sha256(names_and_contents.encode(errors="surrogateescape")).hexdigest()


def find_scans(path: Path) -> list[ScanFile]:
    """The scans that a path means, by name: a file, a folder with a DICOM series, or all scans that a folder holds.

    Left out with a warning is what lies beside a DICOM series, as it may be its mask, and what is named as the mask of
    another scan of the folder (`Stage2.io.names.masks_among`).

    Raises:
        FileNotFoundError: there are none.
    """
    if not path.is_dir():
        return [ScanFile(path)]
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    found = [
        ScanFile(entry)
        for entry in entries
        if (holds_dicom(entry) if entry.is_dir() else entry.name.endswith(SUFFIXES))
    ]
    if holds_dicom(path):
        for scan in found:
            logger.warning("%s lies beside a DICOM series and is not taken for a scan.", scan.path)
        return [ScanFile(path)]
    if not found:
        raise FileNotFoundError(f"{path} holds no scan; expected {_FILES}, a DICOM series, or folders with one each.")
    masks = masks_among(scan.name for scan in found)
    for scan in found:
        if scan.name in masks and scan.path.is_file():
            logger.warning("%s is named as the mask of another scan and is not taken for one.", scan.path)
    return [scan for scan in found if scan.name not in masks or scan.path.is_dir()]


def list_scans_of(table: Path) -> list[ScanFile]:
    """The scans of a CSV file with a column `scan`, one a row; a column `name` may name them, others are left alone.

    Relative paths are meant from the folder of the CSV file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such table, or names no scan.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if any(row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is no CSV file ({error}); expected a column `scan`.") from None
    if not rows or "scan" not in rows[0]:
        found = "no row" if not rows else f"columns {', '.join(map(str, rows[0]))}"
        raise ValueError(f"{table} has {found}; expected a header with the column `scan`, and a scan in each row.")
    empty = next((number for number, row in enumerate(rows, start=1) if not row["scan"]), None)
    if empty is not None:
        raise ValueError(f"{table} names no scan in row {empty} below its header; add it, or take the row out.")
    wrong = next((row["name"] for row in rows if Path(row.get("name") or "x").name != (row.get("name") or "x")), None)
    if wrong is not None:
        raise ValueError(f"{table} names a scan {wrong}, which is no name of a file; take slashes out.")
    return [ScanFile(table.parent / row["scan"], row.get("name") or None) for row in rows]
