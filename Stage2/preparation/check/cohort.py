"""What the scans of a processed folder say about each other: geometry, classes, class maps, folds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from Stage2.datasets.catalog import DataSet
from Stage2.datasets.folds import Fold, split_fold
from Stage2.datasets.volumes import read_class_map
from Stage2.io.names import (
    IMAGE,
    LABEL,
    class_map_path,
    image_path,
    label_path,
    superpixel_path,
    volume_name,
    volumes_of,
)
from Stage2.preparation.check.scan import DIRECTIONS, ScanFacts
from Stage2.preparation.steps.class_map import MIN_PIXELS

SPACING_TOLERANCE = 0.01  # relative
SAME_WAY = np.cos(np.deg2rad(45))  # of two axes, at least; oblique scans differ by less from each other
# When two classes lie in one order along an axis: at least that far apart in the middle scan, in nearly all scans.
FEWEST_SCANS = 4
CLEAR_DISTANCE = 15.0  # mm
MAX_SPREAD = 1 / 3  # median deviation from the middle scan's distance, as a share of it
CLEAR_SHARE = 0.8
SUPPORT_PARTS = 3  # slices with a good view of a class that a support scan gives: one for each third of the organ


class Findings(NamedTuple):
    """What is wrong, and what is unusual but may be right, each in one sentence."""

    problems: list[str]
    notes: list[str]


def check_cohort(
    folder: Path, scans: Sequence[ScanFacts], data_set: DataSet, folds: Sequence[Fold], scale: str, command: str
) -> Findings:
    """All checks that look at several scans or at files of the whole folder.

    Args:
        folder: processed folder.
        scans: facts of every scan, by number.
        data_set: that the folder should be.
        folds: every fold; none where the number of scans does not fit.
        scale: of the superpixels.
        command: that makes superpixels and class maps, for remedies.
    """
    checks = [
        check_superpixel_files(folder, scans, scale, command),
        check_blank_slices(scans),
        check_spacing(folder, scans, data_set),
        check_orientation(folder, scans),
    ]
    label_files = volumes_of(folder, LABEL)
    if label_files:
        checks += [
            check_label_files(folder, label_files, scans),
            check_places(folder, scans, data_set),
            check_classes(folder, scans, data_set),
            check_class_maps(folder, scans, data_set, command),
            check_supports(folder, {facts.id: facts for facts in scans}, data_set, folds),
        ]
    else:
        checks.append(Findings([], ["there are no labels: the scans can be trained on with superpixels, not tested."]))
    return Findings([p for one in checks for p in one.problems], [n for one in checks for n in one.notes])


def check_label_files(folder: Path, label_files: Mapping[str, Path], scans: Sequence[ScanFacts]) -> Findings:
    """Problems: labels without an image."""
    ids = {facts.id for facts in scans}
    lonely = [
        f"{path} has no {volume_name(IMAGE, scan)} beside it; expected both: add the image, or take the label away."
        for scan, path in label_files.items()
        if scan not in ids
    ]
    return Findings(lonely, [])


def check_spacing(folder: Path, scans: Sequence[ScanFacts], data_set: DataSet) -> Findings:
    """Problems and notes: voxels of another size than the data set's, or of several sizes."""
    found = {facts.id: facts.spacing for facts in scans if facts.spacing is not None}
    if data_set.spacing is not None:
        expected = data_set.spacing[::-1]
        wrong = [
            f"{image_path(folder, scan)} has voxels of {_mm(spacing)}; expected {_mm(expected)} as in all scans "
            f"of {data_set.name}: resample it, or correct its header."
            for scan, spacing in found.items()
            if not np.allclose(spacing, expected, rtol=SPACING_TOLERANCE)
        ]
        return Findings(wrong, [])
    sizes = np.array(list(found.values()))
    if len(sizes) and not np.allclose(sizes, sizes[0], rtol=SPACING_TOLERANCE):
        return Findings([], [f"voxels run from {_mm(sizes.min(axis=0))} to {_mm(sizes.max(axis=0))}."])
    return Findings([], [])


