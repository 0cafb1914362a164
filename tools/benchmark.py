"""Measures speed against named baselines, all in one run on one machine.

Example: python tools/benchmark.py stage1 --images data/roco
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from Stage1.benchmark import STEPS, matmul_rate, measure_step, measure_views, step_flops
from Stage2.benchmarks import stage2 as stage2_benchmark
from Stage2.benchmarks.superpixels import measure_superpixels
from Stage2.datasets.volumes import list_scans
from Stage2.io.names import IMAGE, LABEL
from Stage2.models.encoders import ENCODER_NAMES
from Stage2.phantom.folder import make_part
from Stage2.phantom.parts import Part
from Stage2.phantom.radiographs import draw_radiograph
from Stage2.preparation.steps.pseudo_labels import SCALES
from Stage2.preparation.steps.superpixels import check_scans, link_scans

DRAWN = 64  # images drawn where no folder is given


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def benchmark_views(folder: Path, image_size: int) -> None:
    spent = measure_views(folder, image_size)
    rows = [
        ("published: Pillow, torchvision transforms", spent["published"]),
        ("ours, host: decode, crop, resize, mirror", spent["host"]),
        ("ours, left to the device: colour, blur (here on the CPU)", spent["device"]),
    ]
    print_table(
        f"Both views of an image, {image_size} x {image_size}, one core",
        ("pipeline", "ms per image", "images/s per core", "published / this"),
        [(name, f"{ms:.2f}", f"{1e3 / ms:.0f}", f"{spent['published'] / ms:.2f}") for name, ms in rows],
    )
    both = spent["host"] + spent["device"]
    print(f"\nHost and device together on one CPU core: {both:.2f} ms, {spent['published'] / both:.2f} times as fast.")


def benchmark_steps(names: Sequence[str], repeats: int, settings: dict) -> None:
    flops, device = step_flops(settings), settings["device"]
    rates = {name: matmul_rate(dtype, device) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    measured = {name: measure_step(name, repeats, settings) for name in ("plain", *names)}
    # The machine may have changed its speed meanwhile: the plain step once more, and the better time counts.
    again = measure_step("plain", repeats, settings)
    drift = again["seconds"] / measured["plain"]["seconds"]
    measured["plain"]["seconds"] = min(again["seconds"], measured["plain"]["seconds"])
    plain = measured["plain"]
    rows = []
    for name, result in measured.items():
        limit = flops / rates["bf16" if "bf16" in name else "fp32"]
        rows.append((
            name, f"{result['seconds']:.3f}", f"{plain['seconds'] / result['seconds']:.2f}", f"{limit:.3f}",
            f"{result['memory']:.0f}", f"{result['memory'] / plain['memory']:.2f}",
        ))  # fmt: skip
    print_table(
        f"Training step, ResNet-{settings['depth']}, {settings['batch']} images at {settings['image_size']}, "
        f"{device} ({torch.get_num_threads()} threads)",
        ("step", "s", "plain / this", "s at matmul rate", "peak memory, MiB", "of plain"),
        rows,
    )
    print(
        f"\n{flops / 1e9:.0f} GFLOP per step; measured matrix products: "
        + ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
        + f"; the plain step at the end took {drift:.2f} times its time at the start."
    )


def run_stage1(options: argparse.Namespace) -> None:
    if options.only != "step":
        with tempfile.TemporaryDirectory() as scratch:
            folder = options.images
            if folder is None:
                folder = Path(scratch)
                for number in range(DRAWN):
                    image = draw_radiograph(np.random.default_rng([0, number]), longest_side=500)
                    Image.fromarray(image).convert("RGB").save(folder / f"{number:02d}.jpg", quality=90)
            benchmark_views(folder, options.image_size)
    if options.only != "views":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        settings = {"depth": options.depth, "batch": options.batch, "image_size": options.image_size, "device": device}
        benchmark_steps(options.steps, options.repeats, settings)


def benchmark_networks(title: str, spent: dict[str, float], flops: float) -> None:
    """A table of seconds by variant with the limit that matrix products set."""
    rates = {name: matmul_rate(dtype, "cpu") for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    rows = []
    for name, taken in spent.items():
        limit = flops / rates["bf16" if "bf16" in name else "fp32"]
        rows.append((name, f"{taken:.3f}", f"{spent['published'] / taken:.2f}", f"{limit:.3f}"))
    print_table(
        f"{title}, {torch.get_num_threads()} threads",
        ("implementation", "s", "published / this", "s at matmul rate"),
        rows,
    )
    listed = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    print(f"\n{flops / 1e9:.0f} GFLOP each; measured matrix products: {listed}.")


def run_stage2(options: argparse.Namespace) -> None:
    if "episodes" in options.parts:
        spent = stage2_benchmark.measure_episodes(count=50)
        rows = [(name, f"{1e3 * s:.2f}", f"{spent['published'] / s:.1f}") for name, s in spent.items()]
        print_table("Preparing an episode, one core", ("pipeline", "ms", "published / this"), rows)
    if "counting" in options.parts:
        spent = stage2_benchmark.measure_counting(options.slices, options.repeats)
        rows = [(name, f"{1e3 * s:.3f}", f"{spent['published'] / s:.0f}") for name, s in spent.items()]
        print_table("Counting the pixels of a class, per slice", ("counting", "ms", "published / this"), rows)
    if "testing" in options.parts:
        measured = stage2_benchmark.measure_testing(options.modelname, options.slices, options.repeats)
        benchmark_networks(f"Testing with {options.modelname}, per slice and class (two classes)", *measured)
    if "training" in options.parts:
        measured = stage2_benchmark.measure_training(options.modelname, options.repeats)
        benchmark_networks(f"Training step with {options.modelname}", *measured)


def run_preparation(options: argparse.Namespace) -> None:
    workers = sorted({1, options.workers})
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "MR"
        if options.data is None:
            make_part(Path(scratch), Part("mr", options.scans, seed=0, size=256), options.workers)
        else:
            scan_ids = list_scans(options.data)
            has_labels = check_scans(options.data, scan_ids)
            link_scans(options.data, folder, scan_ids, (IMAGE, LABEL) if has_labels else (IMAGE,))
        spent = measure_superpixels(folder, options.dataset, options.scale, workers, options.repeats)
        scans = len(list_scans(folder))
    one = spent[1]
    print_table(
        f"Superpixels ({options.scale}), masks and class maps of {scans} scans, the whole command",
        ("processes", "s", "one process / this", "peak memory, MiB", "of it in the second half"),
        [
            (str(n), f"{s.seconds:.1f}", f"{one.seconds / s.seconds:.2f}", f"{s.memory:.0f}", f"{s.later_memory:.0f}")
            for n, s in spent.items()
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stage1 = commands.add_parser("stage1", help="view pipeline and training step of Stage 1")
    stage1.add_argument(
        "--images", type=Path, metavar="DIR", help=f"folder of images (default: {DRAWN} drawn, longest side 500)"
    )
    stage1.add_argument("--image-size", type=int, default=224, help="side of a view in pixels (default 224)")
    stage1.add_argument("--depth", type=int, default=101, help="ResNet depth (default 101)")
    stage1.add_argument("--batch", type=int, default=4, help="images per step (default 4)")
    stage1.add_argument("--repeats", type=int, default=5, help="steps timed for each kind (default 5)")
    variants = [name for name in STEPS if name != "plain"]
    stage1.add_argument(
        "--steps", nargs="+", choices=variants, default=["fp32", "bf16"], metavar="KIND",
        help=f"kinds of steps to compare with the plain one: {', '.join(variants)} (default: fp32 bf16)",
    )  # fmt: skip
    stage1.add_argument("--only", choices=["views", "step"], help="leave the other out")
    stage1.set_defaults(run=run_stage1)
    stage2 = commands.add_parser("stage2", help="episodes, training step, testing and counting of Stage 2")
    stage2.add_argument(
        "--modelname", choices=ENCODER_NAMES, default="dlfcn_res101", help="encoder (default %(default)s)"
    )
    stage2.add_argument("--slices", type=int, default=24, help="of the drawn scan that is tested (default %(default)s)")
    stage2.add_argument("--repeats", type=int, default=3, help="times that each is done (default %(default)s)")
    parts = ["episodes", "counting", "testing", "training"]
    stage2.add_argument(
        "--parts", nargs="+", choices=parts, default=parts, help="what to measure (default: everything)"
    )
    stage2.set_defaults(run=run_stage2)
    preparation = commands.add_parser("preparation", help="superpixels by one process and by several")
    preparation.add_argument("--data", type=Path, metavar="DIR", help="processed folder (default: phantom scans)")
    preparation.add_argument("--dataset", default="CHAOST2", help="data set of the folder (default %(default)s)")
    preparation.add_argument("--scans", type=int, default=40, help="phantom scans to draw (default %(default)s)")
    preparation.add_argument("--scale", choices=list(SCALES), default="MIDDLE", help="of the superpixels")
    preparation.add_argument("--workers", type=int, default=2, help="processes against one (default %(default)s)")
    preparation.add_argument("--repeats", type=int, default=2, help="runs of each, in turns; the faster one counts")
    preparation.set_defaults(run=run_preparation)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        print(f"benchmark.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
