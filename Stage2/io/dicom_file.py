"""One DICOM file: what it is, what its header says of a slice, its voxels, or why it cannot be read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.io.grid import times
from Stage2.io.guards import plain_name

MAX_SKEW = 1e-3  # of ImageOrientationPatient, against unit vectors at right angles: what rounding leaves
# SOP classes of what is no scan, the first that fits: some have pixels, some lie on the grid of a scan.
_NOT_SCANS = {
    "1.2.840.10008.1.3.10": "an index of a medium",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66": "raw data or a registration",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.481.3": "radiotherapy structures",
    "1.2.840.10008.5.1.4.1.1.481": "a radiotherapy plan, image or record",
    "1.2.840.10008.5.1.4.1.1.88": "a report",
    "1.2.840.10008.5.1.4.1.1.104": "a document",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.9": "a waveform",
    "1.2.840.10008.5.1.4.1.1.67": "a mapping of values",
    "1.2.840.10008.5.1.4.1.1.68": "a surface",
    "1.2.840.10008.5.1.4.1.1.4.2": "a spectrum",
    "1.2.840.10008.5.1.4.34": "a worklist or plan",
    "1.2.840.10008.5.1.4.43": "a palette of colours",
}
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # transfer syntaxes
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.130")
_CLASS_TAG = "0008|0016"
_PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # tag of PixelData, of either byte order
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..([\d.]+)", re.DOTALL)
# MediaStorageSOPClassUID, or SOPClassUID with an implicit or explicit type, of either byte order.
_CLASS = re.compile(rb"(?:\x02\x00\x02\x00|\x08\x00\x16\x00|\x00\x08\x00\x16)(?:UI..|....)([\d.]+)", re.DOTALL)
_IMAGE_NAMES = re.compile(r"(\.dcm|\.ima|\.img|\.\d+|/[^./]+)$", re.IGNORECASE)  # of files that are to be slices


@dataclass(frozen=True)
class DicomSlice:
    """What the header of one file says.

    Attributes:
        path: of the file.
        series: UID of the series.
        number: InstanceNumber, or None.
        shape: rows and columns.
        spacing: between columns and between rows, mm.
        position: of the first voxel in the patient, mm (LPS).
        axes: directions of a row, of a column, and their normal, as the columns of a (3, 3) matrix.
        tags: all tags, key -> text.
    """

    path: Path
    series: str
    number: int | None
    shape: tuple[int, int]
    spacing: tuple[float, float]
    position: np.ndarray
    axes: np.ndarray
    tags: Mapping[str, str]

    @property
    def height(self) -> float:
        """Place along the normal, mm."""
        return float(self.position @ self.axes[:, 2])


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does; one that cannot be read does not."""
    try:
        return _is_start(_start(path))
    except OSError:
        return False


def what_it_is(path: Path) -> str | None:
    """What a file beside a series is in words; None: a slice, or what should be one.

    Raises:
        ValueError: it has the name of a slice but is no DICOM file, or cannot be read.
    """
    try:
        start = _start(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); copy it again.") from None
    if not _is_start(start):
        if _IMAGE_NAMES.search(str(path)):
            raise ValueError(f"{path} is no DICOM file; download it again, or take it out of the folder.")
        return "no DICOM file"
    found = _CLASS.search(start)
    of_class = found[1].decode() if found else ""
    return next((what for uid, what in _NOT_SCANS.items() if f"{of_class}.".startswith(f"{uid}.")), None)


