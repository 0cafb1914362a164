"""Prepare data for Stage 1 and Stage 2."""

import argparse
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from Stage1.cluster import LAUNCHERS, count_places, ray_cluster, run_jobs_over
from Stage1.command_line import add_workers, count_cores, positive, run_tool
from Stage1.processes import run_jobs
from Stage2.datasets.catalog import SUPERPIXEL_SCALES
from Stage2.datasets.dataset_file import is_dataset_file

AGAIN = "Run again, it goes on where it stopped; with all there, it does nothing."


def dataset_file(text: str) -> str:
    if not is_dataset_file(text):
        raise argparse.ArgumentTypeError(f"found {text}, expected the name of a .yaml file")
    return text


Option = tuple[str, dict[str, Any]]  # name of an argument, and what argparse is told of it


def option(name: str, help: str, **settings: Any) -> Option:
    return name, {"help": help, **settings}


def source(what: str) -> Option:
    return option("source", what, type=Path, metavar="SRC")


def flag(name: str, help: str) -> Option:
    return option(name, help, action="store_true")


KIND = option("config", "chaos, sabs or CONFIG.yaml", metavar="KIND")
CONFIG = option("config", "file with a part `preparation`", metavar="CONFIG.yaml", type=dataset_file)
TARGET = option("out", "folder to make or to complete", type=Path, metavar="DST")
FOLDER = option("folder", "processed folder; may be read-only with --out", type=Path, metavar="FOLDER")
DATA_SET = option("--dataset", "CHAOST2 (MR), SABS (CT) or FILE.yaml: what the folder is", required=True)
OUT = option("--out", "write here, not into FOLDER; all but check: with links to its files", type=Path, metavar="DIR")
SCALES = list(SUPERPIXEL_SCALES)  # those of supervoxels have the same names
SCALE = option("--scale", "of superpixels and supervoxels (default MIDDLE)", choices=SCALES, default="MIDDLE")
BLANK = flag("--drop-blank-slice", "leave out the blank last slice that resampling often adds (published: kept)")
DRY_RUN = flag("--dry-run", "say what would be made, and write nothing")
FORCE = flag("--force", "make everything anew, also if made with other settings or by other programs")


