"""Results as tests leave them behind, without the tests."""

import json
from pathlib import Path


def make_results(dice: dict[str, list[float | None]], fold: int = 0, **changes) -> dict:
    """results.json of a test: class -> Dice of every scan; scans are numbered from 10 * fold on."""
    scans, means = [], {}
    for label, (name, values) in enumerate(dice.items(), start=2):
        for scan, value in enumerate(values, start=10 * fold):
            scans.append(
                {"class": name, "label": label, "scan": str(scan), "z_min": 1, "z_max": 5}
                | {"dice": value, "precision": 0.5, "recall": 0.25}
            )
        defined = [value for value in values if value is not None]
        means[name] = {
            "dice": sum(defined) / len(defined) if defined else None,
            "precision": 0.5,
            "recall": 0.25,
            "scans": len(values),
            "undefined": len(values) - len(defined),
        }
    mean = {"dice": sum(m["dice"] or 0 for m in means.values()) / len(means), "precision": 0.5, "recall": 0.25}
    results = {
        "protocol": "paper",
        "dataset": "CHAOST2",
        "fold": fold,
        "label_set": 0,
        "exclude_classes": [],
        "modelname": "dlfcn_res18",
        "snapshot": None,
        "step": None,
        "support": {},
    }
    return results | {"scans": scans, "class_means": means, "mean": mean} | changes


def write_run(folder: Path, experiment: str, run: int, results: dict, **config) -> Path:
    """A run folder with results.json and config.json."""
    path = folder / experiment / str(run)
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(results))
    (path / "config.json").write_text(json.dumps({"seed": 1234, "path": {"data_dir": None}} | config))
    return path


def adapted(start: str = "random", budget: str = "3 minutes of processor time") -> dict:
    """What results.json says of an adapted network."""
    return {"method": "adapted", "adaptation": {"start": start, "budget": budget}}


def at_step(step: int) -> dict:
    """What results.json says of a tested snapshot."""
    return {"snapshot": f"gone/1/snapshots/{step}.pth", "step": step}
