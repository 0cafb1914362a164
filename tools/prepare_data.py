"""Prepare data for Stage 1 and Stage 2."""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

from Stage2.datasets.catalog import get_dataset
from Stage2.preparation.check import REPORT, SHEETS, CheckReport, check_folder
from Stage2.preparation.folder import prepare_folder
from Stage2.preparation.pseudo_labels import SCALES

logger = logging.getLogger("prepare_data")


def make_superpixels(options: argparse.Namespace) -> None:
    started = time.monotonic()
    summary = prepare_folder(
        options.folder,
        get_dataset(options.dataset),
        out=options.out,
        scale=options.scale,
        workers=options.workers,
        force=options.force,
        show_progress=True,
    )
    logger.info(
        "%s: superpixels of %d scan(s) made, %d there already; class maps %s (%.1f s)",
        options.out or options.folder,
        summary.made,
        summary.scans - summary.made,
        "skipped, as there are no labels" if summary.class_maps == "skipped" else summary.class_maps,
        time.monotonic() - started,
    )


def check(options: argparse.Namespace) -> None:
    report = check_folder(
        options.folder,
        get_dataset(options.dataset),
        scale=options.scale,
        workers=options.workers,
        out=options.out,
        show_progress=True,
    )
    report_check(report, options.out or options.folder)


def report_check(report: CheckReport, place: Path) -> None:
    """Log what a check found.

    Raises:
        ValueError: the folder has problems; all are logged before.
    """
    for line in report.summary():
        logger.info("%s", line)
    for note in report.notes:
        logger.info("note: %s", note)
    for problem in report.problems:
        logger.error("problem: %s", problem)
    if report.problems:
        raise ValueError(f"{report.folder} has {len(report.problems)} problem(s), listed above and in {place / REPORT}")
    logger.info("%s is sound: %s, contact sheets in %s", report.folder, place / REPORT, place / SHEETS)


def make_roco(options: argparse.Namespace) -> None:
    # Here, as it loads PyTorch and MMEngine: seconds that the other command need not wait.
    from Stage1.datasets.roco import prepare_roco

    started = time.monotonic()
    summary = prepare_roco(
        options.source,
        options.out,
        mode=options.mode,
        longest_side=options.longest_side,
        workers=options.workers,
        force=options.force,
        show_progress=True,
    )
    seconds = time.monotonic() - started
    checked = summary.made + summary.unreadable
    logger.info(
        "%s: %d image(s) made, %d there already, %d unreadable (%.1f s, %.0f images/s)",
        options.out,
        summary.made,
        summary.kept,
        summary.unreadable,
        seconds,
        checked / seconds,
    )


def add_superpixels(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "superpixels",
        help="superpixels, foreground masks and class maps for a processed folder",
        description="Make superpix-<scale>_<id>.nii.gz, fgmask_<id>.nii.gz, classmap_1.json and classmap_100.json for "
        "a folder of image_<id>.nii.gz and label_<id>.nii.gz (256 x 256 slices). Class maps need the labels; without "
        "any they are skipped.",
        epilog="Run again, it makes what is missing or older than its image: nothing, if all is there.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="processed folder; may be read-only with --out")
    parser.add_argument("--dataset", required=True, help="CHAOST2 (MR), SABS (CT) or FILE.yaml: classes, threshold")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write here, with links to images and labels")
    parser.add_argument("--scale", choices=list(SCALES), default="MIDDLE", help="superpixel scale (default MIDDLE)")
    add_workers(parser)
    parser.add_argument("--force", action="store_true", help="make everything anew, also files made by other programs")
    parser.set_defaults(run=make_superpixels)


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
    parser.set_defaults(run=check)


def add_roco(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "roco",
        help="a flat folder of ROCO's readable radiology images",
        description="Link, copy or shrink the images of train/radiology/images in an unpacked ROCO data set, or all "
        "images of a folder without it, into one flat folder. Each is decoded to its end; those that cannot be are "
        "left out and listed in unreadable.txt.",
        epilog="Run again, it goes on where it stopped and makes what is new or has changed.",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="the unpacked data set")
    parser.add_argument("out", type=Path, metavar="DST", help="folder to make, such as data/roco")
    parser.add_argument("--mode", choices=["link", "copy"], default="link", help="symbolic links (default) or copies")
    parser.add_argument(
        "--longest-side", type=positive, metavar="N", help="shrink larger images to N pixels (default: as they are)"
    )
    add_workers(parser)
    parser.add_argument("--force", action="store_true", help="make everything anew, also if made with other settings")
    parser.set_defaults(run=make_roco)


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=positive,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="processes (default: one for each core)",
    )


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 1 up")
    return number


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_roco(commands)
    add_superpixels(commands)
    add_check(commands)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        print(f"prepare_data.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare_data.py: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
