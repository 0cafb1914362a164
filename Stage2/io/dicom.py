"""A DICOM series as one volume: slices by their position in the patient, and whatever does not fit named."""

import locale
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk

# Distances between neighbouring slices may differ by this share of their median: headers are rounded, and a slice
# that is missing differs by a whole one.
MAX_IRREGULARITY = 0.05
# Slices nearer than this share of the median distance are at one place.
SAME_PLACE = 0.1
MAX_SHEAR = 1.0  # pixels, by which the last slice may be shifted sideways against the first

_SERIES, _NUMBER, _POSITION, _ORIENTATION = "0020|000e", "0020|0013", "0020|0032", "0020|0037"
_PHOTOMETRIC, _FRAMES = "0028|0004", "0028|0008"
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # transfer syntaxes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DicomSlice:
    """One file of a series.

    Attributes:
        path: of the file.
        series: UID of the series.
        number: InstanceNumber, or None.
        voxels: (H, W), in units of the scanner: rescale slope and intercept are applied.
        spacing: between columns, between rows, and thickness, mm.
        position: of the first voxel in the patient, mm (LPS).
        axes: directions of a row, of a column, and their normal, as the columns of a (3, 3) matrix.
    """

    path: Path
    series: str
    number: int | None
    voxels: np.ndarray
    spacing: tuple[float, float, float]
    position: np.ndarray
    axes: np.ndarray

    @property
    def height(self) -> float:
        """Place along the normal, mm."""
        return float(self.position @ self.axes[:, 2])


@dataclass(frozen=True)
class Series:
    """A volume with its slices, both in the order of position along the normal."""

    image: sitk.Image
    slices: tuple[DicomSlice, ...]


def read_series(paths: Sequence[Path]) -> Series:
    """The volume of the files of one series, in any order.

    Two files with the same slice count once, with a warning.

    Raises:
        ValueError: a file that is no DICOM image or is cut short, several series, slices of several sizes, spacings or
            orientations, different slices at one place, missing slices, or slices shifted sideways (gantry tilt).
    """
    slices = [_read_slice(path) for path in paths]
    if not slices:
        raise ValueError("no DICOM files were given; expected the slices of one series.")
    _expect_one_series(slices)
    _expect_one_grid(slices)
    slices = _without_copies(sorted(slices, key=lambda one: one.height))
    step = _expect_even_steps(slices)
    _expect_no_shear(slices)
    image = sitk.GetImageFromArray(_stack(slices))
    image.SetSpacing((*slices[0].spacing[:2], step))
    image.SetOrigin(slices[0].position.tolist())
    image.SetDirection(slices[0].axes.ravel().tolist())
    return Series(image, tuple(slices))


