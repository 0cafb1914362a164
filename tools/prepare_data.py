"""Prepare data for Stage 2."""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

from Stage2.datasets.catalog import get_dataset
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
    parser.add_argument("--dataset", required=True, help="CHAOST2 (MR) or SABS (CT): classes, foreground threshold")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write here, with links to images and labels")
    parser.add_argument("--scale", choices=list(SCALES), default="MIDDLE", help="superpixel scale (default MIDDLE)")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="processes (default: one for each core)",
    )
    parser.add_argument("--force", action="store_true", help="make everything anew, also files made by other programs")
    parser.set_defaults(run=make_superpixels)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_superpixels(parser.add_subparsers(required=True, metavar="COMMAND"))
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
