"""Draw figures: segmentations, volumes and losses of runs, superpixels, cells that Stage 1 matches,
images that it rebuilds, the method."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from Stage2.reporting.headings import check_distinct, headed_folder
from Stage2.reporting.runs import TestedRun, open_run, open_tested_run
from Stage2.run_folders.layout import SCALARS


def draw_segmentation(options: argparse.Namespace) -> None:
    """Write the grid: rows organs; columns support, one per method, ground truth."""
    methods: dict[str, list[TestedRun]] = {}
    for heading, folder in options.runs:
        methods.setdefault(heading, []).append(open_tested_run(folder))
    last = list(methods.values())[-1]
    data = scans_of(last[0], options.data)
    from Stage2.drawing.figures import save_figure, segmentation_figure
    from Stage2.reporting.cases import organ_row, organs_of_methods

    rows = {name: organ_row(data, methods, name, options.scan, options.outline) for name in organs_of_methods(methods)}
    results = last[0].results
    chosen = f"scan {options.scan}" if options.scan is not None else "the scan that the last column segments best"
    caption = f"{results['dataset'].removesuffix('_Superpix')}, {results['protocol']} protocol; {chosen}"
    if options.outline:
        caption += "; turquoise: outline of the expert's mask"
    save_figure(segmentation_figure(["support", *methods, "ground truth"], rows, caption), options.out)


def draw_volume(options: argparse.Namespace) -> None:
    """Write all slices of a tested scan, as a film or on one sheet."""
    run = open_tested_run(options.run)
    scan = options.scan or next((entry["scan"] for entry in run.results["scans"]), "")
    data = scans_of(run, options.data)
    from Stage2.drawing.figures import montage_figure, save_figure
    from Stage2.reporting.cases import volume_panels
    from Stage2.reporting.films import save_gif

    panels = volume_panels(data, run, scan)
    if options.out.suffix == ".gif":
        save_gif(panels, options.out)
    else:
        title = f"scan {scan}, {run.results['protocol']} protocol"
        save_figure(montage_figure(panels, list(run.results["class_means"]), title), options.out)


def draw_superpixels(options: argparse.Namespace) -> None:
    """Write slices of a scan with their superpixels."""
    from Stage2.drawing.figures import save_figure
    from Stage2.reporting.cases import superpixel_rows
    from Stage2.reporting.films import superpixel_figure

    rows = superpixel_rows(options.data, options.scan, options.scale, options.slices, options.count)
    save_figure(superpixel_figure(rows, f"scan {options.scan}, superpixels {options.scale}"), options.out)


def draw_losses(options: argparse.Namespace) -> None:
    """Write the loss curves: a panel for Stage 1, and one for each Stage 2 run."""
    from Stage2.reporting.curves import STAGE2_LOSSES, read_curves, read_stage1_losses

    stage1 = [] if options.stage1 is None else [("Stage 1: pre-training", options.stage1)]
    check_distinct([*stage1, *options.runs])
    panels = {heading: read_stage1_losses(folder) for heading, folder in stage1}
    for heading, folder in options.runs:
        panels[heading] = read_curves(open_run(folder, SCALARS), STAGE2_LOSSES)
    from Stage2.drawing.figures import save_figure
    from Stage2.reporting.charts import curve_figure

    save_figure(curve_figure(panels, size=(4.6, 3.4)), options.out)


def draw_correspondence(options: argparse.Namespace) -> None:
    """Write the figure of one image's matched cells."""
    from Stage1.correspondence import correspondence_figure, find_correspondence
    from Stage1.datasets import RandomViews
    from Stage1.datasets.images import read_given_image
    from Stage1.models.backbone import ResNetC5
    from Stage1.weights.backbones import backbone_weights, built_depth, load_backbone
    from Stage1.weights.checkpoints import read_checkpoint
    from Stage2.drawing.figures import save_figure

    weights = backbone_weights(read_checkpoint(options.checkpoint), options.checkpoint)
    backbone = ResNetC5(built_depth(weights, options.checkpoint))
    load_backbone(backbone, options.checkpoint)
    image = read_given_image(options.image)
    found = find_correspondence(backbone, image, RandomViews(image_size=options.image_size), options.seed)
    title = f"{options.checkpoint.name}, {options.image.name}"
    save_figure(correspondence_figure(image, found, title, options.lines), options.out)


def draw_reconstruction(options: argparse.Namespace) -> None:
    """Write what a masked pretext task rebuilds of images."""
    from Stage1.reconstruction import reconstruct, reconstruction_figure
    from Stage2.drawing.figures import save_figure

    panels = reconstruct(options.config, options.checkpoint, options.images, options.seed)
    names = [image.name for image in options.images]
    save_figure(reconstruction_figure(panels, names, options.checkpoint.name), options.out)


