"""Test a segmenter on the organs it was not trained on: python validation.py with key=value ..."""

import logging
from collections.abc import Sequence
from functools import partial

from Stage2.datasets.folds import EVERY_SUPPORT
from Stage2.datasets.volumes import list_scans
from Stage2.evaluation.metrics import metrics_for
from Stage2.evaluation.protocol import ScanResult
from Stage2.evaluation.results import (
    as_text,
    published_scalars,
    summarise,
    summarise_supports,
    write_masks,
    write_results,
)
from Stage2.run_folders.layout import ADAPTED, CLEAN, PAPER, RESULTS
from Stage2.run_folders.selection import choice_record
from Stage2.runs.build import (
    begins_from,
    build_adapted_protocol,
    build_network,
    choose_start,
    held_out_tasks,
    open_cohort,
    tested_scans,
)
from Stage2.runs.experiment import Run, Stage2Experiment, configure_logging, run_folder
from Stage2.runs.settings import RunSettings
from Stage2.runs.testing import SupportTest, describe_test, evaluator, every_support, read_query, remembered, run_tests
from Stage2.runs.trained_scans import check_no_test_labels, check_untouched

experiment = Stage2Experiment("validation", trains=False)
logger = logging.getLogger(__name__)


@experiment.main
def main(_run: Run, _config: dict) -> float | None:
    """Test one fold by the chosen protocol and method; returns the mean Dice over the class ranges."""
    settings = RunSettings.of(_config)
    start = choose_start(settings)
    _run.info |= choice_record(start)
    begin = begins_from(settings, start)
    if settings.protocol == CLEAN:
        check_no_test_labels(start, begin)
    every = settings.support_idx == EVERY_SUPPORT
    cohort = open_cohort(settings)
    check_untouched(begin, cohort.data_set, list_scans(cohort.folder), tested_scans(settings, cohort))
    model = None
    if settings.method != ADAPTED:
        if start is None:
            logger.warning("no reload_model_path: testing a network that Stage 2 has not trained")
        model = build_network(settings, start).eval()
    told = {}
    if every:
        tests, told["left_out_supports"] = every_support(model, settings, cohort, remembered(model, settings))
    else:
        tasks, queries = held_out_tasks(settings, cohort)
        support_ids = cohort.fold.choose_support(settings.support_idx)
        supports = [cohort.annotated_scan(scan_id) for scan_id in support_ids]
        if model is None:
            adapted, told["adaptation"] = build_adapted_protocol(settings, start, supports, tasks)
            told["modelname"] = adapted.network.encoder_name
            evaluate = partial(adapted.evaluate, full_volume=settings.full_volume)
        else:
            evaluate = evaluator(model, settings, cohort, supports, tasks)
        tests = [SupportTest("+".join(support_ids), queries, evaluate)]

    def keep(support: str, of_scan: Sequence[ScanResult]) -> None:
        write_masks(run_folder(_run), cohort.folder, of_scan, support if every else None)

    metrics = metrics_for(vars(settings))
    results = run_tests(
        tests, cohort.fold.test, partial(read_query, cohort), keep, z_margin=settings.z_margin, metrics=metrics
    )
    (first, *_) = results.values()
    summary = summarise_supports(results) if every else summarise(first)
    write_results(run_folder(_run) / RESULTS, {**describe_test(settings, cohort, start), **told, **summary})
    unpublished = ["query_prototypes"] * (settings.query_prototypes > 0)
    if every:
        name = "_".join([*unpublished, settings.protocol, "every_support_dice"])
        _run.log_scalar(name, summary["mean"]["dice"])
    else:
        unpublished += [ADAPTED] * (settings.method == ADAPTED) + [settings.protocol] * (settings.protocol != PAPER)
        for name, value in published_scalars(first).items():
            _run.log_scalar("_".join([*unpublished, name]), value)
    way = f"{settings.protocol} protocol, {settings.method}" + (", means over supports" if every else "")
    logger.info("%s, fold %d:\n%s", way, settings.eval_fold, as_text(summary))
    return summary["mean"]["dice"]


if __name__ == "__main__":
    configure_logging()
    experiment.run_commandline()