@contextmanager
def kept_locale() -> Iterator[None]:
    """For writing DICOM: GDCM then sets the locale of the process to C, and so the encoding of Python's text files."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _read_slice(path: Path) -> DicomSlice:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOff()
    try:
        image = reader.Execute()
    except RuntimeError:
        raise ValueError(_why_unreadable(path)) from None
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    photometric = tags.get(_PHOTOMETRIC, "MONOCHROME2")
    if image.GetNumberOfComponentsPerPixel() != 1 or photometric != "MONOCHROME2":
        raise ValueError(f"{path} is a picture in {photometric}; expected grey values (MONOCHROME2): leave it out.")
    if image.GetDepth() != 1 or tags.get(_FRAMES, "1") != "1":
        raise ValueError(
            f"{path} holds {image.GetDepth()} frames; expected one slice a file: convert it to NIfTI, and describe the "
            "data set by a YAML file."
        )
    for key, what in ((_POSITION, "ImagePositionPatient"), (_ORIENTATION, "ImageOrientationPatient")):
        if key not in tags:
            raise ValueError(f"{path} has no {what}, so its place in the patient is unknown; leave it out.")
    number = tags.get(_NUMBER, "")
    return DicomSlice(
        path=path,
        series=tags.get(_SERIES, ""),
        number=int(number) if re.fullmatch(r"[+-]?\d+", number) else None,
        voxels=sitk.GetArrayFromImage(image)[0],
        spacing=image.GetSpacing(),
        position=np.array(image.GetOrigin()),
        axes=np.array(image.GetDirection()).reshape(3, 3),
    )


def _why_unreadable(path: Path) -> str:
    """GDCM says only that it cannot read a file; the syntax that its header names tells damage from compression."""
    try:
        start = path.read_bytes()[:2048]
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); copy it again."
    if start[128:132] != b"DICM":
        return f"{path} is no DICOM file; download it again, or take it out of the folder."
    found = re.search(rb"\x02\x00\x10\x00UI..([\d.]+)", start, re.DOTALL)
    syntax = found[1].decode() if found else "unknown"
    if syntax in _UNCOMPRESSED:
        return f"{path} is cut short or damaged; download it again."
    return (
        f"{path} cannot be decoded (transfer syntax {syntax}): it is damaged, or compressed in a way that GDCM cannot "
        "read; download it again, or decompress it, for example with gdcmconv --raw or dcmdjpeg."
    )


def _expect_one_series(slices: Sequence[DicomSlice]) -> None:
    by_series = defaultdict(list)
    for one in slices:
        by_series[one.series].append(one.path)
    if len(by_series) > 1:
        largest_first = sorted(by_series.values(), key=len, reverse=True)
        found = ", ".join(f"{len(paths)} file(s) such as {paths[0].name}" for paths in largest_first[:3])
        found += " ..." if len(by_series) > 3 else ""
        raise ValueError(
            f"{slices[0].path.parent} holds {len(by_series)} DICOM series ({found}); expected one: move others away."
        )


def _expect_one_grid(slices: Sequence[DicomSlice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        for what, ours, theirs in (
            ("rows x columns", first.voxels.shape, other.voxels.shape),
            ("pixel spacing", first.spacing[:2], other.spacing[:2]),
            ("orientation", first.axes.ravel(), other.axes.ravel()),
        ):
            if not np.allclose(ours, theirs, rtol=0, atol=1e-3):
                raise ValueError(
                    f"{other.path} has {what} {_short(theirs)}, but {first.path.name} has {_short(ours)}; expected one "
                    "stack of parallel slices: take scouts and reformatted images away."
                )


def _without_copies(slices: Sequence[DicomSlice]) -> list[DicomSlice]:
    """Slices in order of height, those that two files hold once."""
    steps = [above.height - below.height for below, above in pairwise(slices)]
    # The distance of slices that are apart: with copies in the list the median of all could be zero.
    apart = [step for step in steps if step > SAME_PLACE * max(steps)]
    kept = [slices[0]]
    for one in slices[1:]:
        if apart and one.height - kept[-1].height > SAME_PLACE * float(np.median(apart)):
            kept.append(one)
        elif np.array_equal(one.voxels, kept[-1].voxels):
            logger.warning("%s repeats the slice of %s and is left out.", one.path, kept[-1].path.name)
        else:
            raise ValueError(
                f"{one.path} and {kept[-1].path.name} hold different slices at one place ({one.height:.2f} mm along "
                "the normal); expected one: take the files of other echoes, phases or time points away."
            )
    return kept


def _expect_even_steps(slices: Sequence[DicomSlice]) -> float:
    """Distance of neighbouring slices, mm."""
    if len(slices) == 1:
        return slices[0].spacing[2]
    steps = np.diff([one.height for one in slices])
    usual = float(np.median(steps))
    for (below, above), step in zip(pairwise(slices), steps, strict=True):
        if abs(step - usual) > MAX_IRREGULARITY * usual:
            missing = round(step / usual) - 1
            what = f"{missing} slice(s) missing" if missing > 0 else "slices at uneven distances"
            raise ValueError(
                f"{above.path.parent}: {what} between {below.path.name} and {above.path.name}, {step:.2f} mm apart; "
                f"expected {usual:.2f} mm as between the others: download the series again."
            )
    return float(steps.mean())


def _expect_no_shear(slices: Sequence[DicomSlice]) -> None:
    first, last = slices[0], slices[-1]
    way = last.position - first.position
    sideways = np.linalg.norm(way - (way @ first.axes[:, 2]) * first.axes[:, 2])
    if sideways > MAX_SHEAR * min(first.spacing[:2]):
        raise ValueError(
            f"{first.path.parent}: slices are shifted by {sideways:.1f} mm sideways from the first to the last (gantry "
            "tilt?); expected a straight stack: resample it to one, and store it as NIfTI."
        )


def _stack(slices: Sequence[DicomSlice]) -> np.ndarray:
    """(Z, H, W) of the smallest type that holds all: int16 as scanners store it, int32, or float64 after a slope."""
    voxels = np.stack([one.voxels for one in slices])
    if np.issubdtype(voxels.dtype, np.floating):
        return voxels.astype(np.float64)
    range16 = np.iinfo(np.int16)
    fits = range16.min <= voxels.min() and voxels.max() <= range16.max
    return voxels.astype(np.int16 if fits else np.int32)


def _short(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
