"""Commands that lead from a downloaded data set to a folder for training, in one go or step by step."""

import argparse
import logging
import time
from pathlib import Path

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.dataset_file import is_dataset_file
from Stage2.preparation.check_command import check_and_tell, is_checked
from Stage2.preparation.data_sets import KINDS, RawDataSet, get_raw_data_set, list_converted_scans
from Stage2.preparation.options import add_workers
from Stage2.preparation.raw.scan import RawScan
from Stage2.preparation.raw.source import open_source
from Stage2.preparation.steps.convert import Plan, make_folder, plan_folder
from Stage2.preparation.steps.pseudo_labels import SCALES
from Stage2.preparation.steps.superpixels import prepare_folder
from Stage2.preparation.steps.transform import Recipe

logger = logging.getLogger("prepare_data")

_AGAIN = "Run again, it goes on where it stopped; with all there, it does nothing."


def add_data_sets(commands: argparse._SubParsersAction) -> None:
    for kind, archive in (("chaos", "CHAOS_Train_Sets.zip"), ("sabs", "RawData.zip")):
        parser = commands.add_parser(
            kind,
            help=f"{KINDS[kind]} from the download to a checked folder, all steps",
            description=f"Convert, normalise, make superpixels and class maps of {KINDS[kind]}, and check the result.",
            epilog=_AGAIN,
        )
        _add_source(parser, f"{archive}, or the folder it unpacks to")
        _add_blank_slice(parser)
        _add_all_steps(parser)
        parser.set_defaults(config=kind)
    parser = commands.add_parser(
        "custom",
        help="a data set of your own (NIfTI, NRRD, MetaImage, DICOM series) to a checked folder, all steps",
        description="Do for a data set that a YAML file describes (docs/datasets.md) what chaos and sabs do.",
        epilog=_AGAIN,
    )
    parser.add_argument("config", type=dataset_file, metavar="CONFIG.yaml", help="file with a part `preparation`")
    _add_source(parser, "folder or zip archive with the raw data")
    _add_all_steps(parser)
    parser.set_defaults(drop_blank_slice=False)


def add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="single step: a download as image_<id>.nii.gz and label_<id>.nii.gz, on their own grids",
        description="Write each scan of a download as NIfTI, with labels as numbers of the classes; intensities, "
        "spacing and size stay.",
        epilog=_AGAIN,
    )
    parser.add_argument("config", metavar="KIND", help="chaos, sabs or CONFIG.yaml")
    _add_source(parser, "the download, a folder or a zip archive")
    _add_common(parser)
    parser.set_defaults(run=convert)


def add_normalise(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "normalise",
        help="single step: intensities, spacing and slices of 256 x 256 for a converted folder",
        description="Do to a converted folder what its data set asks for: window or percentile, resampling, crop.",
        epilog=_AGAIN,
    )
    parser.add_argument("config", metavar="KIND", help="chaos, sabs or CONFIG.yaml")
    _add_source(parser, "folder that convert made")
    _add_blank_slice(parser)
    _add_common(parser)
    parser.set_defaults(run=normalise)


