"""What the scans of a processed folder say about each other: geometry, intensities, classes, class maps, folds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from Stage2.datasets.catalog import DataSet
from Stage2.datasets.folds import Fold
from Stage2.datasets.pseudo_labels import PseudoLabels
from Stage2.datasets.volumes import read_class_map
from Stage2.io import names
from Stage2.preparation.check.scan import ScanFacts, directions, in_mm
from Stage2.preparation.steps.class_map import MIN_PIXELS

SPACING_TOLERANCE = 0.01  # relative
SAME_WAY = np.cos(np.deg2rad(45))  # of two axes, at least; oblique scans differ by less from each other
# When two classes lie in one order along an axis: at least that far apart in the middle scan, in nearly all scans.
FEWEST_SCANS = 4
CLEAR_DISTANCE = 15.0  # mm
MAX_SPREAD = 1 / 3  # median deviation from the middle scan's distance, as a share of it
CLEAR_SHARE = 0.8
SUPPORT_PARTS = 3  # slices with a good view of a class that a support scan gives: one for each third of the organ


class Problem(str):
    """What is wrong, in one sentence: file, found, expected, remedy."""


class Note(str):
    """What is unusual but may be right, in one sentence."""


Findings = Iterator[Problem | Note]


@dataclass(frozen=True)
class Cohort:
    """A processed folder and what its scans hold.

    Attributes:
        folder: of the scans.
        scans: facts of every scan, by number.
        data_set: that the folder should be.
        folds: every fold; none where the number of scans does not fit.
        scale: of the pseudo-labels.
    """

    folder: Path
    scans: Sequence[ScanFacts]
    data_set: DataSet
    folds: Sequence[Fold]
    scale: str

    @property
    def command(self) -> str:
        """What makes superpixels and class maps, for remedies."""
        return PseudoLabels.SUPERPIXELS.command(self.folder, self.data_set, self.scale)


def check_cohort(cohort: Cohort) -> tuple[list[str], list[str]]:
    """Problems and notes of all checks that look at several scans or at files of the whole folder."""
    checks = [_pseudo_label_files, _blank_slices, _spacing, _orientation, _intensities]
    checks += [_label_files, _places, _classes, _class_maps, _supports]
    found = [finding for check in checks for finding in check(cohort)]
    return [one for one in found if isinstance(one, Problem)], [one for one in found if isinstance(one, Note)]


def _pseudo_label_files(cohort: Cohort) -> Findings:
    """Pseudo-labels that some scans lack. One kind will do: superpixels, unless all scans have supervoxels instead."""
    kinds = {labels: labels.kind(cohort.scale) for labels in PseudoLabels}
    found = {labels: names.volumes_of(cohort.folder, kind) for labels, kind in kinds.items()}
    missing = {labels: [facts.id for facts in cohort.scans if facts.id not in found[labels]] for labels in kinds}
    for labels, scans in missing.items():
        expected = labels is PseudoLabels.SUPERPIXELS and missing[PseudoLabels.SUPERVOXELS]
        if scans and (expected or len(scans) < len(cohort.scans)):
            lacking = f"{cohort.folder / names.volume_name(kinds[labels], '<id>')} is missing for {_scans(scans)}"
            remedy = labels.command(cohort.folder, cohort.data_set, cohort.scale)
            yield Problem(f"{lacking}; expected one beside every image: make them with {remedy}")


def _blank_slices(cohort: Cohort) -> Findings:
    """Slices without contrast. The published resampling often leaves one at the end of a scan."""
    at_end = [facts.id for facts in cohort.scans if facts.size and facts.size[0] - 1 in facts.blank_slices]
    if at_end:
        yield Note(f"the last slice is blank, as the published resampling leaves it, in {_scans(at_end)}.")
    for facts in cohort.scans:
        others = [z for z in facts.blank_slices if z != facts.size[0] - 1]
        if others:
            yield Note(f"slices {others} of scan {facts.id} have one value in all pixels.")


def _spacing(cohort: Cohort) -> Findings:
    """Voxels of another size than the data set's, or of several sizes."""
    found = {facts.id: facts.spacing for facts in cohort.scans if facts.spacing is not None}
    sizes = np.array(list(found.values()))
    if cohort.data_set.spacing is not None:
        expected = cohort.data_set.spacing[::-1]
        for scan, spacing in found.items():
            if not np.allclose(spacing, expected, rtol=SPACING_TOLERANCE):
                yield Problem(
                    f"{names.image_path(cohort.folder, scan)} has voxels of {in_mm(spacing)}; expected "
                    f"{in_mm(expected)} as in all scans of {cohort.data_set.name}: resample it, or correct its header."
                )
    elif len(sizes) and not np.allclose(sizes, sizes[0], rtol=SPACING_TOLERANCE):
        yield Note(f"voxels run from {in_mm(sizes.min(axis=0))} to {in_mm(sizes.max(axis=0))}.")


def _orientation(cohort: Cohort) -> Findings:
    """Scans whose axes run another way through the patient than in most scans."""
    known = [facts for facts in cohort.scans if facts.axes is not None]
    if not known:
        return
    usual = Counter(facts.orientation for facts in known).most_common(1)[0][0]
    reference = np.mean([facts.axes for facts in known if facts.orientation == usual], axis=0)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    for facts in known:
        if (np.sum(np.array(facts.axes) * reference, axis=1) < SAME_WAY).any():
            yield Problem(
                f"{names.image_path(cohort.folder, facts.id)} has {directions(facts.orientation)}; expected "
                f"{directions(usual)}, as in most scans: reorder its voxels and those of its label, header included."
            )


