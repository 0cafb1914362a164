"""The layout of run folders: where a Stage 2 run keeps its configuration, scalars, snapshots, predictions and results.

<log_dir>/mySSL_<exp_prefix>_<dataset>_sets_<label_sets>_<n_shots>shot/      experiment folder
    <run id>/                                                                1, 2, 3, ... (sacred)
        config.json  metrics.json  run.json  cout.txt
        events.out.tfevents.*                                                scalars and pictures for TensorBoard
        snapshots/<step>.pth                                                 state after <step> optimiser steps
        training_state.pth                                                   what resume=True goes on from
        interm_preds/scan_<scan id>_label_<label>.nii.gz                     tests only; with support_idx=all in a
                                                                             folder support_<scan id> for each support
        results.json                                                         tests only
"""

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

SNAPSHOTS = "snapshots"
PREDICTIONS = "interm_preds"
RESULTS = "results.json"
SCALARS = "metrics.json"
CONFIG = "config.json"
STATE_FILE = "training_state.pth"
STATUS = "run.json"
FULL_VOLUME = "full_volume"  # key of the scores over all slices in results.json
PROTOTYPES, ADAPTED = METHODS = ("prototypes", "adapted")  # how a test segments
PAPER, CLEAN, ADNET = PROTOCOLS = ("paper", "clean", "adnet")  # of tests, see docs/protocols.md


def experiment_folder(
    log_dir: str | Path, exp_prefix: str, dataset: str, label_sets: int | str, n_shots: int = 1
) -> Path:
    """Folder that holds all runs of one experiment (the published naming)."""
    return Path(log_dir) / f"mySSL_{exp_prefix}_{dataset}_sets_{label_sets}_{n_shots}shot"


def list_runs(folder: str | Path) -> list[Path]:
    """Run folders (named by a number) of an experiment folder, oldest first; empty where the folder does not exist."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    runs = [path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    return sorted(runs, key=lambda path: int(path.name))


def list_snapshots(run: str | Path) -> list[tuple[int, Path]]:
    """Snapshots of a run as (step, file), by rising step; files not named ``<step>.pth`` are passed over."""
    files = (Path(run) / SNAPSHOTS).glob("*.pth")
    return sorted((int(path.stem), path) for path in files if path.stem.isdecimal())


def snapshot_path(run: str | Path, step: int) -> Path:
    """Where a run keeps its snapshot of a step."""
    return Path(run) / SNAPSHOTS / f"{step}.pth"


def run_of(snapshot: str | Path) -> Path:
    """The run folder that a snapshot lies in, or would lie in; links are followed."""
    return Path(snapshot).resolve().parent.parent


def average_path(run: str | Path, step: int) -> Path:
    """Where a run keeps the moving average of its weights after a step; no tool takes it for a snapshot by itself."""
    return Path(run) / SNAPSHOTS / f"ema_{step}.pth"


def prediction_path(run: str | Path, scan_id: str, label: int, support: str | None = None) -> Path:
    """Where a test run keeps the predicted mask of one scan and class; `support` where it tried several in turn."""
    folder = Path(run) / PREDICTIONS
    return (folder if support is None else folder / f"support_{support}") / f"scan_{scan_id}_label_{label}.nii.gz"


def read_results(run: str | Path) -> dict:
    """``results.json`` of a test run.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is not a JSON object.
    """
    return _read_object(Path(run) / RESULTS, "test this experiment first")


def method_of(results: Mapping[str, Any]) -> str:
    """One of `METHODS`; results that name none are of the time when there were prototypes alone."""
    return results.get("method") or PROTOTYPES


def read_scalars(run: str | Path) -> dict[str, tuple[list[int], list[float]]]:
    """Scalars of a run's ``metrics.json`` as {name: (steps, values)}.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is not sacred's table of scalars.
    """
    path = Path(run) / SCALARS
    try:
        table = _read_object(path, "train this experiment first")
        return {name: (list(entry["steps"]), list(entry["values"])) for name, entry in table.items()}
    except (TypeError, KeyError):
        raise ValueError(f"{path} is not a table of scalars {{name: {{steps, values}}}}; run again") from None


def last_step(folder: str | Path, earlier: Container[Path] = ()) -> int:
    """Step that the latest run of a training has last reported; 0 where none has.

    Args:
        folder: experiment folder.
        earlier: run folders that are not looked at.
    """
    for run in reversed(list_runs(folder)):
        if run in earlier:
            continue
        try:
            steps, _ = read_scalars(run).get("total_loss", ([], []))
        except (OSError, ValueError):
            continue
        return max(steps, default=0)
    return 0


def read_config(run: str | Path) -> dict:
    """``config.json`` of a run, its settings; empty where the run has none.

    Raises:
        ValueError: the file is not a JSON object.
    """
    path = Path(run) / CONFIG
    return _read_object(path, "run this experiment first") if path.is_file() else {}


def read_status(run: str | Path) -> dict:
    """``run.json`` of a run: status, host, code, package versions.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is not a JSON object.
    """
    return _read_object(Path(run) / STATUS, "run this experiment first")


def _read_object(path: Path, remedy: str) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {remedy}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not hold a JSON object (cut short?); {remedy.replace('first', 'again')}")
    return content
