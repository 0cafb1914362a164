"""What is in the files of one scan of a processed folder, and what is wrong with them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel
import numpy as np

from Stage2.datasets.body import foreground_mask
from Stage2.datasets.pseudo_labels import OURS, PseudoLabels
from Stage2.datasets.supervoxels import MIN_PAIR_AREA, areas_by_slice, successive_pairs
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.drawing.masks import write_png
from Stage2.io.grid import check_same_size, check_slice_size
from Stage2.io.names import IMAGE, LABEL
from Stage2.io.nifti import check_label_file, read_header, read_voxels
from Stage2.preparation.check.contact_sheet import draw_contact_sheet
from Stage2.preparation.steps.class_map import MIN_PIXELS, class_map, count_class_pixels
from Stage2.preparation.steps.superpixels import ProcessedScan

MAX_BODY_SHARE = 0.98  # of the voxels: more, and the threshold does not tell the body from the air
MAX_TOP_SHARE = 0.5  # of the body's voxels that have the highest value: more, and its contrast was cut off
MAX_OUTSIDE_SHARE = 0.02  # of the pseudo-labels' voxels outside the body: more, and they are those of another image

DIRECTIONS = {"L": "left", "R": "right", "A": "front", "P": "back", "S": "head", "I": "feet"}


@dataclass
class ScanFacts:
    """What was found in one scan; what could not be read is None or empty.

    Attributes:
        id: of the scan.
        size: (Z, H, W).
        spacing: mm along Z, H, W.
        orientation: where the voxel indices (x, y, z) grow to, such as LAS: left, front (anterior), head (superior).
        axes: unit vectors of the voxel axes (x, y, z) in patient coordinates, as rows.
        intensities: "min", "max", "mean", "std".
        body_share: of the voxels that belong to the body.
        blank_slices: that have one value in all pixels.
        slices: class name -> minimum of pixels -> slices with as many pixels of the class.
        pixels: class name -> voxels.
        centres: class name -> mean place of its voxels along the axes x, y, z in mm, from the first voxel.
        superpixels: "min", "median", "max" number in the slices that show the body, "slices" that have any; empty where
            the file cannot be read.
        supervoxels: their "number", and "pairs": successive slices of one, for episodes; empty where there are none.
        problems: what is wrong, each in one sentence: file, found, expected, remedy.
    """

    id: str
    size: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    orientation: str | None = None
    axes: list[list[float]] | None = None
    intensities: dict[str, float] = field(default_factory=dict)
    body_share: float | None = None
    blank_slices: list[int] = field(default_factory=list)
    slices: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    centres: dict[str, list[float]] = field(default_factory=dict)
    superpixels: dict[str, float] = field(default_factory=dict)
    supervoxels: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check_scan(scan: ProcessedScan, sheets: Path, has_label: bool) -> ScanFacts:
    """Read every file of a scan, gather facts and problems, and draw its contact sheet.

    Args:
        scan: to be checked.
        sheets: folder of the contact sheets.
        has_label: a label is expected.

    Raises:
        OSError: the contact sheet cannot be written.
    """
    facts = ScanFacts(scan.id)
    sheet = sheets / f"scan_{scan.id}.png"
    image = _collect(facts, _check_image, scan)
    if image is None:
        sheet.unlink(missing_ok=True)
        return facts
    body = np.stack([foreground_mask(plane, scan.data_set.foreground_threshold) for plane in image])
    _check_body(facts, scan, image, body)
    label = _collect(facts, _check_label, scan) if has_label else None
    segments = []
    steps = {PseudoLabels.SUPERPIXELS: _check_superpixels, PseudoLabels.SUPERVOXELS: _check_supervoxels}
    for labels, step in steps.items():
        of_kind = replace(scan, labels=labels)
        segments.append(_collect(facts, step, of_kind, body) if of_kind.segments.is_file() else None)
    volumes = (image, label, *segments)
    *shown, supervoxels = [None if volume is None else volume[:, :SLICE_SIZE, :SLICE_SIZE] for volume in volumes]
    write_png(sheet, draw_contact_sheet(*shown, scan.data_set.classes, _title(facts, scan.scale), supervoxels))
    return facts


def directions(orientation: str) -> str:
    """LAS -> "columns that run to the patient's left, rows to the front, slices to the head"."""
    x, y, z = (DIRECTIONS[letter] for letter in orientation)
    return f"columns that run to the patient's {x}, rows to the {y}, slices to the {z}"


def in_mm(spacing: tuple[float, float, float]) -> str:
    """Spacing (Z, H, W) as text, columns first."""
    return " x ".join(f"{step:g}" for step in spacing[::-1]) + " mm"


def _collect(facts: ScanFacts, step: Callable, *arguments: object) -> np.ndarray | None:
    """What a step returns, or None with its error among the problems."""
    try:
        return step(facts, *arguments)
    except (OSError, ValueError) as error:
        facts.problems.append(str(error))
        return None


def _check_image(facts: ScanFacts, scan: ProcessedScan) -> np.ndarray:
    path = scan.path(IMAGE)
    image = read_voxels(path)
    check_slice_size(path, image.shape)
    header = read_header(path)
    affine = header.grid.affine
    facts.size = image.shape
    facts.spacing = tuple(round(step, 4) for step in header.spacing)
    facts.orientation = "".join(nibabel.aff2axcodes(affine))
    facts.axes = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T.round(4).tolist()
    values = image.astype(np.float64)
    statistics = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
    facts.intensities = {name: round(float(value), 4) for name, value in statistics.items()}
    if statistics["min"] == statistics["max"]:
        raise ValueError(
            f"{path} has the value {statistics['min']:g} in all voxels; expected an image with contrast: make it anew "
            "from the raw scan."
        )
    return image


def _check_body(facts: ScanFacts, scan: ProcessedScan, image: np.ndarray, body: np.ndarray) -> None:
    path = scan.path(IMAGE)
    facts.body_share = round(float(body.mean()), 4)
    low, high = facts.intensities["min"], facts.intensities["max"]
    if not body.any() or facts.body_share > MAX_BODY_SHARE:
        found = "no voxel" if not body.any() else f"{100 * facts.body_share:.1f} % of the voxels"
        facts.problems.append(
            f"{path} has {found} above the foreground threshold {scan.data_set.foreground_threshold:g} of the data set "
            f"(range {low:g} to {high:g}); expected air below it and the body above: is the image scaled as the data "
            "set's are, and --dataset the right one?"
        )
    at_top = np.mean(image[body] == image.max()) if body.any() else 0
    if at_top > MAX_TOP_SHARE and ((image > image.min()) & (image < image.max())).any():  # not a drawing of two values
        facts.problems.append(
            f"{path} has {100 * at_top:.0f} % of the body at its highest value {high:g}; expected contrast inside the "
            "body: a window cut it off that is not for these intensities (a CT stored without its offset, or no CT); "
            "correct the raw scan or the window, and make it anew."
        )
    facts.blank_slices = [z for z, plane in enumerate(image) if plane.min() == plane.max()]


def _check_label(facts: ScanFacts, scan: ProcessedScan) -> np.ndarray:
    path, classes = scan.path(LABEL), scan.data_set.classes
    check_label_file(path, scan.path(IMAGE))
    label = scan.read_label()
    counts = count_class_pixels(label, classes)
    facts.pixels = {name: sum(of_slices) for name, of_slices in counts.items()}
    maps = {minimum: class_map({scan.id: counts}, classes, minimum) for minimum in MIN_PIXELS}
    facts.slices = {name: {minimum: maps[minimum][name][scan.id] for minimum in MIN_PIXELS} for name in classes}
    for name, value in classes.items():
        if value and facts.pixels[name]:
            centre = np.argwhere(label == value).mean(axis=0) * facts.spacing
            facts.centres[name] = [round(float(place), 2) for place in centre[::-1]]
    if not label.any():
        facts.problems.append(
            f"{path} holds background only; expected some of the classes {list(classes)[1:]}: was it written from an "
            "empty file, or are its values scaled?"
        )
    return label


def _check_segments(facts: ScanFacts, scan: ProcessedScan, body: np.ndarray) -> np.ndarray:
    """Pseudo-labels of any kind, (Z, H, W) int32."""
    path, remedy = scan.segments, f"make them with {scan.command}"
    segments = read_voxels(path)
    check_same_size(path, segments.shape, scan.path(IMAGE), facts.size)
    if (segments < 0).any() or (segments != np.rint(segments)).any():
        raise ValueError(f"{path} has values that are negative or not whole; expected segments 0, 1, 2, ...: {remedy}")
    segments = segments.astype(np.int32)
    note = read_header(path).note
    if note.startswith(OURS) and note != scan.note:
        facts.problems.append(f"{path} was made with other settings ({note}); expected {scan.note}: {remedy}")
    outside = np.count_nonzero((segments > 0) & ~body) / max(np.count_nonzero(segments), 1)
    if outside > MAX_OUTSIDE_SHARE:
        facts.problems.append(
            f"{path} has {100 * outside:.0f} % of its segments' voxels outside the body in the image; expected them "
            f"inside, so it belongs to another image or threshold: {remedy} --force"
        )
    return segments


def _check_superpixels(facts: ScanFacts, scan: ProcessedScan, body: np.ndarray) -> np.ndarray:
    superpixels = _check_segments(facts, scan, body)
    numbers = np.array([np.count_nonzero(np.unique(plane)) for plane in superpixels])
    counted = numbers[body.any(axis=(1, 2))]
    if counted.size:
        middle = {"min": counted.min(), "median": np.median(counted), "max": counted.max()}
        facts.superpixels = {name: float(value) for name, value in middle.items()}
    facts.superpixels["slices"] = int(np.count_nonzero(numbers))
    if counted.size and np.median(counted) < 2:
        facts.problems.append(
            f"{scan.segments} has {np.median(counted):g} segment(s) in the middle one of its slices; expected several, "
            "as episodes are drawn from them: is the image scaled as the data set's are (not to [0, 1])?"
        )
    return superpixels


def _check_supervoxels(facts: ScanFacts, scan: ProcessedScan, body: np.ndarray) -> np.ndarray:
    supervoxels = _check_segments(facts, scan, body)
    areas = areas_by_slice(supervoxels)
    facts.supervoxels = {"number": int(np.count_nonzero(areas.any(axis=0))), "pairs": len(successive_pairs(areas))}
    if not facts.supervoxels["pairs"]:
        facts.problems.append(
            f"{scan.segments} has {facts.supervoxels['number']} supervoxel(s), of which none shows in two successive "
            f"slices, with {MIN_PAIR_AREA} pixels in one of them; expected some, as episodes are drawn from them: is "
            "the image scaled as the data set's are (not to [0, 1])?"
        )
    return supervoxels


def _title(facts: ScanFacts, scale: str) -> str:
    depth, height, width = facts.size
    return (
        f"scan {facts.id}: {width} x {height} x {depth} voxels of {in_mm(facts.spacing)}; "
        f"{directions(facts.orientation).replace(' that', '')}; superpixels {scale}"
    )