def read_slice_header(path: Path) -> DicomSlice:
    """What a file says of its slice.

    Raises:
        ValueError: it is cut short, no grey slice, of several frames, or a tag that places or scales its voxels is
            absent or means nothing.
    """
    with plain_name(path) as name:
        reader = _reader(name)
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            raise ValueError(_why_unreadable(path)) from None
    tags = {key: reader.GetMetaData(key).strip("\0 ") for key in reader.GetMetaDataKeys()}
    photometric = tags.get("0028|0004", "MONOCHROME2")
    columns, rows, *frames = reader.GetSize()
    if max(frames, default=1) != 1 or tags.get("0028|0008", "1") not in ("", "1") or tags.get(_CLASS_TAG) in _ENHANCED:
        raise ValueError(
            f"{path} holds {max(frames, default=1)} frames; expected one slice a file: convert it to NIfTI (dcm2niix), "
            "and give that."
        )
    if reader.GetNumberOfComponents() != 1 or photometric != "MONOCHROME2":
        raise ValueError(f"{path} is a picture in {photometric}; expected grey values (MONOCHROME2): leave it out.")
    position = numbers_of(path, tags, "0020|0032", "ImagePositionPatient", 3)
    directions = numbers_of(path, tags, "0020|0037", "ImageOrientationPatient", 6).reshape(2, 3)
    if np.abs(directions @ directions.T - np.eye(2)).max() > MAX_SKEW:
        raise ValueError(
            f"{path} has ImageOrientationPatient {times(directions.ravel())}; expected two directions at right angles."
        )
    between_rows, between_columns = numbers_of(path, tags, "0028|0030", "PixelSpacing", 2)
    if min(between_rows, between_columns) <= 0:
        raise ValueError(f"{path} has PixelSpacing {between_rows} x {between_columns}; expected more than 0 mm.")
    for key, what in (("0028|1053", "RescaleSlope"), ("0028|1052", "RescaleIntercept")):
        if key in tags and numbers_of(path, tags, key, what, 1)[0] == 0 and what == "RescaleSlope":
            raise ValueError(f"{path} has RescaleSlope 0, which leaves no contrast; export it again.")
    number = tags.get("0020|0013", "")
    return DicomSlice(
        path=path,
        series=tags.get("0020|000e", ""),
        number=int(number) if re.fullmatch(r"[+-]?\d+", number) else None,
        shape=(rows, columns),
        spacing=(float(between_columns), float(between_rows)),
        position=position,
        axes=np.stack([*directions, np.cross(*directions)], axis=1),
        tags=tags,
    )


def numbers_of(path: Path, tags: Mapping[str, str], key: str, what: str, count: int) -> np.ndarray:
    """Values of a tag that places or scales voxels."""
    text = tags.get(key, "")
    if not text:
        raise ValueError(f"{path} has no {what}, so the place or size of its voxels is unknown; leave it out.")
    try:
        values = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{path} has {what} {text!r}; expected {count} number(s): export it again.")
    return values


def read_slice_voxels(one: DicomSlice) -> np.ndarray:
    """(H, W), in units of the scanner: rescale slope and intercept are applied."""
    with plain_name(one.path) as name:
        try:
            return sitk.GetArrayFromImage(_reader(name).Execute()).reshape(one.shape)
        except RuntimeError:
            raise ValueError(_why_unreadable(one.path)) from None


def _why_unreadable(path: Path) -> str:
    """GDCM says only that it cannot read a file; the syntax that its header names tells damage from compression."""
    content = path.read_bytes()
    if not any(tag in content for tag in _PIXELS):
        return f"{path} holds no pixels: it is cut short, or no image; download it again, or leave it out."
    found = _SYNTAX.search(content[:4096])
    syntax = found[1].decode() if found else _UNCOMPRESSED[0]
    if syntax in _UNCOMPRESSED:
        return f"{path} is cut short or damaged; download it again."
    return (
        f"{path} cannot be decoded (transfer syntax {syntax}): it is damaged, or compressed in a way that GDCM cannot "
        "read; download it again, or decompress it, for example with gdcmconv --raw or dcmdjpeg."
    )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _is_start(start: bytes) -> bool:
    """With its mark, or without one and the first tag in group 2 or 8, of either byte order."""
    return start[128:132] == b"DICM" or bool(re.match(rb"[\x02\x08]\x00.\x00|\x00[\x02\x08]\x00.", start, re.DOTALL))


def _reader(name: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOff()
    reader.SetFileName(name)
    return reader
