"""Draw figures: segmentations of test runs, loss curves, cells that Stage 1 matches, the method's overview."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from Stage1.checkpoints import backbone_weights, load_backbone, read_checkpoint, resnet_depth
from Stage1.correspondence import correspondence_figure, find_correspondence
from Stage1.datasets import RandomViews
from Stage1.datasets.images import UnreadableImageError, read_image
from Stage1.models import ResNetC5
from Stage2.datasets.folds import part_of_slice
from Stage2.datasets.volumes import SLICE_SIZE, read_volume
from Stage2.evaluation.figures import Curves, Panel, loss_figure, save_figure, segmentation_figure
from Stage2.evaluation.method_figure import method_figure
from Stage2.evaluation.report import load_results
from Stage2.run_folder import RESULTS, SCALARS, list_runs, prediction_path, read_scalars

STAGE1_LOSSES = {"loss": "total", "loss_contra_single": "global", "loss_contra_dense": "dense"}
STAGE2_LOSSES = {"query_loss": "query", "align_loss": "alignment"}


def find_run(folder: Path, file: str) -> Path:
    """The folder itself when it is a run that has the file, else the latest run of the experiment folder that has it.

    Raises:
        FileNotFoundError: there is none.
    """
    for run in (folder, *reversed(list_runs(folder))):
        if (run / file).is_file():
            return run
    raise FileNotFoundError(f"neither {folder} nor a run in it holds {file}; name a run folder or experiment folder")


def read_slice(path: Path, z: int) -> np.ndarray:
    """One axial slice of a volume, (256, 256), as radiologists see it: front up, right side on the left."""
    to_side, to_front = nibabel.aff2axcodes(nibabel.load(path).affine)[:2]
    picture = read_volume(path)[z, :SLICE_SIZE, :SLICE_SIZE]
    return picture[:: -1 if to_front == "A" else 1, :: -1 if to_side == "R" else 1]


def scan_entries(results: Mapping, class_name: str) -> dict[str, Mapping]:
    """Scan id -> its entry in ``results.json``, of one class; scans without the class are left out."""
    entries = (entry for entry in results["scans"] if entry["class"] == class_name)
    return {entry["scan"]: entry for entry in entries if entry["z_min"] is not None}


def stored_values(results: Mapping, label: int) -> list[int]:
    """Values that stand for a label in the label files of the data set that was tested."""
    mapping = results.get("label_values")
    return [label] if mapping is None else [int(value) for value, own in mapping.items() if own == label]


def organ_row(data: Path, runs: Mapping[str, tuple[Path, Mapping]], class_name: str, scan: str | None) -> list[Panel]:
    """Panels of one organ: a slice of the (first) support scan, every run's prediction, ground truth.

    The slice is the one of the scan where the organ is largest; the scan is the one that the last run segments best.

    Args:
        data: processed folder of the runs.
        runs: heading -> (run folder, its results), tests of one setting.
        class_name: the organ.
        scan: query scan; None: the last run's best.
    """
    results = list(runs.values())[-1][1]
    entries = scan_entries(results, class_name)
    if scan is None and entries:
        scan = max(entries, key=lambda name: -1.0 if entries[name]["dice"] is None else entries[name]["dice"])
    if scan not in entries:
        raise ValueError(f"scan {scan} was not tested for {class_name}; choose one of {', '.join(entries) or 'none'}")
    entry, support = entries[scan], results["support"][class_name][0]
    label, z_min, z_max = entry["label"], entry["z_min"], entry["z_max"]
    stored = stored_values(results, label)
    truth = np.isin(read_volume(data / f"label_{scan}.nii.gz")[:, :SLICE_SIZE, :SLICE_SIZE], stored)
    z = z_min + int(truth[z_min : z_max + 1].sum(axis=(1, 2)).argmax())
    support_z = support["slices"][part_of_slice(z, z_min, z_max, len(support["slices"]))]
    image = read_slice(data / f"image_{scan}.nii.gz", z)
    drawn = np.isin(read_slice(data / f"label_{scan}.nii.gz", z), stored)

    panels = [
        Panel(
            read_slice(data / f"image_{support['scan']}.nii.gz", support_z),
            drawn=np.isin(read_slice(data / f"label_{support['scan']}.nii.gz", support_z), stored),
            text=f"scan {support['scan']}, slice {support_z}",
        )
    ]
    for run, own_results in runs.values():
        own = scan_entries(own_results, class_name).get(scan)
        if own is None or own_results["support"][class_name][0] != support:
            raise ValueError(f"{run} has another support or other scans for {class_name}; draw tests of one setting")
        predicted = read_slice(prediction_path(run, scan, label), z) > 0
        dice = "undefined" if own["dice"] is None else f"{own['dice']:.2f}"
        panels.append(Panel(image, drawn=drawn, predicted=predicted, text=f"Dice of the scan {dice}"))
    panels.append(Panel(image, drawn=drawn, text=f"scan {scan}, slice {z}"))
    return panels


def draw_segmentation(data: Path, folders: Mapping[str, Path], out: Path, scan: str | None) -> None:
    """Write the grid: rows organs; columns support, one per run, ground truth."""
    found = {heading: find_run(folder, RESULTS) for heading, folder in folders.items()}
    runs = {heading: (run, load_results(run)) for heading, run in found.items()}
    last = list(runs.values())[-1][1]
    rows = {name: organ_row(data, runs, name, scan) for name in last["class_means"]}
    chosen = f"scan {scan}" if scan is not None else "the scan that the last run segments best"
    caption = (
        f"{last['dataset'].removesuffix('_Superpix')}, fold {last['fold']}, {last['protocol']} protocol; {chosen}\n"
        "green: true mask or its outline; orange: prediction"
    )
    save_figure(segmentation_figure(["support", *runs, "ground truth"], rows, caption), out)


def read_stage1_losses(path: Path) -> Curves:
    """Losses of a Stage 1 training: of a ``scalars.json`` (one JSON object a line), or of all those in its work folder.

    A training that was resumed left one file for each start; from its first step on, a later file counts.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no file holds a line with a loss.
    """
    files = [path] if path.is_file() else sorted(path.glob("*/vis_data/scalars.json"))
    if not files:
        raise FileNotFoundError(f"no */vis_data/scalars.json in {path}; name the work_dir of a Stage 1 training")
    entries: dict[int, Mapping] = {}
    for file in files:
        started = False
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a training that was killed leaves half a line
            if "loss" in entry:
                if not started:
                    entries = {step: earlier for step, earlier in entries.items() if step < entry["step"]}
                started = True
                entries[entry["step"]] = entry
    if not entries:
        raise ValueError(f"{files[-1]} holds no loss; it should have one JSON object a line with 'loss' and 'step'")
    curves = {}
    for name, heading in STAGE1_LOSSES.items():
        points = [(step, entry[name]) for step, entry in entries.items() if name in entry]
        if points:
            curves[heading] = tuple(map(list, zip(*points, strict=True)))
    return curves


def draw_losses(stage1: Path | None, stage2: Mapping[str, Path], out: Path) -> None:
    """Write the loss curves: a panel for Stage 1, and one for each Stage 2 run."""
    panels: dict[str, Curves] = {}
    if stage1 is not None:
        panels["Stage 1: pre-training"] = read_stage1_losses(stage1)
    for heading, folder in stage2.items():
        scalars = read_scalars(find_run(folder, SCALARS))
        panels[heading] = {text: scalars[name] for name, text in STAGE2_LOSSES.items() if name in scalars}
    save_figure(loss_figure(panels), out)


def draw_correspondence(options: argparse.Namespace) -> None:
    """Write the figure of one image's matched cells."""
    weights = backbone_weights(read_checkpoint(options.checkpoint), options.checkpoint)
    backbone = ResNetC5(resnet_depth(weights))
    load_backbone(backbone, options.checkpoint)
    try:
        image = read_image(options.image)
    except UnreadableImageError as error:
        raise ValueError(f"found an unreadable image {options.image} ({error}); give a JPEG or PNG file") from error
    found = find_correspondence(backbone, image, RandomViews(image_size=options.image_size), options.seed)
    title = f"{options.checkpoint.name}, {options.image.name}"
    save_figure(correspondence_figure(image, found, title, options.lines), options.out)