def draw_overview(options: argparse.Namespace) -> None:
    """Write the method's figure."""
    from Stage2.drawing.figures import save_figure
    from Stage2.reporting.method_figure import method_figure

    save_figure(method_figure(), options.out)


def scans_of(run: TestedRun, given: Path | None) -> Path:
    """The processed folder that was given, else the one that the run tested."""
    folder = given or run.data_folder()
    if folder is None:
        raise FileNotFoundError(f"the scans that {run.folder} tested are not where it found them; name them by --data")
    return folder


def at_least_one(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not possible; give a whole number, 1 or more")
    return int(text)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_help = "[HEADING=]FOLDER: a run folder, or an experiment folder (its latest run)"
    data_help = "processed folder that was tested (default: the one that the run's config.json names)"

    grid = commands.add_parser("segmentation", help="grid of slices: support, predictions of methods, ground truth")
    grid.add_argument("runs", nargs="+", type=headed_folder, metavar="RUN", help=f"{run_help}; tests of other organs "
                      "or folds under the same heading share its column")  # fmt: skip
    grid.add_argument("--data", type=Path, help=data_help)
    grid.add_argument("--scan", help="id of the query scan (default: for every organ the one that the last column "
                      "segments best)")  # fmt: skip
    grid.add_argument("--outline", action="store_true", help="draw the outline of the expert's mask on predictions")
    grid.set_defaults(draw=draw_segmentation)

    volume = commands.add_parser("volume", help="all slices of a tested scan, as a film (.gif) or on one sheet (.png)")
    volume.add_argument("run", type=Path, metavar="RUN", help="a run folder, or an experiment folder (its latest run)")
    volume.add_argument("--data", type=Path, help=data_help)
    volume.add_argument("--scan", help="id of the scan (default: the first that was tested)")
    volume.set_defaults(draw=draw_volume)

    superpixels = commands.add_parser("superpixels", help="slices of a scan and their superpixels")
    superpixels.add_argument("data", type=Path, metavar="DATA", help="processed folder with superpixels")
    superpixels.add_argument("--scan", required=True, help="id of the scan")
    superpixels.add_argument("--scale", default="MIDDLE", help="of the superpixels, MIDDLE or SMALL (default MIDDLE)")
    superpixels.add_argument("--slices", type=int, nargs="+", metavar="Z", help="slices to draw")
    superpixels.add_argument("--count", type=at_least_one, default=3, help="else this many, evenly spaced (default 3)")
    superpixels.set_defaults(draw=draw_superpixels)

    losses = commands.add_parser("losses", help="loss curves of Stage 1 and Stage 2 trainings")
    losses.add_argument("runs", nargs="*", type=headed_folder, metavar="RUN", help=run_help)
    losses.add_argument("--stage1", type=Path, help="work_dir of a Stage 1 training, or its scalars.json")
    losses.set_defaults(draw=draw_losses)

    cells = commands.add_parser("correspondence", help="cells that Stage 1 matches between two views of an image")
    cells.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint of Stage 1, or a ResNet file")
    cells.add_argument("image", type=Path, metavar="IMAGE", help="JPEG or PNG file")
    cells.add_argument("--image-size", type=int, default=224, help="side of both views in pixels (default 224)")
    cells.add_argument("--lines", type=int, default=16, help="matches to draw, the most similar ones (default 16)")
    cells.add_argument("--seed", type=int, default=0, help="decides the two views (default 0)")
    cells.set_defaults(draw=draw_correspondence)

    rebuilt = commands.add_parser("reconstruction", help="what MAE or SimMIM rebuilds of the hidden parts of images")
    rebuilt.add_argument("config", type=Path, metavar="CONFIG", help="config of the run, best the one in its folder")
    rebuilt.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint of the run")
    rebuilt.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG or PNG files")
    rebuilt.add_argument("--seed", type=int, default=0, help="decides what is hidden (default 0)")
    rebuilt.set_defaults(draw=draw_reconstruction)

    overview = commands.add_parser("overview", help="the method in one figure (docs/method.png)")
    overview.set_defaults(draw=draw_overview)
    for command in (grid, volume, superpixels, losses, cells, rebuilt, overview):
        command.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args(arguments)
    suffixes = (".png", ".gif") if options.command == "volume" else (".png",)
    if options.out.suffix not in suffixes:
        parser.error(f"--out {options.out}: expected a name that ends in {' or '.join(suffixes)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        options.draw(options)
    except (OSError, ValueError) as error:
        print(f"visualize.py: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