def check_orientation(folder: Path, scans: Sequence[ScanFacts]) -> Findings:
    """Problems: scans whose axes run another way through the patient than in most scans."""
    known = [facts for facts in scans if facts.axes is not None]
    if not known:
        return Findings([], [])
    usual = Counter(facts.orientation for facts in known).most_common(1)[0][0]
    reference = np.mean([facts.axes for facts in known if facts.orientation == usual], axis=0)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    turned = [
        f"{image_path(folder, facts.id)} has {_directions(facts.orientation)}; expected {_directions(usual)}, "
        "as in most scans: reorder its voxels and those of its label, header included."
        for facts in known
        if (np.sum(np.array(facts.axes) * reference, axis=1) < SAME_WAY).any()
    ]
    return Findings(turned, [])


def check_places(folder: Path, scans: Sequence[ScanFacts], data_set: DataSet) -> Findings:
    """Problems: scans in which two evaluated classes lie the other way round than in nearly all scans.

    That is what exchanged label numbers and flipped volumes look like. Only pairs are compared whose centres lie
    clearly apart along an axis of the volume.
    """
    problems = {}
    names = [data_set.class_name(value) for value in data_set.evaluated]
    for first, second in combinations(names, 2):
        having = [facts for facts in scans if first in facts.centres and second in facts.centres]
        if len(having) < FEWEST_SCANS:
            continue
        steps = np.array([np.subtract(facts.centres[first], facts.centres[second]) for facts in having])
        for axis, values in enumerate(steps.T):
            usual = np.median(values)
            spread = np.median(np.abs(values - usual))
            if abs(usual) < CLEAR_DISTANCE or spread > abs(usual) * MAX_SPREAD:
                continue
            if np.mean(values * np.sign(usual) > 0) < CLEAR_SHARE:
                continue
            for facts, value in zip(having, values, strict=True):
                if value * np.sign(usual) < -abs(usual) / 2:
                    problems.setdefault(
                        facts.id,
                        f"{label_path(folder, facts.id)} has {first} and {second} the other way round: "
                        f"{value:+.0f} mm from the second to the first along {('columns', 'rows', 'slices')[axis]}; "
                        f"expected about {usual:+.0f} mm, as in the other scans: correct exchanged label numbers, or a "
                        "flip of image and label.",
                    )
    return Findings(list(problems.values()), [])


def check_blank_slices(scans: Sequence[ScanFacts]) -> Findings:
    """Notes: slices without contrast. The published resampling often leaves one at the end of a scan."""
    at_end = [facts.id for facts in scans if facts.size and facts.size[0] - 1 in facts.blank_slices]
    notes = [f"the last slice is blank, as the published resampling leaves it, in {_scans(at_end)}."] if at_end else []
    for facts in scans:
        others = [z for z in facts.blank_slices if z != facts.size[0] - 1]
        if others:
            notes.append(f"slices {others} of scan {facts.id} have one value in all pixels.")
    return Findings([], notes)


def check_superpixel_files(folder: Path, scans: Sequence[ScanFacts], scale: str, command: str) -> Findings:
    """Problems: superpixels that are missing."""
    missing = [facts.id for facts in scans if not (superpixel_path(folder, facts.id, scale)).is_file()]
    if not missing:
        return Findings([], [])
    found = f"{superpixel_path(folder, '<id>', scale)} is missing for {_scans(missing)}"
    return Findings([f"{found}; expected one beside every image: make them with {command}"], [])


def check_classes(folder: Path, scans: Sequence[ScanFacts], data_set: DataSet) -> Findings:
    """Problems: an evaluated class that no scan has. Notes: other empty classes, and which scans lack which."""
    problems, notes, unused = [], [], []
    labelled = [facts for facts in scans if facts.pixels]
    for name, value in data_set.classes.items():
        lacking = [facts.id for facts in labelled if not facts.pixels[name]]
        if not labelled or not lacking:
            continue
        if len(lacking) < len(labelled):
            notes.append(f"{name} (label {value}) is absent from {_scans(lacking)}.")
        elif value in data_set.evaluated:
            problems.append(
                f"{folder} has no voxel of {name} (label {value}) in any label; expected the class in every scan, as "
                "experiments train on it or test it: are the labels stored as other numbers?"
            )
        else:
            unused.append(f"{name} (label {value})")
    if unused:
        notes.append(f"in no scan, and not evaluated: {', '.join(unused)}.")
    return Findings(problems, notes)


