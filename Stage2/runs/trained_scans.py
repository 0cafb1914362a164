"""Which scans the network of a snapshot was trained on, as the run folders that made it tell."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.folds import ALL, ANY, DISJOINT, count_shots, split_fold
from Stage2.run_folders.layout import CONFIG, STATUS, read_config, read_status, run_of
from Stage2.run_folders.selection import run_with_snapshots

MOST_STEPS = 20  # from a snapshot back to the first training
FINE_TUNING = "finetuning"  # the entry point that trains on its support scans too

logger = logging.getLogger(__name__)


class TrainedOn(NamedTuple):
    """The scans of one training, and the settings that say so, in words."""

    scans: Sequence[str]
    settings: str


def check_untouched(snapshot: Path, data_set: DataSet, scan_ids: Sequence[str], tested: Sequence[str]) -> None:
    """Raise ValueError where the network of a snapshot was trained on scans that are to be tested.

    A snapshot whose run folder is gone tells nothing, and passes.

    Args:
        snapshot: the file.
        data_set: that is tested.
        scan_ids: all its scans.
        tested: the scans to test.
    """
    for run in runs_behind(snapshot):
        own = trained_on(run, data_set, scan_ids)
        touched = [scan for scan in tested if own is not None and scan in own.scans]
        if touched:
            raise ValueError(
                f"{snapshot} was trained on scans to be tested ({', '.join(touched)}), with {own.settings} in {run}; "
                "choose eval_fold, fold_scheme and support_idx so that they were left out, or train anew with those of "
                "this test."
            )


def runs_behind(snapshot: Path) -> Iterator[Path]:
    """The run folder that made a snapshot, the one that made the snapshot which that began from, and so on."""
    path: Path | None = snapshot
    for _ in range(MOST_STEPS):
        if path is None:
            return
        try:
            run = run_with_snapshots(path) if path.is_dir() else run_of(path)
        except FileNotFoundError:
            return
        if not (run / CONFIG).is_file():
            return
        yield run
        begun = read_config(run).get("reload_model_path")
        path = Path(begun) if isinstance(begun, str) and Path(begun).exists() else None


def trained_on(run: Path, data_set: DataSet, scan_ids: Sequence[str]) -> TrainedOn | None:
    """The scans of a training; None where it was on another data set, or nothing tells.

    Args:
        run: its folder.
        data_set: the one that is asked about.
        scan_ids: all scans of it.
    """
    config = read_config(run)
    try:
        if get_dataset(config["dataset"]).name != data_set.name:
            return None
        support_idx, scheme = config["support_idx"], config.get("fold_scheme", DISJOINT)
        fold = split_fold(scan_ids, data_set, config["eval_fold"], count_shots(support_idx), scheme)
        supports = fold.choose_support(support_idx) if _entry_point(run) == FINE_TUNING else []
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("%s does not tell which scans were trained on: %s", run / CONFIG, error)
        return None
    settings = f"eval_fold={config['eval_fold']}, fold_scheme={scheme}"
    return TrainedOn([*fold.train, *supports], settings + (f", support_idx={list(support_idx)}" if supports else ""))


def exclude_rule_of(snapshot: Path | None, own: str) -> str:
    """The rule by which trainings behind a snapshot left slices out: "all" where any did; `own` where none tells."""
    configs = [] if snapshot is None else [read_config(run) for run in runs_behind(snapshot)]
    if not configs:
        return own
    return ALL if any(own.get("exclude_cls_list") and own.get("exclude_rule") == ALL for own in configs) else ANY


def _entry_point(run: Path) -> str | None:
    return (read_status(run).get("experiment") or {}).get("name") if (run / STATUS).is_file() else None
