"""Prepare data for Stage 1 and Stage 2."""

import argparse
import logging
import sys
import time
from pathlib import Path

from Stage2.datasets.catalog import get_dataset
from Stage2.preparation.check_command import add_check
from Stage2.preparation.commands import add_classmap, add_convert, add_data_sets, add_normalise
from Stage2.preparation.options import add_workers, positive
from Stage2.preparation.steps.pseudo_labels import SCALES
from Stage2.preparation.steps.superpixels import prepare_folder

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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data_sets(commands)
    add_roco(commands)
    add_convert(commands)
    add_normalise(commands)
    add_superpixels(commands)
    add_classmap(commands)
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
