"""The comparison "one annotated scan": adapted networks, prototypes and registration, each from one support scan.

In every fold the support scan annotates all organs at once, and the fold's test scans are the queries: whole volumes on
their own grids, read as a user's scans are. Nobody looks at a query's label before its mask is there.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage1.files import hash_file, locked
from Stage2.adaptation.settings import AdaptationSettings, identity_of_start
from Stage2.benchmarks.one_scan_approaches import (
    REGISTRATION,
    Annotated,
    Segment,
    by_adapting,
    by_prototypes,
    by_registration,
)
from Stage2.benchmarks.one_scan_records import Record, Records
from Stage2.datasets.catalog import DataSet
from Stage2.datasets.folds import split_fold, support_slices
from Stage2.datasets.labels import class_labels
from Stage2.datasets.volumes import list_scans
from Stage2.evaluation.metrics import compute_metrics, mean_of_defined, or_none
from Stage2.inference.masks import labels_in
from Stage2.inference.predictor import Support
from Stage2.inference.transform import ScanTransform
from Stage2.io.axes import STORED
from Stage2.io.grid import on_grid_of
from Stage2.io.names import image_path, label_path
from Stage2.io.scans import ScanFile
from Stage2.run_folders.layout import PROTOTYPES

METRICS = ("dice", "hd95_mm")
HASH_DIGITS = 16


@dataclass(frozen=True)
class OneScan:
    """What is compared.

    Attributes:
        data: processed folder.
        data_set: what it is.
        starts: name -> "random" or a file, that networks are adapted from.
        budgets: of adapting, without the seed.
        seeds: of adapting.
        folds: numbers; None: all.
        labels: to segment; None: all evaluated ones. An organ that the support scan of a fold lacks is left out there.
        slices: of every organ that are annotated in the support; None: all.
        snapshot: of Stage 2, for the prototypes; None: they are left out.
        registration: registration is compared too.
        unlabelled: adapting learns from the images of the queries too.

    Raises:
        ValueError: what does not go together.
    """

    data: Path
    data_set: DataSet
    starts: Mapping[str, str]
    budgets: Sequence[AdaptationSettings]
    seeds: Sequence[int] = (0,)
    folds: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    slices: int | None = None
    snapshot: Path | None = None
    registration: bool = False
    unlabelled: bool = False

    def __post_init__(self):
        taken = {PROTOTYPES, REGISTRATION} & set(self.starts)
        if taken:
            raise ValueError(f"a start is called {min(taken)}, as a baseline is; give it another name.")
        if self.slices is not None and self.slices < 1:
            raise ValueError(f"slices {self.slices}: expected a whole number from 1 up, or all.")
        if self.registration and self.slices is not None:
            raise ValueError("registration moves a whole mask; leave it out where only some slices are annotated.")
        unknown = sorted(set(self.labels or ()) - (set(self.data_set.classes.values()) - {0}))
        if unknown:
            raise ValueError(f"{self.data_set.name} has no class {unknown[0]}; it has {dict(self.data_set.classes)}.")


@dataclass(frozen=True)
class Approach:
    """One way to segment the queries of a fold.

    Attributes:
        key: what tells it from others in the records.
        words: for messages.
        prepare: what is done with the support, once; returns what segments a query.
    """

    key: Record
    words: str
    prepare: Callable[[Annotated], Segment]


def run_one_scan(settings: OneScan, out: Path, report: Callable[[str], None] = lambda line: None) -> None:
    """Measure what the folder `out` does not hold yet; every value is in its file as soon as it is known.

    Args:
        settings: what is compared.
        out: folder of the records.
        report: called with a line about every approach in every fold.

    Raises:
        FileNotFoundError, ValueError: what does not fit, in one sentence.
        OSError: another process writes to the folder, or it cannot be written.
    """
    with locked(out):
        records, ways = Records(out), list(approaches(settings))
        for number in range(settings.data_set.n_folds) if settings.folds is None else settings.folds:
            _run_fold(settings, number, ways, records, report)


def approaches(settings: OneScan) -> Iterator[Approach]:
    """All that is compared, baselines first.

    Raises:
        FileNotFoundError, ValueError: a start or the snapshot is missing.
    """
    plain = {"seed": None, "minutes": None, "steps": None}
    if settings.registration:
        key = {"start": REGISTRATION, "start_hash": "", **plain, "unlabelled": False}
        yield Approach(key, REGISTRATION, by_registration)
    if settings.snapshot is not None:
        snapshot = settings.snapshot
        key = {"start": PROTOTYPES, "start_hash": hash_file(snapshot)[:HASH_DIGITS], **plain, "unlabelled": False}
        yield Approach(key, f"{PROTOTYPES} of {snapshot}", lambda annotated: by_prototypes(annotated, snapshot))
    for name, start in settings.starts.items():
        identity = identity_of_start(start)[:HASH_DIGITS]
        for budget in settings.budgets:
            for seed in settings.seeds:
                own = AdaptationSettings(minutes=budget.minutes, steps=budget.steps, seed=seed)
                key = {
                    "start": name, "start_hash": identity, "seed": seed, "minutes": own.minutes, "steps": own.steps,
                    "unlabelled": settings.unlabelled,
                }  # fmt: skip
                yield Approach(
                    key, f"start {name}, {own.budget}, seed {seed}",
                    lambda annotated, start=start, own=own: by_adapting(annotated, start, own),
                )  # fmt: skip


def read_labels(folder: Path, scan_id: str, image: sitk.Image, data_set: DataSet) -> sitk.Image:
    """The mask of a scan in labels of the data set, uint8 on the grid of its image.

    Raises:
        FileNotFoundError, ValueError: it is missing, on another grid, or holds a value that is no class.
    """
    path = label_path(folder, scan_id)
    mask = on_grid_of(ScanFile(path).read(), image, path, image_path(folder, scan_id))
    try:
        voxels = class_labels(sitk.GetArrayViewFromImage(mask), data_set.classes, data_set.label_values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    labels = sitk.GetImageFromArray(voxels)
    labels.CopyInformation(image)
    return labels


def annotate_slices(mask: sitk.Image, labels: Sequence[int], count: int) -> sitk.Image:
    """A mask that holds each label in a few slices only, those that `support_slices` chooses; 0 elsewhere.

    Args:
        mask: whole numbers, slices along its last axis.
        labels: that are kept.
        count: of slices.
    """
    voxels = sitk.GetArrayViewFromImage(mask)  # Z, H, W
    kept = np.zeros_like(voxels)
    for label in labels:
        shown = np.flatnonzero((voxels == label).any(axis=(1, 2))).tolist()
        for z in support_slices(shown, count) if shown else ():
            kept[z][voxels[z] == label] = label
    image = sitk.GetImageFromArray(kept)
    image.CopyInformation(mask)
    return image


def _run_fold(
    settings: OneScan, number: int, ways: Sequence[Approach], records: Records, report: Callable[[str], None]
) -> None:
    folder, data_set = settings.data, settings.data_set
    fold = split_fold(list_scans(folder), data_set, number)
    support_id = fold.support[0]
    scan = ScanFile(image_path(folder, support_id)).read()
    mask = read_labels(folder, support_id, scan, data_set)
    wanted = list(dict.fromkeys(settings.labels or data_set.evaluated))
    labels = [label for label in wanted if label in labels_in(mask)]
    if labels != wanted:
        absent = ", ".join(data_set.class_name(label) for label in wanted if label not in labels)
        report(f"fold {number}: support scan {support_id} lacks {absent}, which is left out")
    if not labels:
        return
    if settings.slices is not None:
        mask = annotate_slices(mask, labels, settings.slices)
    support = Support(scan, mask, str(image_path(folder, support_id)), str(label_path(folder, support_id)))
    transform = ScanTransform(
        data_set.modality, STORED, prepared=True, foreground_threshold=data_set.foreground_threshold
    )
    for way in ways:
        with_images = way.key["unlabelled"]
        others = [(own, ScanFile(image_path(folder, own)).read()) for own in fold.test] if with_images else []
        same = {
            "dataset": data_set.name, "fold": number, "support": support_id, "labels": labels,
            "slices": settings.slices, **way.key,
        }  # fmt: skip
        queries = {}
        for scan_id in fold.test:
            paths = [own(folder, one) for one in (support_id, scan_id) for own in (image_path, label_path)]
            paths += [image_path(folder, own) for own in fold.test] if with_images else []
            queries[scan_id] = {**same, "files": _hash_files(paths), "scan": scan_id}
        waiting = [
            query for query in queries.values() if any({**query, "label": label} not in records for label in labels)
        ]
        if waiting:
            _measure(settings, way, Annotated(support, labels, transform, settings.slices, others), waiting, records)
        found = [own for query in queries.values() for own in records.like(query)]
        dice = mean_of_defined(math.nan if own["dice"] is None else own["dice"] for own in found)
        report(f"fold {number}, {way.words}: mean Dice {dice:.3f}" + ("" if waiting else " (already measured)"))


def _measure(
    settings: OneScan, way: Approach, annotated: Annotated, queries: Sequence[Record], records: Records
) -> None:
    """Prepare, segment the queries and score them; the values of a query are written at once."""
    begun = time.process_time()
    segment = way.prepare(annotated)
    preparing = time.process_time() - begun
    for key in queries:
        path = image_path(settings.data, key["scan"])
        image = ScanFile(path).read()
        begun = time.process_time()
        found, confidence = segment(image, str(path))
        spent = time.process_time() - begun
        truth = sitk.GetArrayFromImage(read_labels(settings.data, key["scan"], image, settings.data_set))
        rows = []
        for label in annotated.labels:
            scores = compute_metrics(found == label, truth == label, image.GetSpacing()[::-1], METRICS)
            rows.append(
                {
                    **key,
                    "label": label,
                    "organ": settings.data_set.class_name(label),
                    **{name: or_none(value) for name, value in scores.items()},
                    "confidence": or_none(confidence.get(label, math.nan)),
                    "adaptation_cpu_seconds": round(preparing, 3),
                    "query_cpu_seconds": round(spent, 3),
                }
            )
        records.add(rows)


def _hash_files(paths: Sequence[Path]) -> str:
    return sha256(json.dumps([hash_file(path) for path in paths]).encode()).hexdigest()[:HASH_DIGITS]
