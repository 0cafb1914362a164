"""Writes a trained segmenter as ONNX files, for use without this code: encoder.onnx, head.onnx and model.json.

An adapted network, as tools/adapt.py writes it, becomes network.onnx and model.json.

Example: python tools/export_model.py adapted.safetensors exported
    python tools/export_model.py exps/mine/.../snapshots/100100.pth exported --check image_1.nii.gz label_1.nii.gz
How to run the files: docs/export.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from Stage2.models.registry import ENCODERS, HEADS

WINDOW = 2
OF_SNAPSHOTS = ("modelname", "clsname", "window", "statistics", "check", "label")  # options that are for these alone


def run(options: argparse.Namespace) -> None:
    from Stage2.adaptation.network_file import names_adapted

    if names_adapted(options.snapshot):
        run_adapted(options)
    else:
        run_snapshot(options)


def run_adapted(options: argparse.Namespace) -> None:
    from Stage2.export.adapted_files import NETWORK_FILE, export_adapted
    from Stage2.inference.adapted_predictor import load_adapted

    given = [name for name in OF_SNAPSHOTS if getattr(options, name) is not None]
    if given:
        raise ValueError(
            f"--{given[0]} is for snapshots; {options.snapshot} is an adapted network, which says all itself: leave it "
            "out."
        )
    adapted = load_adapted(options.snapshot)
    print(f"Exporting an adapted {adapted.network.encoder_name}, labels {list(adapted.labels)}", flush=True)
    print(export_adapted(adapted, options.out_dir, name=options.snapshot.name))
    tell_of(options.out_dir, NETWORK_FILE)


def run_snapshot(options: argparse.Namespace) -> None:
    from Stage2.datasets.volumes import Statistics
    from Stage2.export.comparison import drawn_slices, read_slices
    from Stage2.export.onnx_files import ENCODER_FILE, HEAD_FILE, export_segmenter
    from Stage2.models.build import segmenter_of_snapshot
    from Stage2.run_folders.layout import read_config, run_of
    from Stage2.run_folders.selection import resolve_choice

    if options.label is not None and options.check is None:
        raise ValueError("--label names organs of the scan in --check IMAGE LABEL, which is missing; give both.")
    statistics = None if options.statistics is None else Statistics(*options.statistics)
    if statistics is not None and not statistics.can_normalise:
        raise ValueError(
            f"--statistics has the mean {statistics.mean} and the standard deviation {statistics.std}; expected "
            "numbers, the latter above 0."
        )
    snapshot = resolve_choice(options.snapshot).snapshot
    run_config = read_config(run_of(snapshot))
    model = segmenter_of_snapshot(
        snapshot, encoder_name=options.modelname, head_name=options.clsname, run_config=run_config
    )
    slices = drawn_slices() if options.check is None else read_slices(*options.check, options.label, statistics)
    side = WINDOW if options.window is None else options.window
    print(f"Exporting {model.encoder.name}, {model.head_name}, window {side}", flush=True)
    print(export_segmenter(model, side, options.out_dir, slices, snapshot=snapshot.name, statistics=statistics))
    tell_of(options.out_dir, ENCODER_FILE, HEAD_FILE)


def tell_of(folder: Path, *names: str) -> None:
    """Say which files were written, and how large they are."""
    sizes = [f"{name} ({(folder / name).stat().st_size / 1e6:.1f} MB)" for name in names]
    print(f"Wrote {', '.join(sizes)} and model.json to {folder}")


def window(text: str) -> int:
    side = int(text)
    if side < 1 or 32 % side:
        raise argparse.ArgumentTypeError(f"{side} does not divide the feature grid's side, 32")
    return side


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "snapshot", type=Path,
        help="file of tools/adapt.py, snapshot of Stage 2, or a run folder: then its last one",
    )  # fmt: skip
    parser.add_argument("out_dir", type=Path, help="folder to write; files of an earlier export in it are replaced")
    parser.add_argument("--modelname", choices=ENCODERS, help="encoder (default: told by the snapshot)")
    parser.add_argument("--clsname", choices=HEADS, help="head (default: told by the snapshot or its run)")
    parser.add_argument("--window", type=window, help=f"pooling window, as val_wsize (default {WINDOW})")
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
        print(f"export_model.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