def add_classmap(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "classmap",
        help="single step: class maps of a processed folder with labels",
        description="Make classmap_1.json and classmap_100.json; the command superpixels makes them as well.",
        epilog="Run again, it makes them only if they are older than a label.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="processed folder with labels")
    parser.add_argument("--dataset", required=True, help="CHAOST2 (MR), SABS (CT) or FILE.yaml: classes")
    add_workers(parser)
    parser.add_argument("--force", action="store_true", help="make them anew")
    parser.set_defaults(run=make_class_maps)


def prepare_all(options: argparse.Namespace) -> None:
    """From a download to a checked folder."""
    started = time.monotonic()
    raw = _raw_data_set(options)
    scans = raw.list_scans(open_source(options.source))
    _tell_of_count(scans, raw.data_set)
    plan = plan_folder(scans, options.out, raw.data_set.name, raw.recipe, force=options.force)
    if options.dry_run:
        _tell_of_plan(plan, f"Then superpixels ({options.scale}), class maps and check.")
        return
    make_folder(plan, raw.recipe, workers=options.workers, show_progress=True)
    made = len(plan.to_make)
    summary = prepare_folder(
        options.out,
        raw.data_set,
        scale=options.scale,
        workers=options.workers,
        force=options.force,
        show_progress=True,
    )
    logger.info(
        "%s: %d scan(s) and superpixels of %d made, %d there already; class maps %s (%.1f s)",
        options.out,
        made,
        summary.made,
        summary.scans - made,
        summary.class_maps,
        time.monotonic() - started,
    )
    if made or summary.made or summary.class_maps == "made" or not is_checked(options.out, options.scale):
        check_and_tell(options.out, raw.data_set, scale=options.scale, workers=options.workers)
    else:
        logger.info("%s was sound when it was checked, and no file has changed since.", options.out)


def convert(options: argparse.Namespace) -> None:
    raw = get_raw_data_set(options.config)
    scans = raw.list_scans(open_source(options.source))
    _tell_of_count(scans, raw.data_set)
    _do_step(options, scans, raw.data_set, None)


def normalise(options: argparse.Namespace) -> None:
    raw = _raw_data_set(options)
    source = open_source(options.source)
    _do_step(options, list_converted_scans(source, raw.data_set), raw.data_set, raw.recipe)


def make_class_maps(options: argparse.Namespace) -> None:
    summary = prepare_folder(
        options.folder,
        get_dataset(options.dataset),
        workers=options.workers,
        force=options.force,
        superpixels=False,
    )
    if summary.class_maps == "skipped":
        raise FileNotFoundError(f"{options.folder} has no label_<id>.nii.gz; class maps need the labels.")
    logger.info("%s: class maps of %d scan(s) %s", options.folder, summary.scans, summary.class_maps)


def dataset_file(text: str) -> str:
    if not is_dataset_file(text):
        raise argparse.ArgumentTypeError(f"found {text}, expected the name of a .yaml file")
    return text


def _raw_data_set(options: argparse.Namespace) -> RawDataSet:
    raw = get_raw_data_set(options.config)
    return raw.dropping_blank_slices() if options.drop_blank_slice else raw


def _do_step(options: argparse.Namespace, scans: list[RawScan], data_set: DataSet, recipe: Recipe | None) -> None:
    plan = plan_folder(scans, options.out, data_set.name, recipe, force=options.force)
    if options.dry_run:
        _tell_of_plan(plan)
        return
    make_folder(plan, recipe, workers=options.workers, show_progress=True)
    made = len(plan.to_make)
    logger.info("%s: %d scan(s) made, %d there already", options.out, made, len(scans) - made)


def _tell_of_plan(plan: Plan, then: str = "") -> None:
    settings = plan.manifest.parameters.items()
    lines = [
        f"{plan.out}: {len(plan.to_make)} scan(s) to make of {len(plan.scans)} in {plan.scans[0].source.path}",
        *(f"  {name}: {value}" for name, value in settings if value not in (None, 0)),  # 0: a step left out
        *(f"  scan {scan.id} from {len(scan.files)} file(s): {scan.files[0]}" for scan in plan.to_make),
        f"{then} Nothing was written.".strip(),
    ]
    logger.info("%s", "\n".join(lines))


def _tell_of_count(scans: list[RawScan], data_set: DataSet) -> None:
    expected = data_set.fold_boundaries[-1]
    if len(scans) != expected:
        logger.warning(
            "WARNING: found %d scan(s), but the folds of %s are for %d; complete the download before training.",
            len(scans),
            data_set.name,
            expected,
        )


def _add_source(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("source", type=Path, metavar="SRC", help=what)
    parser.add_argument("out", type=Path, metavar="DST", help="folder to make or to complete")


def _add_blank_slice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drop-blank-slice",
        action="store_true",
        help="leave out the blank last slice that resampling often adds (the published folders have it)",
    )


def _add_all_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=list(SCALES), default="MIDDLE", help="superpixel scale (default MIDDLE)")
    _add_common(parser)
    parser.set_defaults(run=prepare_all)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_workers(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be made, and write nothing")
    parser.add_argument("--force", action="store_true", help="make everything anew, also if made with other settings")
