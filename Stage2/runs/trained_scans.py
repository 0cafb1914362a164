"""What the run folders behind a network tell: which scans it was trained on, without which slices, and how chosen."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.folds import ALL, ANY, DISJOINT, count_shots, split_fold
from Stage2.run_folders.layout import CONFIG, STATUS, read_config, read_status, run_of
from Stage2.run_folders.selection import TEST, Choice, place_in_log_folder, run_with_snapshots
from Stage2.runs.plain_config import with_present_names

MOST_STEPS = 20  # from a snapshot back to the first training
FINE_TUNING = "finetuning"  # the entry point that trains on its support scans too

logger = logging.getLogger(__name__)


class TrainedOn(NamedTuple):
    """The scans of one training, and the settings that say so, in words."""

    scans: Sequence[str]
    settings: str


def check_untouched(start: Path | None, data_set: DataSet, scan_ids: Sequence[str], tested: Sequence[str]) -> None:
    """Raise ValueError where the network that a test begins from was trained on scans that are to be tested.

    A file whose run folder is gone tells nothing, and passes.

    Args:
        start: the file, such as a snapshot; None: random weights.
        data_set: that is tested.
        scan_ids: all its scans.
        tested: the scans to test.
    """
    for run in runs_behind(start):
        own = trained_on(run, data_set, scan_ids)
        touched = [scan for scan in tested if own is not None and scan in own.scans]
        if touched:
            raise ValueError(
                f"{start} was trained on scans to be tested ({', '.join(touched)}), with {own.settings} in {run}; "
                "choose eval_fold, fold_scheme and support_idx so that they were left out, or train anew with those of "
                "this test."
            )


def check_no_test_labels(start: Choice | None, file: Path | None) -> None:
    """Raise ValueError where test labels chose the snapshot of a test, or one that a training behind it began from.

    Args:
        start: the snapshot, and how it was chosen.
        file: that the test begins from.
    """
    if start is not None and start.rule == TEST:
        raise ValueError(
            f"protocol=clean looks at no test label before scoring, but {start.snapshot} was chosen by them "
            f"(select={TEST}); choose select=train_scans or last."
        )
    for run in runs_behind(file):
        if _chosen_by_tests(run):
            raise ValueError(
                f"protocol=clean looks at no test label before scoring, but {run} began from a snapshot that was "
                f"chosen by them (select={TEST}); train it anew from one of select=train_scans or last."
            )


def runs_behind(start: Path | None) -> Iterator[Path]:
    """The run folder that made a file of weights, the one that made the file which that began from, and so on."""
    path = start
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
        path = _begun_from(run)


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


def exclusion_of(start: Path | None, data_set: DataSet, own: Sequence[int], rule: str) -> tuple[list[int], str]:
    """The classes whose slices all trainings behind a network left out, rising, and the rule: "all" where any had it.

    Args:
        start: the file that a test begins from; None: random weights.
        data_set: that is tested; trainings on others say nothing.
        own: what the test names itself, which counts where no training tells, and is warned about where it differs.
        rule: of the test.
    """
    configs = [config for run in runs_behind(start) if _is_of(config := read_config(run), data_set)]
    if not configs:
        return sorted(own), rule
    classes = sorted(set.intersection(*(set(config.get("exclude_cls_list") or ()) for config in configs)))
    if own and sorted(own) != classes:
        logger.warning("exclude_cls_list=%s, but %s was trained without slices of %s: that counts", own, start, classes)
    by_all = any(config.get("exclude_cls_list") and config.get("exclude_rule") == ALL for config in configs)
    return classes, ALL if by_all else ANY


def _begun_from(run: Path) -> Path | None:
    """What a training began from, where it lies or in the log folder of the run; None where it is gone."""
    config = read_config(run)
    begun = config.get("reload_model_path") or config.get("pretrained_backbone")
    if not isinstance(begun, str):
        return None
    places = (Path(begun), run.parent.parent.joinpath(*place_in_log_folder(begun)))
    return next((place for place in places if place.exists()), None)


def _chosen_by_tests(run: Path) -> bool:
    config = with_present_names(read_config(run))
    if (config.get("selection") or {}).get("rule") == TEST:
        return True
    begun = config.get("reload_model_path")
    by_rule = isinstance(begun, str) and (Path(begun).is_dir() or not Path(begun).suffix)  # a file is taken as it is
    return by_rule and config.get("select") == TEST


def _is_of(config: Mapping[str, Any], data_set: DataSet) -> bool:
    """Whether a training was on a data set; one that is not known any more may have been."""
    try:
        return get_dataset(config["dataset"]).name == data_set.name
    except (OSError, ValueError, TypeError, KeyError):
        return True


def _entry_point(run: Path) -> str | None:
    return (read_status(run).get("experiment") or {}).get("name") if (run / STATUS).is_file() else None
