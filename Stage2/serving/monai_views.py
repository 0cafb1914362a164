"""What clients of MONAI Label are told: the server, its scans and labels, in the words of that protocol."""

import json
from collections.abc import Sequence
from typing import Any

from Stage2.io.nifti import read_voxels
from Stage2.io.text import one_line
from Stage2.serving.descriptions import ranks_of
from Stage2.serving.drawings import values_of
from Stage2.serving.folder import Scan
from Stage2.serving.labels import Label
from Stage2.serving.predictions import Prediction
from Stage2.serving.workbench import Workbench, program_version

MODEL = "densemp"
FINAL, ORIGINAL = "final", "original"  # tags of labels: what a person drew, what the network found
STRATEGIES = {
    "least_trusted": "the scan whose mask is least to be trusted; without masks, the first",
    "first": "the first scan in which nothing is drawn",
}


def describe_server(bench: Workbench) -> dict[str, Any]:
    """The answer to /info/."""
    names = {own.name: own.value for own in bench.store.labels()}
    running, network = bench.jobs.running, bench.networks.current()
    share = 0.0 if running is None or running.stage != "adapting" else running.share
    minutes = {"minutes": bench.settings.minutes}
    return {
        "name": "DenseMP workbench",
        "description": "Few-shot segmentation: a network is adapted to the scans that you annotate",
        "version": program_version(),
        "labels": names,
        "models": {
            MODEL: {
                "type": "segmentation", "labels": names, "dimension": 3, "config": {},
                "description": "The network that was adapted last; before, a first look from the examples",
            }
        },
        "trainers": {MODEL: {"description": "Adapt the network to the annotated scans", "config": minutes}},
        "strategies": {name: {"description": text, "config": {}} for name, text in STRATEGIES.items()},
        "scoring": {},
        "train_stats": {
            MODEL: {
                "epoch": round(100 * share), "total_epochs": 100, "best_metric": 0,
                "total_time": 0 if network is None or running is not None else round(60 * network.minutes),
            }
        },
        "datastore": statistics(bench),
        "config": {},
    }  # fmt: skip


def statistics(bench: Workbench) -> dict[str, Any]:
    """How many scans there are, and how many are annotated."""
    store = bench.store
    scans = [scan for scan in store.scans() if scan.error is None]
    drawn = [scan.id for scan in scans if store.drawing(scan) is not None]
    found = [scan.id for scan in scans if store.mask(scan) is not None]
    return {
        "total": len(scans),
        "completed": len(drawn),
        "label_tags": {FINAL: len(drawn), ORIGINAL: len(found)},
        "train": drawn,
    }


def describe_scans(bench: Workbench) -> dict[str, Any]:
    """Every scan with its labels: the answer to /datastore/?output=all."""
    store, objects = bench.store, {}
    names = {own.name: own.value for own in store.labels()}
    for scan in store.scans():
        if scan.error is not None:
            continue
        has = {FINAL: store.drawing(scan) is not None, ORIGINAL: store.mask(scan) is not None}
        labels = {
            tag: {"ext": ".nii.gz", "info": {"params": {"label_names": names}}} for tag, there in has.items() if there
        }
        objects[scan.id] = {"image": {"ext": ".nii.gz", "info": {"name": scan.name}}, "labels": labels}
    name = one_line(store.root.name)
    return {"name": name, "description": "", "images_dir": ".", "labels_dir": ".", "objects": objects}


def next_scan(bench: Workbench, strategy: str) -> Scan | None:
    """The scan that a strategy gives next; None where all are annotated."""
    store = bench.store
    open_ones = [scan for scan in store.scans() if scan.error is None and store.drawing(scan) is None]
    if strategy == "first" or not open_ones:
        return next(iter(open_ones), None)
    ranks = ranks_of(store)
    return min(open_ones, key=lambda scan: ranks.get(scan.id, len(ranks) + 1))


def params_of(prediction: Prediction, labels: Sequence[Label]) -> dict[str, Any]:
    """What comes with a mask: the labels that it shows, volumes in ml, confidence.

    A label without a voxel is left out: clients take names in the order of the values that they find.
    """
    shown = {int(value) for value in values_of(read_voxels(prediction.mask)) if value}
    named = {own.value: own.name for own in labels}
    record = {int(label): own for label, own in prediction.record["labels"].items() if int(label) in shown}
    return {
        "label_names": {named.get(value, f"label {value}"): value for value in sorted(shown)},
        "confidence": {named.get(value, str(value)): own["confidence"] for value, own in record.items()},
        "volume_ml": {named.get(value, str(value)): own["volume_ml"] for value, own in record.items()},
    }


def read_params(text: str | bytes | None) -> dict[str, Any]:
    """The field "params" of a form, empty where it is none."""
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