# Name, function of `Stage2.preparation.commands` that does it, help, description, epilog, arguments besides --workers.
COMMANDS = (
    *(
        (
            kind,
            "prepare_all",
            f"{name} from the download to a checked folder, all steps",
            f"Convert, normalise, make superpixels and class maps of {name}, and check the result.",
            AGAIN,
            (source(f"{archive}, or the folder it unpacks to"), TARGET, BLANK, SCALE, DRY_RUN, FORCE),
        )
        for kind, name, archive in (("chaos", "CHAOST2", "CHAOS_Train_Sets.zip"), ("sabs", "SABS", "RawData.zip"))
    ),
    (
        "custom",
        "prepare_all",
        "a data set of your own (NIfTI, NRRD, MetaImage, DICOM series) to a checked folder, all steps",
        "Do for a data set that a YAML file describes (docs/datasets.md) what chaos and sabs do.",
        AGAIN,
        (CONFIG, source("folder or zip archive with the raw data"), TARGET, SCALE, DRY_RUN, FORCE),
    ),
    (
        "roco",
        "make_roco",
        "a flat folder of ROCO's readable radiology images",
        "Link, copy or shrink the images of train/radiology/images in an unpacked ROCO data set, or all images of a "
        "folder without it, into one flat folder. Each is decoded to its end; those that cannot be are left out and "
        "listed in unreadable.txt.",
        "Run again, it goes on where it stopped and makes what is new or has changed.",
        (
            source("the unpacked data set"),
            TARGET,
            option("--mode", "symbolic links (default) or copies", choices=["link", "copy"], default="link"),
            option("--longest-side", "shrink larger images to N pixels (default: not)", type=positive, metavar="N"),
            FORCE,
        ),
    ),
    (
        "convert",
        "make_raw_step",
        "single step: a download as image_<id>.nii.gz and label_<id>.nii.gz, on their own grids",
        "Write each scan of a download as NIfTI, with labels as numbers of the classes; intensities, spacing and size "
        "stay.",
        AGAIN,
        (KIND, source("the download, a folder or a zip archive"), TARGET, DRY_RUN, FORCE),
    ),
    (
        "normalise",
        "make_raw_step",
        "single step: intensities, spacing and slices of 256 x 256 for a converted folder",
        "Do to a converted folder what its data set asks for: window or percentile, resampling, crop.",
        AGAIN,
        (KIND, source("folder that convert made"), TARGET, BLANK, DRY_RUN, FORCE),
    ),
    (
        "superpixels",
        "make_pseudo_labels",
        "superpixels, foreground masks and class maps for a processed folder",
        "Make superpix-<scale>_<id>.nii.gz, fgmask_<id>.nii.gz, classmap_1.json and classmap_100.json for a folder of "
        "image_<id>.nii.gz and label_<id>.nii.gz (256 x 256 slices). Class maps need the labels; without any they are "
        "skipped.",
        "Run again, it makes what is missing or older than its image: nothing, if all is there.",
        (FOLDER, DATA_SET, OUT, SCALE, FORCE),
    ),
    (
        "supervoxels",
        "make_pseudo_labels",
        "supervoxels, for training with episodes=supervoxel",
        "Make supervox-<scale>_<id>.nii.gz, which reach through slices, and what the command superpixels makes beside "
        "its own files: fgmask_<id>.nii.gz, and class maps where there are labels.",
        "Run again, it makes what is missing or older than its image: nothing, if all is there.",
        (FOLDER, DATA_SET, OUT, SCALE, FORCE),
    ),
    (
        "classmap",
        "make_pseudo_labels",
        "single step: class maps of a processed folder with labels",
        "Make classmap_1.json and classmap_100.json; the command superpixels makes them as well.",
        "Run again, it makes them only if they are older than a label.",
        (FOLDER, DATA_SET, FORCE),
    ),
    (
        "check",
        "check",
        "whether a processed folder is complete and sound",
        "Read every file of a processed folder and say what is wrong: sizes, spacing, orientation, label values, empty "
        "classes, superpixels, supervoxels if there are any, intensities, class maps, folds. Writes check.json and a "
        "contact sheet for every scan: its slices with label contours and borders of superpixels and supervoxels.",
        "The exit status is 1 where anything is wrong. Notes tell what is unusual but may be right.",
        (FOLDER, DATA_SET, OUT, SCALE),
    ),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, work, help, description, epilog, arguments_of in COMMANDS:
        one = commands.add_parser(command, help=help, description=description, epilog=epilog)
        # What other commands have arguments for; those of this one set their own defaults after these.
        one.set_defaults(command=command, work=work, config=command, out=None, scale="MIDDLE", drop_blank_slice=False)
        one.set_defaults(launcher="serial")
        for name, settings in arguments_of:
            one.add_argument(name, **settings)
        add_workers(one, default=None)
        if work != "make_roco":
            what = "ray: processes on the machines of the Ray cluster that RAY_ADDRESS names, else of this machine"
            one.add_argument("--launcher", choices=LAUNCHERS, default="serial", help=what)
    options = parser.parse_args(arguments)

    def run() -> None:
        from Stage2.preparation import commands  # here, as it takes a second to load: --help need not wait for it

        with ray_cluster() if options.launcher == "ray" else nullcontext() as ray:
            options.run = partial(run_jobs_over, ray) if ray else run_jobs
            options.workers = options.workers or (count_places(ray, cores=1) if ray else count_cores())
            getattr(commands, options.work)(options)

    return run_tool("prepare_data.py", run)


if __name__ == "__main__":
    sys.exit(main())