def headed_folder(text: str) -> tuple[str, Path]:
    """``HEADING=FOLDER`` as (heading, folder); without a heading the folder's name is one."""
    heading, separator, folder = text.rpartition("=")
    return (heading, Path(folder)) if separator else (Path(folder).name, Path(folder))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_help = "[HEADING=]FOLDER: a run folder, or an experiment folder (its latest run)"

    grid = commands.add_parser("segmentation", help="grid of slices: support, predictions of test runs, ground truth")
    grid.add_argument("runs", nargs="+", type=headed_folder, metavar="RUN", help=run_help)
    grid.add_argument("--data", type=Path, required=True, help="processed folder that the runs were tested on")
    grid.add_argument("--scan", help="id of the query scan (default: the one that the last run segments best)")

    losses = commands.add_parser("losses", help="loss curves of Stage 1 and Stage 2 trainings")
    losses.add_argument("runs", nargs="*", type=headed_folder, metavar="RUN", help=run_help)
    losses.add_argument("--stage1", type=Path, help="work_dir of a Stage 1 training, or its scalars.json")

    cells = commands.add_parser("correspondence", help="cells that Stage 1 matches between two views of an image")
    cells.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint of Stage 1, or a ResNet file")
    cells.add_argument("image", type=Path, metavar="IMAGE", help="JPEG or PNG file")
    cells.add_argument("--image-size", type=int, default=224, help="side of both views in pixels (default 224)")
    cells.add_argument("--lines", type=int, default=16, help="matches to draw, the most similar ones (default 16)")
    cells.add_argument("--seed", type=int, default=0, help="decides the two views (default 0)")

    overview = commands.add_parser("overview", help="the method in one figure (docs/method.png)")
    for command in (grid, losses, cells, overview):
        command.add_argument("--out", type=Path, required=True, help="PNG file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        if options.command == "segmentation":
            draw_segmentation(options.data, dict(options.runs), options.out, options.scan)
        elif options.command == "losses":
            draw_losses(options.stage1, dict(options.runs), options.out)
        elif options.command == "correspondence":
            draw_correspondence(options)
        else:
            save_figure(method_figure(), options.out)
    except (OSError, ValueError) as error:
        print(f"visualize.py: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