def check_class_maps(folder: Path, scans: Sequence[ScanFacts], data_set: DataSet, command: str) -> Findings:
    """Problems: class maps that are missing, damaged, or say something else than the labels."""
    problems = []
    labelled = [facts for facts in scans if facts.slices]
    for minimum in MIN_PIXELS:
        path = class_map_path(folder, minimum)
        try:
            content = read_class_map(folder, minimum)
        except (FileNotFoundError, ValueError):
            found = "cut short or no class map" if path.is_file() else "missing"
            problems.append(f"{path} is {found}; expected the slices of every class: make it with {command}")
            continue
        differing = [
            (name, facts.id)
            for name in data_set.classes
            for facts in labelled
            if sorted(content.get(name, {}).get(facts.id, [-1])) != facts.slices[name][minimum]
        ]
        if differing:
            name, scan = differing[0]
            expected = next(facts for facts in labelled if facts.id == scan).slices[name][minimum]
            problems.append(
                f"{path} has {_slices(content.get(name, {}).get(scan))} for {name} in scan {scan}; expected "
                f"{_slices(expected)}, as its label says ({len(differing)} such entries): delete it, and make it with "
                f"{command}"
            )
    return Findings(problems, [])


def list_folds(scan_ids: Sequence[str], data_set: DataSet) -> list[Fold]:
    """Every fold of the cohort.

    Raises:
        ValueError: the cohort has not the number of scans that the data set's folds are for.
    """
    return [split_fold(scan_ids, data_set, fold) for fold in range(data_set.n_folds)]


def check_supports(folder: Path, scans: Mapping[str, ScanFacts], data_set: DataSet, folds: Sequence[Fold]) -> Findings:
    """Problems: support scans that lack an evaluated class. Notes: those that show it only little."""
    problems, short = [], []
    few, many = MIN_PIXELS
    for number, fold in enumerate(folds):
        support = scans[fold.support[0]]
        for value in data_set.evaluated if support.slices else ():
            name = data_set.class_name(value)
            slices = support.slices[name]
            if not slices[few]:
                problems.append(
                    f"{label_path(folder, support.id)} has no voxel of {name}, but scan {support.id} is the "
                    f"support of fold {number}; expected every evaluated class: correct the label, or choose another "
                    "support with support_idx."
                )
            elif len(slices[many]) < SUPPORT_PARTS:
                short.append(f"{name} in scan {support.id} (fold {number})")
    notes = [f"fewer than {SUPPORT_PARTS} slices with {many} or more pixels: {', '.join(short)}: poor supports."]
    return Findings(problems, notes if short else [])


def _scans(scan_ids: Sequence[str]) -> str:
    return f"scan{'s' if len(scan_ids) > 1 else ''} {', '.join(scan_ids)}"


def _slices(slices: Sequence[int] | None) -> str:
    if not slices:
        return "no entry" if slices is None else "no slice"
    return f"slices {', '.join(map(str, slices[:6]))}" + (f" ... {slices[-1]}" if len(slices) > 6 else "")


def _mm(spacing: Sequence[float]) -> str:
    """Spacing (Z, H, W) as text, columns first."""
    return " x ".join(f"{step:g}" for step in spacing[::-1]) + " mm"


def _directions(orientation: str) -> str:
    """LAS -> "columns that run to the patient's left, rows to the front, slices to the head"."""
    x, y, z = (DIRECTIONS[letter] for letter in orientation)
    return f"columns that run to the patient's {x}, rows to the {y}, slices to the {z}"