def _intensities(cohort: Cohort) -> Findings:
    """Intensities scaled to [0, 1] where those of the data set or of the other scans are not."""
    highest = {facts.id: facts.intensities["max"] for facts in cohort.scans if facts.intensities}
    usual = np.median(list(highest.values())) if highest else 0
    for scan, high in highest.items():
        if 0 < high <= 1 and (usual > 2 or cohort.data_set.source is None):
            others = f"up to about {usual:g}, as in the other scans" if usual > 2 else "those of the data set"
            yield Problem(
                f"{names.image_path(cohort.folder, scan)} has intensities up to {high:g}; expected {others}: it was "
                "scaled to [0, 1], make it anew from the raw scan."
            )


def _label_files(cohort: Cohort) -> Findings:
    """Labels without an image, or none at all."""
    labels, ids = names.volumes_of(cohort.folder, names.LABEL), {facts.id for facts in cohort.scans}
    if not labels:
        yield Note("there are no labels: the scans can be trained on with superpixels, not tested.")
    for scan, path in labels.items():
        if scan not in ids:
            lacking = f"{path} has no {names.volume_name(names.IMAGE, scan)} beside it"
            yield Problem(f"{lacking}; expected both: add the image, or take the label away.")


def _places(cohort: Cohort) -> Findings:
    """Scans in which two evaluated classes lie the other way round than in nearly all scans.

    That is what exchanged label numbers and flipped volumes look like. Only pairs are compared whose centres lie
    clearly apart along an axis of the volume.
    """
    problems = {}
    evaluated = [cohort.data_set.class_name(value) for value in cohort.data_set.evaluated]
    for first, second in combinations(evaluated, 2):
        having = [facts for facts in cohort.scans if first in facts.centres and second in facts.centres]
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
                        f"{names.label_path(cohort.folder, facts.id)} has {first} and {second} the other way round: "
                        f"{value:+.0f} mm from the second to the first along {('columns', 'rows', 'slices')[axis]}; "
                        f"expected about {usual:+.0f} mm, as in the other scans: correct exchanged label numbers, or a "
                        "flip of image and label.",
                    )
    yield from map(Problem, problems.values())


def _classes(cohort: Cohort) -> Findings:
    """An evaluated class that no scan has; other empty classes, and which scans lack which."""
    unused = []
    labelled = [facts for facts in cohort.scans if facts.pixels]
    for name, value in cohort.data_set.classes.items():
        lacking = [facts.id for facts in labelled if not facts.pixels[name]]
        if not labelled or not lacking:
            continue
        if len(lacking) < len(labelled):
            yield Note(f"{name} (label {value}) is absent from {_scans(lacking)}.")
        elif value in cohort.data_set.evaluated:
            yield Problem(
                f"{cohort.folder} has no voxel of {name} (label {value}) in any label; expected the class in every "
                "scan, as experiments train on it or test it: are the labels stored as other numbers?"
            )
        else:
            unused.append(f"{name} (label {value})")
    if unused:
        yield Note(f"in no scan, and not evaluated: {', '.join(unused)}.")


def _class_maps(cohort: Cohort) -> Findings:
    """Class maps that are missing, damaged, or say something else than the labels."""
    labelled = [facts for facts in cohort.scans if facts.slices]
    for minimum in MIN_PIXELS if names.volumes_of(cohort.folder, names.LABEL) else ():
        path = names.class_map_path(cohort.folder, minimum)
        try:
            content = read_class_map(cohort.folder, minimum)
        except (FileNotFoundError, ValueError):
            found = "cut short or no class map" if path.is_file() else "missing"
            yield Problem(f"{path} is {found}; expected the slices of every class: make it with {cohort.command}")
            continue
        differing = [
            (name, facts)
            for name in cohort.data_set.classes
            for facts in labelled
            if sorted(content.get(name, {}).get(facts.id, [-1])) != facts.slices[name][minimum]
        ]
        if differing:
            name, facts = differing[0]
            yield Problem(
                f"{path} has {_slices(content.get(name, {}).get(facts.id))} for {name} in scan {facts.id}; expected "
                f"{_slices(facts.slices[name][minimum])}, as its label says ({len(differing)} such entries): delete "
                f"it, and make it with {cohort.command}"
            )


def _supports(cohort: Cohort) -> Findings:
    """Support scans that lack an evaluated class, and those that show it only little."""
    short = []
    few, many = MIN_PIXELS
    scans = {facts.id: facts for facts in cohort.scans}
    for number, fold in enumerate(cohort.folds):
        support = scans[fold.support[0]]
        for value in cohort.data_set.evaluated if support.slices else ():
            name = cohort.data_set.class_name(value)
            slices = support.slices[name]
            if not slices[few]:
                yield Problem(
                    f"{names.label_path(cohort.folder, support.id)} has no voxel of {name}, but scan {support.id} is "
                    f"the support of fold {number}; expected every evaluated class: correct the label, or choose "
                    "another support with support_idx."
                )
            elif len(slices[many]) < SUPPORT_PARTS:
                short.append(f"{name} in scan {support.id} (fold {number})")
    if short:
        yield Note(f"fewer than {SUPPORT_PARTS} slices with {many} or more pixels: {', '.join(short)}: poor supports.")


def _scans(scan_ids: Sequence[str]) -> str:
    return f"scan{'s' if len(scan_ids) > 1 else ''} {', '.join(scan_ids)}"


def _slices(slices: Sequence[int] | None) -> str:
    if not slices:
        return "no entry" if slices is None else "no slice"
    return f"slices {', '.join(map(str, slices[:6]))}" + (f" ... {slices[-1]}" if len(slices) > 6 else "")
