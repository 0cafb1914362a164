"""CHAOS as downloaded: MR/<id>/T2SPIR/DICOM_anon/*.dcm with Ground/IMG-*-NNNNN.png, one picture of labels a slice."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image, UnidentifiedImageError

from Stage2.io.dicom import DicomSlice, read_series
from Stage2.io.grid import check_same_size, image_on_grid
from Stage2.preparation.raw.scan import RawScan, RawVolumes
from Stage2.preparation.raw.source import Source
from Stage2.preparation.steps.normalise import labels_from_grey_values

# Where the axes of a processed scan run to: columns to the patient's left, rows to the front, slices to the head. That
# is the published order: dcm2nii turns the rows of DICOM over, and the ground truth is turned over to agree.
ORIENTATION = "LAS"
MIN_AXIAL = 0.8  # cosine between the normal of the slices and the patient's axis

_FILE = re.compile(r"(?P<scan>(?:.*/)?[^/]+/T2SPIR)/(?P<part>DICOM_anon|Ground)/(?P<file>[^/]+)")
_KINDS = {"DICOM_anon": ".dcm", "Ground": ".png"}

logger = logging.getLogger(__name__)


def list_chaos_scans(source: Source) -> list[RawScan]:
    """The annotated T2-SPIR scans, by number. CT and T1DUAL, which the archive has too, and scans of the challenge's
    test set, which has no ground truth, are left out.

    Raises:
        ValueError: there is none, a number stands twice or is no number, or one scan lacks its slices or ground truth.
    """
    files: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"DICOM_anon": [], "Ground": []})
    for name in source.names:
        match = _FILE.fullmatch(name)
        if match and match["file"].lower().endswith(_KINDS[match["part"]]):
            files[match["scan"]][match["part"]].append(name)
    annotated = {scan: parts for scan, parts in files.items() if "Test_Sets" not in scan.split("/")}
    if not annotated:
        raise ValueError(
            f"{source.path} has no annotated T2-SPIR scan; expected CHAOS_Train_Sets.zip or its unpacked folder, with "
            "MR/<id>/T2SPIR/DICOM_anon/*.dcm, and Ground/*.png beside it."
        )
    scans: dict[int, RawScan] = {}
    places: dict[int, str] = {}  # number -> where it was found
    for scan, parts in annotated.items():
        for part, kind in _KINDS.items():
            if not parts[part]:
                raise ValueError(f"{source.path}: {scan}/{part} has no *{kind}; unpack or download the archive again.")
        text = scan.split("/")[-2]
        if not text.isdecimal():
            raise ValueError(f"{source.path}: {scan} has {text!r} for the scan's number; expected MR/<number>/T2SPIR.")
        if int(text) in scans:
            raise ValueError(
                f"{source.path} has scan {text} twice, in {places[int(text)]} and {scan}; give the folder of one."
            )
        places[int(text)] = scan
        scans[int(text)] = RawScan(
            id=str(int(text)),
            source=source,
            files=(*parts["DICOM_anon"], *parts["Ground"]),
            reader=partial(read_chaos_scan, slices=tuple(parts["DICOM_anon"]), ground=tuple(parts["Ground"])),
        )
    return [scans[number] for number in sorted(scans)]


def read_chaos_scan(paths: Mapping[str, Path], slices: Sequence[str], ground: Sequence[str]) -> RawVolumes:
    """Image and label of one scan, oriented as published; `paths` are by name, those of slices and pictures given.

    Raises:
        ValueError: see `read_series`; slices that are not axial; ground truth that does not match the slices.
    """
    series = read_series([paths[name] for name in slices])
    if abs(series.image.GetDirection()[8]) < MIN_AXIAL:
        raise ValueError(f"{series.slices[0].path.parent}: the slices are not axial; expected the T2-SPIR series.")
    pictures = match_ground([paths[name] for name in ground], series.slices)
    rows_columns = series.slices[0].shape
    labels = np.stack([_read_ground(path, rows_columns) for path in pictures])
    label = image_on_grid(labels, series.image)
    _tell_of_sides(label, pictures[0].parent)
    return sitk.DICOMOrient(series.image, ORIENTATION), sitk.DICOMOrient(label, ORIENTATION)


def match_ground(pictures: Sequence[Path], slices: Sequence[DicomSlice]) -> list[Path]:
    """The ground truth of every slice, by number.

    The NNNNN of a picture is the InstanceNumber of its slice, and in CHAOS that of the slice's file name as well. Where
    only one of the two runs along the slices in order, that one is taken.

    Args:
        pictures: paths of the PNG files, in any order.
        slices: in order of position.

    Raises:
        ValueError: a picture without number, two with one, too few or too many, or numbers in no order.
    """
    folder = pictures[0].parent
    by_number: dict[int, Path] = {}
    for path in pictures:
        number = _last_number(path)
        if number is None:
            raise ValueError(f"{path} has no number; expected IMG-*-NNNNN.png.")
        if number in by_number:
            raise ValueError(f"{path} and {by_number[number].name} have one number; expected one picture a slice.")
        by_number[number] = path
    numberings = [[one.number for one in slices], [_last_number(one.path) for one in slices]]
    complete = [own for own in numberings if len(set(own)) == len(own) and set(own) == by_number.keys()]
    in_order = [own for own in complete if own in (sorted(own), sorted(own, reverse=True))]
    if not complete:
        found = {number for number in numberings[0] if number is not None}
        without, beyond = sorted(found - by_number.keys()), sorted(by_number.keys() - found)
        raise ValueError(
            f"{folder} has {len(by_number)} pictures for {len(slices)} slices (slices without one: "
            f"{_some(without)}; pictures without slice: {_some(beyond)}); expected one for each: download it again."
        )
    if not in_order or any(numbers != in_order[0] for numbers in in_order):
        raise ValueError(
            f"{folder}: the numbers of the slices (InstanceNumber, file names) do not say which picture belongs to "
            "which slice, as they do not run along the body; download the archive again."
        )
    return [by_number[number] for number in in_order[0]]


def _last_number(path: Path) -> int | None:
    found = re.search(r"(\d+)$", path.stem)
    return int(found[1]) if found else None


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "") if numbers else "none"


def _read_ground(path: Path, rows_columns: tuple[int, ...]) -> np.ndarray:
    """Labels (H, W) of one picture."""
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            grey = np.asarray(picture)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}); download it again.") from None
    if mode != "L":
        raise ValueError(f"{path} is a picture of mode {mode}; expected 8-bit grey values.")
    check_same_size(path, (1, *grey.shape), "its slice", (1, *rows_columns))
    try:
        return labels_from_grey_values(grey)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _tell_of_sides(label: sitk.Image, folder: Path) -> None:
    """Warn of labels that look mirrored: organs of the right left of those of the left, or kidneys before the liver.

    A picture has no orientation of its own, so that it agrees with its slice shows in the anatomy only.
    """
    voxels = sitk.GetArrayViewFromImage(label)
    places = {  # label -> centre in the patient, mm to the left and to the back
        value: label.TransformContinuousIndexToPhysicalPoint(np.argwhere(voxels == value).mean(axis=0)[::-1].tolist())
        for value in range(1, 5)
        if (voxels == value).any()
    }
    liver, right_kidney, left_kidney, spleen = range(1, 5)
    for axis, smaller, larger, what in (
        (0, liver, spleen, "the liver lies left of the spleen"),
        (0, right_kidney, left_kidney, "the right kidney lies left of the left one"),
        (1, liver, right_kidney, "the right kidney lies in front of the liver"),
    ):
        if smaller in places and larger in places and places[smaller][axis] > places[larger][axis]:
            logger.warning("%s: %s; is the ground truth mirrored?", folder, what)
            return
