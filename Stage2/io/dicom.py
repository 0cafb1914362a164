"""A DICOM series as one volume: slices by their position in the patient, and whatever does not fit named."""

import locale
import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.io.dicom_file import DicomSlice, is_dicom, numbers_of, read_slice_header, read_slice_voxels, what_it_is
from Stage2.io.grid import at_right_angles, times
from Stage2.io.guards import expect_fits

# Distances between neighbouring slices may differ by this share of their median: headers are rounded, and a slice
# that is missing differs by a whole one.
MAX_IRREGULARITY = 0.05
# Slices nearer than this share of the median distance are at one place.
SAME_PLACE = 0.1
MAX_SHEAR = 1.0  # pixels, by which the last slice may be shifted sideways against the first

# What must be the same in all slices beside sizes and directions; absent in all will do.
_SHARED = {
    "0020|0052": "FrameOfReferenceUID", "0028|1054": "RescaleType", "0054|1001": "Units", "0008|0060": "Modality",
}  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """A volume with its slices, both in the order of position along the normal."""

    image: sitk.Image
    slices: tuple[DicomSlice, ...]


def holds_dicom(folder: Path) -> bool:
    """Whether a folder itself, without its subfolders, holds a DICOM file; one that cannot be entered does not."""
    try:
        return any(is_dicom(path) for path in _files(folder))
    except OSError:
        return False


def read_series_of(folder: Path) -> Series:
    """The one DICOM series of a folder, subfolders left out; raises as `read_series`."""
    files = _files(folder)
    if not any(map(is_dicom, files)):
        raise FileNotFoundError(f"{folder} holds no DICOM series; expected the files of one.")
    return read_series(files)


def read_series(paths: Sequence[Path]) -> Series:
    """The volume of the files of one series, in any order; values in units of the scanner.

    Two files with the same slice count once. Files beside the series that are no slices, such as radiotherapy
    structures, are left out. Both are told of by a warning.

    Raises:
        ValueError: a file that should be a slice but is no DICOM image or cut short, a tag that places or scales voxels
            absent or without meaning, several series, slices of several sizes, spacings or orientations, different
            slices at one place, missing slices, or slices shifted sideways (gantry tilt).
    """
    slices = [read_slice_header(path) for path in _only_slices(paths)]
    folder = slices[0].path.parent
    _expect_one_series(slices)
    _expect_one_grid(slices)
    expect_fits(folder, (*slices[0].shape[::-1], len(slices)), 4)
    slices.sort(key=lambda one: one.height)
    slices, voxels = _without_copies(slices, [read_slice_voxels(one) for one in slices])
    step = _expect_even_steps(slices)
    _expect_no_shear(slices)
    image = sitk.GetImageFromArray(_stack(voxels))
    image.SetSpacing((*slices[0].spacing, step))
    image.SetOrigin(slices[0].position.tolist())
    image.SetDirection(slices[0].axes.ravel().tolist())
    return Series(at_right_angles(folder, image), tuple(slices))


@contextmanager
def kept_locale() -> Iterator[None]:
    """For writing DICOM: GDCM then sets the locale of the process to C, and so the encoding of Python's text files."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _files(folder: Path) -> list[Path]:
    """Files and links to nowhere, which a series must not lose without a word."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.is_file() or (path.is_symlink() and not path.exists()))


