"""What the commands of tools/prepare_data.py do, from a downloaded data set to a folder for training.

What a dry run does not need is imported where it is used.
"""

import argparse
import json
import logging
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from Stage1.files import locked
from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.io import names
from Stage2.preparation.data_sets import RawDataSet, get_raw_data_set, list_converted_scans
from Stage2.preparation.raw.scan import RawScan
from Stage2.preparation.raw.source import open_source
from Stage2.preparation.steps.convert import Plan, expect_apart, make_folder, plan_folder

logger = logging.getLogger("prepare_data")


def prepare_all(options: argparse.Namespace) -> None:
    """From a download to a checked folder."""
    started = time.monotonic()
    raw, scans = _raw_scans(options)
    with _one_writer(options.out, options.dry_run):
        plan = _plan(options, raw, scans, f"Then superpixels ({options.scale}), class maps and check.")
        if options.dry_run:
            return
        from Stage2.preparation.steps.superpixels import prepare_folder

        how = {"workers": options.workers, "show_progress": True, "run": options.run}
        made, settings = make_folder(plan, **how), {"scale": options.scale, **how}
        summary = prepare_folder(options.out, raw.data_set, force=options.force, **settings)
        logger.info(
            "%s: %d scan(s) and superpixels of %d made, %d there already; class maps %s (%.1f s)",
            options.out, made, summary.made, summary.scans - made, summary.class_maps, time.monotonic() - started,
        )  # fmt: skip
        is_new = made or summary.made or summary.class_maps == "made"
        if is_new or not _is_checked(options.out, raw.data_set, options.scale):
            _check_and_tell(options.out, raw.data_set, None, **settings)
        else:
            logger.info("%s was sound when it was checked, and no file has changed since.", options.out)


def make_raw_step(options: argparse.Namespace) -> None:
    """Convert a download, or normalise a converted folder."""
    raw, scans = _raw_scans(options)
    with _one_writer(options.out, options.dry_run):
        plan = _plan(options, raw, scans)
        if not options.dry_run:
            made = make_folder(plan, workers=options.workers, show_progress=True, run=options.run)
            logger.info("%s: %d scan(s) made, %d there already", options.out, made, len(scans) - made)


def make_pseudo_labels(options: argparse.Namespace) -> None:
    """Superpixels or supervoxels, body masks and class maps, or class maps alone."""
    from Stage2.datasets.pseudo_labels import PseudoLabels
    from Stage2.preparation.steps.superpixels import prepare_folder

    started = time.monotonic()
    target, data_set = options.out or options.folder, get_dataset(options.dataset)
    labels = None if options.command == "classmap" else PseudoLabels(options.command)
    with _one_writer(target, not _can_hold(options)):
        summary = prepare_folder(
            options.folder, data_set, out=options.out, scale=options.scale, workers=options.workers,
            force=options.force, show_progress=True, labels=labels, run=options.run,
        )  # fmt: skip
    if labels is not None:
        logger.info(
            "%s: %s of %d scan(s) made, %d there already; class maps %s (%.1f s)",
            target, labels.value, summary.made, summary.scans - summary.made,
            "skipped, as there are no labels" if summary.class_maps == "skipped" else summary.class_maps,
            time.monotonic() - started,
        )  # fmt: skip
    elif summary.class_maps == "skipped":
        lacking = names.volume_name(names.LABEL, "<id>")
        raise FileNotFoundError(f"{target} has no {lacking}; class maps need the labels.")
    else:
        logger.info("%s: class maps of %d scan(s) %s", target, summary.scans, summary.class_maps)


def check(options: argparse.Namespace) -> None:
    """Say whether a processed folder is complete and sound."""
    data_set = get_dataset(options.dataset)
    with _one_writer(options.out or options.folder, not _can_hold(options)):
        settings = {"scale": options.scale, "workers": options.workers, "show_progress": True, "run": options.run}
        _check_and_tell(options.folder, data_set, options.out, **settings)


