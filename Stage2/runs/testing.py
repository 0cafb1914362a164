"""Testing a fold: what segments and scores its queries, with the support that is named, or with each one in turn."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from Stage2.datasets.cohort import Cohort
from Stage2.datasets.folds import EVERY_SUPPORT
from Stage2.datasets.volumes import SLICE_SIZE, Scan, read_image
from Stage2.evaluation.clean_protocol import CleanProtocol
from Stage2.evaluation.protocol import (
    ClassTask,
    Encode,
    PrototypesFromQuery,
    ScanResult,
    annotated_slices,
    evaluate_scan,
    parts_by_chunks,
    parts_by_range,
    prototypes_of_parts,
)
from Stage2.inference.feature_cache import FeatureMemory
from Stage2.io.names import image_path
from Stage2.io.nifti import read_header
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.run_folders.layout import ADAPTED, ADNET, CLEAN, PROTOTYPES
from Stage2.run_folders.selection import Choice, choice_record
from Stage2.run_folders.unusual import USUAL
from Stage2.runs.build import begins_from, held_out_tasks
from Stage2.runs.settings import DEFAULTS, OF_PROTOCOL, RunSettings
from Stage2.runs.trained_scans import exclusion_of
from Stage2.segmentation.matching import Extent, body_extent
from Stage2.segmentation.method import Method
from Stage2.segmentation.scans import encode_slices

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupportTest:
    """A support with the scans that it tests.

    Attributes:
        support: id of its scan; of several, joined by "+".
        queries: ids of the scans to test.
        evaluate: segments and scores a query with label.
    """

    support: str
    queries: Sequence[str]
    evaluate: Callable[..., list[ScanResult]]


def evaluator(
    model: FewShotSegmenter, settings: RunSettings, cohort: Cohort, supports: Sequence[Scan],
    tasks: Sequence[ClassTask], encode: Encode | None = None, *, whole_supports: bool = False,
) -> Callable[..., list[ScanResult]]:  # fmt: skip
    """What segments and scores a query with prototypes of the supports, by the protocol of the settings.

    Args:
        model: the segmenter, in evaluation mode.
        settings: of the run.
        cohort: where the scans are.
        supports: support scans with labels.
        tasks: the classes.
        encode: gives features that may be at hand; None: everything is encoded anew.
        whole_supports: take the supports' slices from features of the whole scans, for these are encoded anyway.
    """
    if settings.protocol == CLEAN:
        method = method_of_test(settings)
        return CleanProtocol(model, supports, tasks, method, partial(extent_of_body, cohort), encode).evaluate
    of_support = encode if whole_supports else None
    window, most = settings.val_wsize, settings.query_prototypes
    annotated = {task.name: annotated_slices(model, supports, task, of_support) for task in tasks}
    prototypes = {task.name: prototypes_of_parts(model, task, annotated[task.name], window) for task in tasks}
    parts_of = parts_by_chunks if settings.protocol == ADNET else parts_by_range
    return partial(
        evaluate_scan, model, tasks=tasks, prototypes=prototypes, parts_of=parts_of, encode=encode,
        from_query=PrototypesFromQuery(annotated, window, most) if most else None, full_volume=settings.full_volume,
    )  # fmt: skip


def method_of_test(settings: RunSettings) -> Method:
    """How the clean protocol segments."""
    return Method(
        settings.slice_matching, settings.n_sup_part, settings.val_wsize, margin=None,
        least_pixels=settings.min_fg_data, query_prototypes=settings.query_prototypes,
    )  # fmt: skip


def remembered(model: FewShotSegmenter, settings: RunSettings) -> FeatureMemory:
    """Features as the protocol's test takes them, each scan's kept as long as there is room."""
    if settings.protocol == CLEAN:
        return FeatureMemory(partial(encode_slices, model, at_once=method_of_test(settings).slices_at_once))
    return FeatureMemory(partial(encode_slices, model, layout=torch.contiguous_format))


def every_support(
    model: FewShotSegmenter, settings: RunSettings, cohort: Cohort, encode: Encode
) -> tuple[list[SupportTest], list[str]]:
    """A test for each possible support scan of the fold: those that show every tested class, and leave scans to test.

    Args:
        model: the segmenter, in evaluation mode.
        settings: of the run; `support_idx` is passed over.
        cohort: where the scans are.
        encode: see `remembered`.

    Returns:
        the tests, and the scans that are no possible support.

    Raises:
        ValueError: no scan is a possible support.
    """
    labels = cohort.data_set.test_labels(settings.label_sets)
    queried, possible, left_out = set(cohort.fold.test), {}, []
    for place, support_id in enumerate(cohort.fold.candidates):
        lacking = [
            cohort.data_set.class_name(label)
            for label in labels
            if not cohort.slices(label, support_id, settings.min_fg_data)
        ]
        if lacking or queried <= {support_id}:
            why = f"shows no {', '.join(lacking)}" if lacking else "is the only test scan"
            logger.warning("scan %s is no possible support: it %s", support_id, why)
            left_out.append(support_id)
        else:
            possible[support_id] = replace(settings, support_idx=[place])
    if not possible:
        raise ValueError(
            f"none of the scans {', '.join(cohort.fold.candidates)} can be the support: a support shows every tested "
            "class and leaves a scan to test; choose another eval_fold or label_sets."
        )
    tests = []
    for support_id, own in possible.items():
        tasks, queries = held_out_tasks(own, cohort)
        supports = [cohort.annotated_scan(support_id)]
        if settings.protocol == CLEAN:  # made when it is used: it holds the features of its supports
            evaluate = partial(_evaluate_anew, model, own, cohort, supports, tasks, encode)
        else:
            whole = support_id in queried and len(possible) > 1
            evaluate = evaluator(model, own, cohort, supports, tasks, encode, whole_supports=whole)
        tests.append(SupportTest(support_id, queries, evaluate))
    return tests, left_out


def run_tests(
    tests: Sequence[SupportTest],
    scan_ids: Iterable[str],
    read: Callable[[str], tuple[Scan, Sequence[float]]],
    done: Callable[[str, list[ScanResult]], None],
    **scoring: object,
) -> dict[str, list[ScanResult]]:
    """Support -> results of its queries, without masks; each query is read, and encoded, once for all supports.

    Args:
        tests: the supports.
        scan_ids: the queries, in order; those that no support tests are passed over.
        read: gives a query with label, and the spacing of its voxels along Z, H, W in mm.
        done: told of each support and its results for one scan, with masks.
        scoring: of `score_scan`.
    """
    results: dict[str, list[ScanResult]] = {test.support: [] for test in tests}
    queries = [scan_id for scan_id in scan_ids if any(scan_id in test.queries for test in tests)]
    for scan_id in tqdm(queries, unit="scan", dynamic_ncols=True):
        query, spacing = read(scan_id)
        for test in tests:
            if scan_id in test.queries:
                of_scan = test.evaluate(query, spacing=spacing, **scoring)
                done(test.support, of_scan)
                results[test.support] += [replace(own, mask=None) for own in of_scan]
    return results


def read_query(cohort: Cohort, scan_id: str) -> tuple[Scan, Sequence[float]]:
    """A scan of a cohort with its label, and the spacing of its voxels along Z, H, W in mm."""
    return cohort.annotated_scan(scan_id), read_header(image_path(cohort.folder, scan_id)).spacing


def describe_test(settings: RunSettings, cohort: Cohort, start: Choice | None) -> dict[str, Any]:
    """What results.json says of a test beside its scores."""
    snapshot = None if start is None else start.snapshot
    every, clean = settings.support_idx == EVERY_SUPPORT, settings.protocol == CLEAN
    excluded, rule = exclusion_of(
        begins_from(settings, start), cohort.data_set, settings.exclude_cls_list, settings.exclude_rule
    )
    described = {
        "protocol": settings.protocol,
        "method": settings.method,
        "dataset": cohort.data_set.name,
        "fold": settings.eval_fold,
        "label_set": settings.label_sets,
        "exclude_classes": excluded,
        "exclude_rule": rule,
        "fold_scheme": settings.fold_scheme,
        "ct_statistics": settings.ct_statistics if cohort.data_set.modality == "CT" else None,
        "support_idx": settings.support_idx if every else list(settings.support_idx),
        "slice_matching": settings.slice_matching if clean and settings.method == PROTOTYPES else None,
        "query_prototypes": settings.query_prototypes,
        "modelname": settings.modelname,
        **{key: None if key in without_effect(settings) else getattr(settings, key) for key in ("clsname", *USUAL)},
        "adaptation": None,
        **choice_record(start),
        "step": step_of_snapshot(snapshot),
    }
    if every:
        described["published_support"] = published_support(settings.protocol, cohort)
    if cohort.data_set.label_values is not None:  # whoever draws the label files needs to know
        described["label_values"] = {str(value): label for value, label in cohort.data_set.label_values.items()}
    return described


def without_effect(settings: RunSettings) -> tuple[str, ...]:
    """Those of the settings of a test with a head that change nothing in it."""
    if settings.method != ADAPTED:
        return ()
    return ("clsname", "val_wsize", *["n_sup_part"] * (settings.protocol == CLEAN))


def published_support(protocol: str, cohort: Cohort) -> str | None:
    """The support scan that a protocol has where none is named; None where the fold is too small for it."""
    wanted = OF_PROTOCOL.get(protocol, {}).get("support_idx", DEFAULTS["support_idx"])
    try:
        return cohort.fold.choose_support(wanted)[0]
    except ValueError:
        return None


def extent_of_body(cohort: Cohort, scan_id: str) -> Extent:
    """First and last slice of the body in a scan, by the foreground threshold of the data set."""
    volume = read_image(cohort.folder, scan_id)[:, :SLICE_SIZE, :SLICE_SIZE]  # the threshold is in its units
    return body_extent(volume, cohort.data_set.foreground_threshold)


def step_of_snapshot(snapshot: Path | None) -> int | None:
    """Step that a snapshot's file name tells; None where it tells none."""
    return int(snapshot.stem) if snapshot is not None and snapshot.stem.isdecimal() else None


def _evaluate_anew(
    model: FewShotSegmenter, settings: RunSettings, cohort: Cohort, supports: Sequence[Scan],
    tasks: Sequence[ClassTask], encode: Encode, query: Scan, **scoring: object,
) -> list[ScanResult]:  # fmt: skip
    return evaluator(model, settings, cohort, supports, tasks, encode)(query, **scoring)
