"""The command `check`, and how every command that makes a processed folder tells of its state."""

import argparse
import json
import logging
from pathlib import Path

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.io.names import SUFFIX, class_maps_of
from Stage2.preparation.check.folder import REPORT, SHEETS, check_folder
from Stage2.preparation.options import add_workers
from Stage2.preparation.steps.pseudo_labels import SCALES

logger = logging.getLogger("prepare_data")


def add_check(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "check",
        help="whether a processed folder is complete and sound",
        description="Read every file of a processed folder and say what is wrong: sizes, spacing, orientation, label "
        "values, empty classes, superpixels, intensities, class maps, folds. Writes check.json and a contact sheet for "
        "every scan: its slices with label contours and superpixel borders.",
        epilog="The exit status is 1 where anything is wrong. Notes tell what is unusual but may be right.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="processed folder; may be read-only with --out")
    parser.add_argument("--dataset", required=True, help="CHAOST2 (MR), SABS (CT) or FILE.yaml: what it should be")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write check.json and contact_sheets/ here")
    parser.add_argument("--scale", choices=list(SCALES), default="MIDDLE", help="superpixel scale (default MIDDLE)")
    add_workers(parser)
    parser.set_defaults(run=_check)


def check_and_tell(folder: Path, data_set: DataSet, *, scale: str, workers: int, out: Path | None = None) -> None:
    """Check a folder as `check_folder` does, and log what was found.

    Raises:
        FileNotFoundError, OSError: as `check_folder`.
        ValueError: the folder has problems; all are logged before.
    """
    report = check_folder(folder, data_set, scale=scale, workers=workers, out=out, show_progress=True)
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


def is_checked(folder: Path, scale: str) -> bool:
    """Whether check.json says that the folder is sound, with superpixels of this scale, and no file is newer."""
    report = folder / REPORT
    try:
        content = json.loads(report.read_text())
        sound = content["sound"] is True and content["superpixel_scale"] == scale
    except (OSError, ValueError, KeyError, TypeError):
        return False
    files = (*folder.glob(f"*{SUFFIX}"), *class_maps_of(folder))
    return sound and max(path.stat().st_mtime_ns for path in files) <= report.stat().st_mtime_ns


def _check(options: argparse.Namespace) -> None:
    data_set = get_dataset(options.dataset)
    check_and_tell(options.folder, data_set, scale=options.scale, workers=options.workers, out=options.out)