def _only_slices(paths: Sequence[Path]) -> list[Path]:
    """Files that are to be slices; what lies beside them is told of."""
    found = {path: what_it_is(path) for path in paths}
    slices = [path for path, what in found.items() if what is None]
    others = ", ".join(f"{path.name} ({what})" for path, what in found.items() if what is not None)
    if not slices:
        folder = paths[0].parent if paths else "the folder"
        raise ValueError(f"{folder} holds no DICOM scan but {others or 'nothing'}; expected the slices of one series.")
    if others:
        logger.warning("%s: no slices of the scan, left out: %s.", slices[0].parent, others)
    return slices


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
            ("rows x columns", first.shape, other.shape),
            ("pixel spacing", first.spacing, other.spacing),
            ("orientation", first.axes.ravel(), other.axes.ravel()),
        ):
            if not np.allclose(ours, theirs, rtol=0, atol=1e-3):
                raise ValueError(
                    f"{other.path} has {what} {times(theirs)}, but {first.path.name} has {times(ours)}; expected one "
                    "stack of parallel slices: take scouts and reformatted images away."
                )
        for key, what in _SHARED.items():
            ours, theirs = first.tags.get(key, ""), other.tags.get(key, "")
            if ours != theirs:
                raise ValueError(
                    f"{other.path} has {what} {theirs or 'absent'}, but {first.path.name} has {ours or 'absent'}; "
                    "expected one in all slices: take the files of another scan away."
                )


def _without_copies(
    slices: Sequence[DicomSlice], voxels: Sequence[np.ndarray]
) -> tuple[list[DicomSlice], list[np.ndarray]]:
    """Slices in order of height with their voxels, those that two files hold once."""
    steps = [above.height - below.height for below, above in pairwise(slices)]
    # The distance of slices that are apart: with copies in the list the median of all could be zero.
    apart = [step for step in steps if step > SAME_PLACE * max(steps)]
    kept, contents = [slices[0]], [voxels[0]]
    for one, content in zip(slices[1:], voxels[1:], strict=True):
        if apart and one.height - kept[-1].height > SAME_PLACE * float(np.median(apart)):
            kept.append(one)
            contents.append(content)
        elif np.array_equal(content, contents[-1]):
            logger.warning("%s repeats the slice of %s and is left out.", one.path, kept[-1].path.name)
        else:
            raise ValueError(
                f"{one.path} and {kept[-1].path.name} hold different slices at one place ({one.height:.2f} mm along "
                "the normal); expected one: take the files of other echoes, phases or time points away."
            )
    return kept, contents


def _expect_even_steps(slices: Sequence[DicomSlice]) -> float:
    """Distance of neighbouring slices, mm; of a single one, its thickness."""
    if len(slices) == 1:
        (thickness,) = numbers_of(slices[0].path, slices[0].tags, "0018|0050", "SliceThickness", 1)
        if thickness <= 0:
            raise ValueError(f"{slices[0].path} has SliceThickness {thickness:g}; expected more than 0 mm.")
        return float(thickness)
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
    _tell_of_other_distance(slices[0], float(np.mean(steps)))
    return float(np.mean(steps))


def _tell_of_other_distance(one: DicomSlice, step: float) -> None:
    """Warn where the header says another distance of slices than their positions."""
    text = one.tags.get("0018|0088", "")
    if not re.fullmatch(r"[+-]?\d+(\.\d*)?", text) or math.isclose(abs(float(text)), step, rel_tol=MAX_IRREGULARITY):
        return
    logger.warning(
        "%s: SpacingBetweenSlices says %s mm, but the positions are %.4g mm apart, which is taken; are slices missing?",
        one.path.parent, text, step,
    )  # fmt: skip


def _expect_no_shear(slices: Sequence[DicomSlice]) -> None:
    first, last = slices[0], slices[-1]
    way = last.position - first.position
    sideways = np.linalg.norm(way - (way @ first.axes[:, 2]) * first.axes[:, 2])
    if sideways > MAX_SHEAR * min(first.spacing):
        raise ValueError(
            f"{first.path.parent}: slices are shifted by {sideways:.1f} mm sideways from the first to the last (gantry "
            "tilt?); expected a straight stack: resample it to one, and store it as NIfTI."
        )


def _stack(slices: Sequence[np.ndarray]) -> np.ndarray:
    """(Z, H, W) of the smallest type that holds all: int16 as scanners store it, int32, or float64 after a slope."""
    voxels = np.stack(slices)
    if np.issubdtype(voxels.dtype, np.floating):
        return voxels.astype(np.float64)
    range16 = np.iinfo(np.int16)
    fits = range16.min <= voxels.min() and voxels.max() <= range16.max
    return voxels.astype(np.int16 if fits else np.int32)