def make_roco(options: argparse.Namespace) -> None:
    """A flat folder of readable images for Stage 1."""
    from Stage1.datasets.roco import prepare_roco

    started = time.monotonic()
    made, kept, unreadable = prepare_roco(
        options.source, options.out, options.mode, options.longest_side, options.workers, options.force, True
    )
    seconds = time.monotonic() - started
    logger.info(
        "%s: %d image(s) made, %d there already, %d unreadable (%.1f s, %.0f images/s)",
        options.out, made, kept, unreadable, seconds, (made + unreadable) / seconds,
    )  # fmt: skip


def _raw_scans(options: argparse.Namespace) -> tuple[RawDataSet, list[RawScan]]:
    """The raw data set that is asked for, and its scans in the source."""
    raw = get_raw_data_set(options.config, options.drop_blank_slice)
    source = open_source(options.source)
    expect_apart(options.out, source)
    if options.command == "normalise":
        return raw, list_converted_scans(source, raw.data_set)
    scans = raw.list_scans(source)
    expected = raw.data_set.fold_boundaries[-1]
    if len(scans) != expected:
        logger.warning(
            "WARNING: found %d scan(s), but the folds of %s are for %d; complete the download before training.",
            len(scans), raw.data_set.name, expected,
        )  # fmt: skip
    return raw, scans


def _one_writer(folder: Path, free: bool) -> AbstractContextManager:
    """The folder held against other processes, or left free, as nothing is written there or it cannot be."""
    return nullcontext() if free else locked(folder)


def _can_hold(options: argparse.Namespace) -> bool:
    """Whether there is a folder to hold; the commands tell of one that is absent or read-only."""
    return options.folder.is_dir() and (options.out is not None or os.access(options.folder, os.W_OK))


def _plan(options: argparse.Namespace, raw: RawDataSet, scans: list[RawScan], then: str = "") -> Plan:
    """What is to be done, said and not done in a dry run."""
    converted_only = options.command == "convert"
    reading = {} if options.command == "normalise" else raw.reading  # a converted folder holds numbers of classes
    plan = plan_folder(
        scans, options.out, raw.data_set.name, raw.transform, converted_only, reading=reading, force=options.force
    )
    if options.dry_run:
        settings = plan.manifest.parameters.items()
        lines = [
            f"{plan.out}: {len(plan.to_make)} scan(s) to make of {len(plan.scans)} in {plan.scans[0].source.path}",
            *(f"  {name}: {value}" for name, value in settings if value not in (None, 0)),  # 0: a step left out
            *(f"  scan {scan.id} from {len(scan.files)} file(s): {scan.files[0]}" for scan in plan.to_make),
            f"{then} Nothing was written.".strip(),
        ]
        logger.info("%s", "\n".join(lines))
    return plan


def _check_and_tell(folder: Path, data_set: DataSet, out: Path | None, **settings: object) -> None:
    """Check a folder as `check_folder` does, and log what was found.

    Raises:
        FileNotFoundError, OSError: as `check_folder`.
        ValueError: the folder has problems; all are logged before.
    """
    from Stage2.preparation.check.folder import REPORT, SHEETS, check_folder

    report = check_folder(folder, data_set, out=out, **settings)
    place = folder if out is None else out
    for line in report.summary():
        logger.info("%s", line)
    for note in report.notes:
        logger.info("note: %s", note)
    for problem in report.problems:
        logger.error("problem: %s", problem)
    if report.problems:
        raise ValueError(f"{folder} has {len(report.problems)} problem(s), listed above and in {place / REPORT}")
    logger.info("%s is sound: %s, contact sheets in %s", folder, place / REPORT, place / SHEETS)


def _is_checked(folder: Path, data_set: DataSet, scale: str) -> bool:
    """Whether check.json says that the folder is sound, with superpixels of this scale, and no file is newer.

    That of the data set counts too: its folds and classes may have changed.
    """
    from Stage2.preparation.check.folder import REPORT

    report = folder / REPORT
    try:
        content = json.loads(report.read_text())
        sound = content["sound"] is True and content["superpixel_scale"] == scale
    except (OSError, ValueError, KeyError, TypeError):
        return False
    files = [*folder.glob(names.volume_name("*", "*")), *names.class_maps_of(folder)]
    files += [data_set.source] if data_set.source is not None else []
    return sound and max(path.stat().st_mtime_ns for path in files) <= report.stat().st_mtime_ns
