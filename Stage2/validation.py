"""Test a segmenter on the organs it was not trained on: python validation.py with key=value ..."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from Stage2.datasets.cohort import Cohort
from Stage2.datasets.volumes import SLICE_SIZE, Scan, read_image
from Stage2.evaluation.clean_protocol import CleanProtocol
from Stage2.evaluation.metrics import metrics_for
from Stage2.evaluation.protocol import ClassTask, ScanResult, evaluate_scan, support_prototypes
from Stage2.evaluation.results import as_text, published_scalars, summarise, write_masks, write_results
from Stage2.io.names import image_path
from Stage2.io.nifti import read_header
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.run_folders.layout import ADAPTED, RESULTS
from Stage2.run_folders.selection import TEST, choice_record
from Stage2.runs.build import build_adapted_protocol, build_network, choose_start, held_out_tasks, open_cohort
from Stage2.runs.experiment import Run, Stage2Experiment, configure_logging, run_folder
from Stage2.runs.settings import RunSettings
from Stage2.segmentation.matching import Extent, body_extent
from Stage2.segmentation.method import Method

experiment = Stage2Experiment("validation")
logger = logging.getLogger(__name__)


@experiment.main
def main(_run: Run, _config: dict) -> float | None:
    """Test one fold by the chosen protocol and method; returns the mean Dice over the class ranges."""
    settings = RunSettings.of(_config)
    start = choose_start(settings)
    _run.info |= choice_record(start)
    snapshot = None if start is None else start.snapshot
    if settings.protocol == "clean" and start is not None and start.rule == TEST:
        raise ValueError(
            f"protocol=clean looks at no test label before scoring, but {snapshot} was chosen by them (select={TEST}); "
            "choose select=train_scans or last."
        )
    model = None
    if settings.method != ADAPTED:
        if snapshot is None:
            logger.warning("no reload_model_path: testing a network that Stage 2 has not trained")
        model = build_network(settings, start).eval()
    cohort = open_cohort(settings)
    tasks, queries = held_out_tasks(settings, cohort)

    supports = [cohort.annotated_scan(scan_id) for scan_id in cohort.fold.choose_support(settings.support_idx)]
    told = {"slice_matching": None, "modelname": settings.modelname, "adaptation": None}
    if model is None:
        adapted, told["adaptation"] = build_adapted_protocol(settings, start, supports, tasks)
        told["modelname"] = adapted.network.encoder_name
        evaluate = partial(adapted.evaluate, full_volume=settings.full_volume)
    else:
        evaluate = with_prototypes(model, settings, cohort, supports, tasks)
        told["slice_matching"] = settings.slice_matching if settings.protocol == "clean" else None
    results: list[ScanResult] = []
    metrics = metrics_for(vars(settings))
    for scan_id in tqdm(queries, unit="scan", dynamic_ncols=True):
        query = cohort.annotated_scan(scan_id)
        spacing = read_header(image_path(cohort.folder, scan_id)).spacing
        of_scan = evaluate(query, z_margin=settings.z_margin, spacing=spacing, metrics=metrics)
        write_masks(run_folder(_run), cohort.folder, of_scan)
        results += of_scan

    summary = summarise(results)
    described = {
        "protocol": settings.protocol,
        "method": settings.method,
        "dataset": cohort.data_set.name,
        "fold": settings.eval_fold,
        "label_set": settings.label_sets,
        "exclude_classes": list(settings.exclude_cls_list),
        **told,
        **choice_record(start),
        "step": step_of_snapshot(snapshot),
    }
    if cohort.data_set.label_values is not None:  # whoever draws the label files needs to know
        described["label_values"] = {str(value): label for value, label in cohort.data_set.label_values.items()}
    write_results(run_folder(_run) / RESULTS, {**described, **summary})
    unpublished = [ADAPTED] * (settings.method == ADAPTED) + [settings.protocol] * (settings.protocol != "paper")
    for name, value in published_scalars(results).items():
        _run.log_scalar("_".join([*unpublished, name]), value)
    way = f"{settings.protocol} protocol, {settings.method}"
    logger.info("%s, fold %d:\n%s", way, settings.eval_fold, as_text(summary))
    return summary["mean"]["dice"]


def with_prototypes(
    model: FewShotSegmenter, settings: RunSettings, cohort: Cohort, supports: Sequence[Scan],
    tasks: Sequence[ClassTask],
) -> Callable[..., list[ScanResult]]:  # fmt: skip
    """What segments and scores a query with prototypes of the supports, by the protocol of the settings."""
    if settings.protocol == "clean":
        method = Method(
            settings.slice_matching, settings.n_sup_part, settings.val_wsize, margin=None,
            least_pixels=settings.min_fg_data,
        )  # fmt: skip
        return CleanProtocol(model, supports, tasks, method, partial(extent_of_body, cohort)).evaluate
    prototypes = {task.name: support_prototypes(model, supports, task, settings.val_wsize) for task in tasks}
    return partial(evaluate_scan, model, tasks=tasks, prototypes=prototypes, full_volume=settings.full_volume)


def extent_of_body(cohort: Cohort, scan_id: str) -> Extent:
    """First and last slice of the body in a scan, by the foreground threshold of the data set."""
    volume = read_image(cohort.folder, scan_id)[:, :SLICE_SIZE, :SLICE_SIZE]  # the threshold is in its units
    return body_extent(volume, cohort.data_set.foreground_threshold)


def step_of_snapshot(snapshot: Path | None) -> int | None:
    """Step that a snapshot's file name tells; None where it tells none."""
    return int(snapshot.stem) if snapshot is not None and snapshot.stem.isdecimal() else None


if __name__ == "__main__":
    configure_logging()
    experiment.run_commandline()
