"""Writes a trained segmenter as ONNX files, for use without this code: encoder.onnx, head.onnx and model.json.

Example: python tools/export_model.py exps/mine/.../snapshots/100100.pth exported --check image_1.nii.gz label_1.nii.gz
How to run the files: docs/export.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from Stage1.weights.checkpoints import read_checkpoint
from Stage2.datasets.volumes import Statistics
from Stage2.export.comparison import drawn_slices, read_slices
from Stage2.export.onnx_files import ENCODER_FILE, HEAD_FILE, export_segmenter
from Stage2.models.build import build_segmenter
from Stage2.models.checkpoints import encoder_of_snapshot
from Stage2.models.encoders import ENCODER_NAMES
from Stage2.models.few_shot import PROTOTYPE_KINDS
from Stage2.run_folders.layout import setting_of_snapshot
from Stage2.run_folders.selection import resolve_choice
from Stage2.runs.settings import DEFAULTS


def run(options: argparse.Namespace) -> None:
    snapshot = resolve_choice(options.snapshot).snapshot
    encoder = options.modelname or encoder_of_snapshot(read_checkpoint(snapshot)) or DEFAULTS["modelname"]
    prototypes = options.clsname or setting_of_snapshot(snapshot, "clsname") or DEFAULTS["clsname"]
    statistics = None if options.statistics is None else Statistics(*options.statistics)
    if options.label is not None and options.check is None:
        raise ValueError("--label names organs of the scan in --check IMAGE LABEL, which is missing; give both.")
    if statistics is not None and not statistics.std > 0:
        raise ValueError(f"--statistics has a standard deviation of {statistics.std}; expected a number above 0.")
    slices = drawn_slices() if options.check is None else read_slices(*options.check, options.label, statistics)
    model = build_segmenter(encoder, prototypes, "fp32", torch.device("cpu"), seed=0, snapshot=snapshot)
    print(f"Exporting {encoder}, {prototypes}, window {options.window}", flush=True)
    comparison = export_segmenter(
        model, options.window, options.out_dir, slices, snapshot=snapshot.name, statistics=statistics
    )
    print(comparison)
    sizes = [f"{name} ({(options.out_dir / name).stat().st_size / 1e6:.1f} MB)" for name in (ENCODER_FILE, HEAD_FILE)]
    print(f"Wrote {', '.join(sizes)} and model.json to {options.out_dir}")


def window(text: str) -> int:
    side = int(text)
    if side < 1 or 32 % side:
        raise argparse.ArgumentTypeError(f"{side} does not divide the feature grid's side, 32")
    return side


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=Path, help="snapshot of Stage 2, or a run folder: then its last one")
    parser.add_argument("out_dir", type=Path, help="folder to write; files of an earlier export in it are replaced")
    parser.add_argument("--modelname", choices=ENCODER_NAMES, help="encoder (default: told by the snapshot)")
    parser.add_argument(
        "--clsname", choices=PROTOTYPE_KINDS, help="head (default: that of the snapshot's run, or grid_proto)"
    )
    parser.add_argument(
        "--window", type=window, default=DEFAULTS["val_wsize"], help="pooling window (default %(default)s)"
    )
    parser.add_argument(
        "--statistics", nargs=2, type=float, metavar=("MEAN", "STD"),
        help="normalise by these, as for CT, and say so in model.json (default: each volume by its own)",
    )  # fmt: skip
    parser.add_argument(
        "--check", nargs=2, type=Path, metavar=("IMAGE", "LABEL"),
        help="processed scan to compare both implementations on (default: a drawn one)",
    )  # fmt: skip
    parser.add_argument("--label", nargs="+", type=int, metavar="N", help="labels of that scan (default: all)")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"export_model.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
