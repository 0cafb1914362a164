"""Measures speed against named baselines, all in one run on one machine.

Example: python tools/benchmark.py stage1 --images data/roco
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from Stage2.reporting.tables import markdown_table

DRAWN = 64  # images drawn where no folder is given
STEPS = ("fp32", "bf16", "fp32 compiled", "bf16 compiled")
PARTS = ("episodes", "counting", "testing", "training")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n\n{markdown_table(header, rows)}", flush=True)


def print_ratios(title: str, spent: Mapping[str, float], names: Mapping[str, str] | None = None) -> None:
    """A table of seconds by variant against "published"."""
    names = names or {name: name for name in spent}
    rows = [(label, f"{1e3 * spent[n]:.3f}", f"{spent['published'] / spent[n]:.2f}") for n, label in names.items()]
    print_table(title, ("", "ms", "published / this"), rows)


def print_networks(
    title: str, seconds: Mapping[str, float], flops: float, device: str, memory: Mapping[str, float] | None = None
) -> None:
    """A table of seconds by variant against the first, with the limit that matrix products set, and of peak memory."""
    import torch

    from Stage1.timing import matmul_rates

    rates, base = matmul_rates(device), next(iter(seconds))
    header = ["", "s", f"{base} / this", "s at matmul rate"] + ["peak memory, MiB", f"of {base}"] * bool(memory)
    rows = []
    for name, taken in seconds.items():
        limit = flops / rates["bf16" if "bf16" in name else "fp32"]
        row = [name, f"{taken:.3f}", f"{seconds[base] / taken:.2f}", f"{limit:.3f}"]
        rows.append(row + ([f"{memory[name]:.0f}", f"{memory[name] / memory[base]:.2f}"] if memory else []))
    print_table(f"{title}, {device} ({torch.get_num_threads()} threads)", header, rows)
    listed = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    print(f"\n{flops / 1e9:.0f} GFLOP each; measured matrix products: {listed}.")


def benchmark_views(folder: Path | None, image_size: int) -> None:
    import numpy as np
    from PIL import Image

    from Stage1.benchmark import measure_views
    from Stage2.phantom.radiographs import draw_radiograph

    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch)
            for number in range(DRAWN):
                image = draw_radiograph(np.random.default_rng([0, number]), longest_side=500)
                Image.fromarray(image).convert("RGB").save(folder / f"{number:02d}.jpg", quality=90)
        spent = measure_views(folder, image_size)
    names = {
        "published": "published: Pillow, torchvision transforms",
        "host": "ours, host: decode, crop, resize, mirror",
        "device": "ours, left to the device: colour, blur (here on the CPU)",
    }
    print_ratios(f"Both views of an image, {image_size} x {image_size}, one core", spent, names)
    both = spent["host"] + spent["device"]
    ratio = spent["published"] / both
    print(f"\nHost and device together on one CPU core: {1e3 * both:.2f} ms, {ratio:.2f} times as fast.")


def benchmark_steps(options: argparse.Namespace) -> None:
    import torch

    from Stage1.benchmark import PLAIN, measure_step, training_step
    from Stage1.timing import flops

    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = {"depth": options.depth, "batch": options.batch, "image_size": options.image_size, "device": device}
    measured = {name: measure_step(name, options.repeats, settings) for name in (PLAIN, *options.steps)}
    # The machine may have changed its speed meanwhile: the plain step once more, and the better time counts.
    again, first = measure_step(PLAIN, options.repeats, settings)["seconds"], measured[PLAIN]["seconds"]
    measured[PLAIN]["seconds"] = min(again, first)
    title = f"Training step, ResNet-{options.depth}, {options.batch} images at {options.image_size}"
    seconds, memory = ({name: result[key] for name, result in measured.items()} for key in ("seconds", "memory"))
    print_networks(title, seconds, flops(training_step(PLAIN, **settings)), device, memory)
    print(f"The plain step at the end took {again / first:.2f} times its time at the start.")


def run_stage1(options: argparse.Namespace) -> None:
    if options.only != "step":
        benchmark_views(options.images, options.image_size)
    if options.only != "views":
        benchmark_steps(options)


def run_stage2(options: argparse.Namespace) -> None:
    from Stage2.benchmarks import stage2

    if "episodes" in options.parts:
        print_ratios("Preparing an episode, one core", stage2.measure_episodes(count=50))
    if "counting" in options.parts:
        spent = stage2.measure_counting(options.slices, options.repeats)
        print_ratios("Counting the pixels of a class, per slice", spent)
    if "testing" in options.parts:
        measured = stage2.measure_testing(options.modelname, options.slices, options.repeats)
        print_networks(f"Testing with {options.modelname}, per slice and class (two classes)", *measured, "cpu")
    if "training" in options.parts:
        measured = stage2.measure_training(options.modelname, options.repeats)
        print_networks(f"Training step with {options.modelname}", *measured, "cpu")


def run_preparation(options: argparse.Namespace) -> None:
    from Stage2.benchmarks.superpixels import measure_superpixels
    from Stage2.datasets.volumes import list_scans
    from Stage2.io.names import IMAGE, LABEL
    from Stage2.phantom.folder import make_part
    from Stage2.phantom.parts import Part
    from Stage2.preparation.steps.superpixels import check_scans, link_scans

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "MR"
        if options.data is None:
            make_part(Path(scratch), Part("mr", options.scans, seed=0, size=256), options.workers)
        else:
            scan_ids = list_scans(options.data)
            has_labels = check_scans(options.data, scan_ids)
            link_scans(options.data, folder, scan_ids, (IMAGE, LABEL) if has_labels else (IMAGE,))
        workers = sorted({1, options.workers})
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


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    stage1 = commands.add_parser("stage1", help="view pipeline and training step of Stage 1")
    add = stage1.add_argument
    add("--images", type=Path, metavar="DIR", help=f"folder of images (default: {DRAWN} drawn, longest side 500)")
    add("--image-size", type=int, default=224, help="side of a view in pixels (default %(default)s)")
    add("--depth", type=int, default=101, help="ResNet depth (default %(default)s)")
    add("--batch", type=int, default=4, help="images per step (default %(default)s)")
    add("--repeats", type=int, default=5, help="steps timed for each kind (default %(default)s)")
    add(
        "--steps", nargs="+", choices=STEPS, default=["fp32", "bf16"], metavar="KIND",
        help=f"kinds of steps to compare with the plain one: {', '.join(STEPS)} (default: fp32 bf16)",
    )  # fmt: skip
    add("--only", choices=["views", "step"], help="leave the other out")
    stage1.set_defaults(run=run_stage1)

    stage2 = commands.add_parser("stage2", help="episodes, training step, testing and counting of Stage 2")
    add = stage2.add_argument
    add("--modelname", default="dlfcn_res101", help="encoder (default %(default)s)")
    add("--slices", type=int, default=24, help="of the drawn scan that is tested (default %(default)s)")
    add("--repeats", type=int, default=3, help="times that each is done (default %(default)s)")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: everything)")
    stage2.set_defaults(run=run_stage2)

    preparation = commands.add_parser("preparation", help="superpixels by one process and by several")
    add = preparation.add_argument
    add("--data", type=Path, metavar="DIR", help="processed folder (default: phantom scans)")
    add("--dataset", default="CHAOST2", help="data set of the folder (default %(default)s)")
    add("--scans", type=int, default=40, help="phantom scans to draw (default %(default)s)")
    add("--scale", default="MIDDLE", help="of the superpixels (default %(default)s)")
    add("--workers", type=int, default=2, help="processes against one (default %(default)s)")
    add("--repeats", type=int, default=2, help="runs of each, in turns; the faster one counts")
    preparation.set_defaults(run=run_preparation)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        print(f"benchmark.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
