"""Test a segmenter on the organs it was not trained on: python validation.py with key=value ..."""

import logging
from functools import partial
from pathlib import Path

from tqdm import tqdm

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.volumes import SLICE_SIZE, read_image
from Stage2.evaluation.clean_protocol import CleanProtocol
from Stage2.evaluation.metrics import metrics_for
from Stage2.evaluation.protocol import ScanResult, evaluate_scan, support_prototypes
from Stage2.evaluation.results import as_text, published_scalars, summarise, write_masks, write_results
from Stage2.evaluation.tasks import list_tasks
from Stage2.io.names import image_path
from Stage2.io.nifti import read_header
from Stage2.run_folders.layout import RESULTS
from Stage2.run_folders.selection import TEST, choice_record
from Stage2.runs.experiment import Run, Stage2Experiment, configure_logging, data_folder, run_folder
from Stage2.segmentation.matching import Extent, body_extent
from Stage2.segmentation.method import Method
from Stage2.training import chosen_snapshot, configured_segmenter

experiment = Stage2Experiment("validation")
logger = logging.getLogger(__name__)


@experiment.main
def main(_run: Run, _config: dict) -> float | None:
    """Test one fold by the chosen protocol; returns the mean Dice over the class ranges."""
    choice = chosen_snapshot(_config)
    _run.info |= choice_record(choice)
    snapshot = None if choice is None else choice.snapshot
    if _config["protocol"] == "clean" and choice is not None and choice.rule == TEST:
        raise ValueError(
            f"protocol=clean looks at no test label before scoring, but {snapshot} was chosen by them (select={TEST}); "
            "choose select=train_scans or last."
        )
    if snapshot is None:
        logger.warning("no reload_model_path: testing a network that Stage 2 has not trained")
    model = configured_segmenter(_config, choice).eval()
    data_set = get_dataset(_config["dataset"])
    folder = data_folder(_config["path"]["data_dir"], data_set)
    n_shots = len(_config["support_idx"])
    cohort = Cohort(folder, data_set, _config["eval_fold"], n_shots)
    support_ids = cohort.fold.choose_support(_config["support_idx"])
    queries = [scan_id for scan_id in cohort.fold.test if scan_id not in support_ids]
    if not queries:
        raise ValueError(
            f"support_idx={list(_config['support_idx'])} takes every test scan ({', '.join(support_ids)}) as support; "
            "leave one to test: choose -1 for the scan after them."
        )
    labels = data_set.test_labels(_config["label_sets"])
    tasks = list_tasks(cohort, labels, support_ids, queries, _config["n_sup_part"], _config["min_fg_data"])

    supports = [cohort.annotated_scan(scan_id) for scan_id in support_ids]
    protocol, clean = _config["protocol"], None
    if protocol == "clean":
        method = Method(
            _config["slice_matching"], _config["n_sup_part"], _config["val_wsize"], margin=None,
            least_pixels=_config["min_fg_data"],
        )  # fmt: skip
        clean = CleanProtocol(model, supports, tasks, method, partial(extent_of_body, cohort))
    else:
        prototypes = {task.name: support_prototypes(model, supports, task, _config["val_wsize"]) for task in tasks}
    results: list[ScanResult] = []
    metrics = metrics_for(_config)
    for scan_id in tqdm(queries, unit="scan", dynamic_ncols=True):
        query = cohort.annotated_scan(scan_id)
        spacing = read_header(image_path(folder, scan_id)).spacing
        scored = {"z_margin": _config["z_margin"], "spacing": spacing, "metrics": metrics}
        if clean is not None:
            of_scan = clean.evaluate(query, **scored)
        else:
            of_scan = evaluate_scan(model, query, tasks, prototypes, full_volume=_config["full_volume"], **scored)
        write_masks(run_folder(_run), folder, of_scan)
        results += of_scan

    summary = summarise(results)
    described = {
        "protocol": protocol,
        "slice_matching": None if clean is None else clean.method.matching,
        "dataset": data_set.name,
        "fold": _config["eval_fold"],
        "label_set": _config["label_sets"],
        "exclude_classes": list(_config["exclude_cls_list"]),
        "modelname": _config["modelname"],
        **choice_record(choice),
        "step": step_of_snapshot(snapshot),
    }
    if data_set.label_values is not None:  # whoever draws the label files needs to know
        described["label_values"] = {str(value): label for value, label in data_set.label_values.items()}
    write_results(run_folder(_run) / RESULTS, {**described, **summary})
    for name, value in published_scalars(results).items():
        _run.log_scalar(name if protocol == "paper" else f"{protocol}_{name}", value)
    logger.info("%s protocol, fold %d:\n%s", protocol, _config["eval_fold"], as_text(summary))
    return summary["mean"]["dice"]


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
