"""Measures speed against named baselines, all in one run on one machine.

Example: python tools/benchmark.py stage1 --images data/roco
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from Stage1.command_line import positive
from Stage2.benchmarks.options import add_one_scan, add_workbench, add_workbench_page
from Stage2.benchmarks.printing import print_networks, print_ratios, print_table

ROOT = Path(__file__).resolve().parents[1]
DRAWN = 64  # images drawn where no folder is given
STEPS = ("fp32", "bf16", "fp32 compiled", "bf16 compiled")
PARTS = ("episodes", "counting", "testing", "supports", "training")


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


def benchmark_recipe(options: argparse.Namespace) -> None:
    from Stage1.benchmark_loops import measure_loop
    from Stage1.runs.settings import find_config, split_options

    if options.images is None:
        raise ValueError("--images is missing: --recipe trains on a folder of images; name it.")
    path, changed = find_config(options.recipe), split_options(options.cfg_options)
    measured = {"plain": [], "recipe": []}
    for kind in ("plain", "recipe") * 2:  # in turns, as a machine changes its speed; the better one counts
        measured[kind].append(measure_loop(kind, path, options.images.resolve(), options.repeats, changed))
    plain, ours = ({key: min(one[key] for one in runs) for key in runs[0]} for runs in measured.values())
    rows = [
        (name, f"{own['seconds']:.2f}", f"{plain['seconds'] / own['seconds']:.2f}", f"{own['memory']:.0f}",
         f"{own['memory'] / plain['memory']:.2f}")
        for name, own in (("plain loop of the library", plain), (f"ours, {path.name}", ours))
    ]  # fmt: skip
    header = ("", "CPU s a step", "plain / this", "peak memory, MiB", "of plain")
    print_table(f"Training, files to steps, {options.repeats} steps, one process", header, rows)


def run_stage1(options: argparse.Namespace) -> None:
    if options.recipe is not None:
        benchmark_recipe(options)
        return
    if options.only != "step":
        benchmark_views(options.images, options.image_size)
    if options.only != "views":
        benchmark_steps(options)


def run_stage2(options: argparse.Namespace) -> None:
    from Stage2.benchmarks import stage2

    if "episodes" in options.parts:
        print_ratios("Preparing an episode, one core", spent := stage2.measure_episodes(count=50))
        ratio = spent["ours, of supervoxels"] / spent["ours"]
        print(f"\nAn episode of supervoxels takes {ratio:.2f} times one of superpixels.")
    if "counting" in options.parts:
        spent = stage2.measure_counting(options.slices, options.repeats)
        print_ratios("Counting the pixels of a class, per slice", spent)
    if "testing" in options.parts:
        measured = stage2.measure_testing(options.modelname, options.slices, options.repeats)
        print_networks(f"Testing with {options.modelname}, per slice and class (two classes)", *measured, "cpu")
    if "supports" in options.parts:
        from Stage2.benchmarks.supports import measure_supports

        rows = measure_supports(options.modelname, options.slices, options.repeats)
        header = ("one fold", "one support, s", "every support, s", "every / one")
        print_table(f"Every support with {options.modelname}, two classes", header, rows)
    if "training" in options.parts:
        measured = stage2.measure_training(options.modelname, options.repeats)
        print_networks(f"Training step with {options.modelname}", *measured, "cpu")


def run_preparation(options: argparse.Namespace) -> None:
    from Stage2.benchmarks.superpixels import measure_superpixels
    from Stage2.benchmarks.supervoxels import fit_table
    from Stage2.datasets.volumes import list_scans
    from Stage2.io.names import IMAGE, LABEL
    from Stage2.phantom.folder import make_part
    from Stage2.phantom.parts import Part
    from Stage2.preparation.steps.superpixels import check_scans, link_scans

    if options.fit:
        print_table(*fit_table(options.data, options.dataset, options.scale, options.fit))
        return
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


def run_cohort(options: argparse.Namespace) -> None:
    from Stage2.benchmarks.cohort import measure_cohort, table_of

    with tempfile.TemporaryDirectory() as scratch:
        print_table(*table_of(measure_cohort(Path(scratch), options.scans, options.slices, options.cores)))


def run_one_scan(options: argparse.Namespace) -> None:
    from Stage1.files import write_text

    if not options.only_table:
        measure_one_scan(options)
    from Stage2.benchmarks.one_scan_records import read_all
    from Stage2.benchmarks.one_scan_table import as_text

    tables = as_text(read_all(options.out))
    print(f"\n{tables}", end="")
    if len(options.out) == 1:
        write_text(options.out[0] / "one_scan.md", tables)


def measure_one_scan(options: argparse.Namespace) -> None:
    import SimpleITK as sitk
    import torch

    from Stage2.adaptation.settings import RANDOM_START, STARTING_NETWORK, AdaptationSettings, starting_file
    from Stage2.benchmarks.one_scan import OneScan, run_one_scan
    from Stage2.datasets.catalog import get_dataset

    if len(options.out) != 1:
        raise ValueError("--out: one folder is written to; several can only be put into one table by --only-table.")
    data_set = get_dataset(options.dataset)
    if options.data is None and data_set.default_folder is None:
        raise ValueError(f"--data is missing: {data_set.name} has no folder of its own; name its processed folder.")
    starts = options.starts
    if starts is None:
        starts = [("starting network", None)] * STARTING_NETWORK.is_file() + [(RANDOM_START, RANDOM_START)]
    if len(dict(starts)) < len(starts):
        raise ValueError("--starts: two starts have the same name; name them as NAME=FILE.")
    budgets = [AdaptationSettings(minutes=None, steps=count) for count in options.steps or ()]
    budgets = budgets or [AdaptationSettings(minutes=own) for own in options.minutes]
    settings = OneScan(
        data=options.data or ROOT / data_set.default_folder, data_set=data_set,
        starts={name: starting_file(file) for name, file in starts}, budgets=budgets, seeds=options.seeds,
        folds=options.folds, labels=options.labels, slices=options.slices, snapshot=options.snapshot,
        registration=options.registration, unlabelled=options.unlabelled,
    )  # fmt: skip
    torch.set_num_threads(options.threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    run_one_scan(settings, options.out[0], lambda line: print(line, flush=True))


def run_workbench(options: argparse.Namespace) -> None:
    from Stage2.benchmarks.workbench_load import measure_load
    from Stage2.benchmarks.workbench_organs import measure_organs

    if options.only != "organs":
        rows = measure_load(options.data, options.clients, options.requests)
        header = ("requests", "seconds", "a second", "median, ms", "slowest, ms", "failed", "server's memory, MiB")
        print_table(f"{options.clients} clients at once, while a network is adapted", header, rows)
    if options.only != "load":
        rows = measure_organs(options.data, options.scans, options.rounds, options.minutes, options.every)
        header = ("annotated scans", "strokes and clicks", "minutes of drawing", "minutes of waiting", "mean Dice")
        print_table(f"Four organs by hand and by network, {options.scans} scans", header, rows)


def run_workbench_page(options: argparse.Namespace) -> None:
    from Stage2.benchmarks.workbench_page import measure_page

    rows = measure_page(tuple(options.shape))
    print_table(f"The page with a scan of {' x '.join(map(str, options.shape))} voxels", ("", "measured"), rows)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    stage1 = commands.add_parser("stage1", help="view pipeline and training step of Stage 1")
    add = stage1.add_argument
    add("--images", type=Path, metavar="DIR", help=f"folder of images (default: {DRAWN} drawn, longest side 500)")
    add("--image-size", type=positive, default=224, help="side of a view in pixels (default %(default)s)")
    add("--depth", type=positive, default=101, help="ResNet depth (default %(default)s)")
    add("--batch", type=positive, default=4, help="images per step (default %(default)s)")
    add("--repeats", type=positive, default=5, help="steps timed for each kind (default %(default)s)")
    add(
        "--steps", nargs="+", choices=STEPS, default=["fp32", "bf16"], metavar="KIND",
        help=f"kinds of steps to compare with the plain one: {', '.join(STEPS)} (default: fp32 bf16)",
    )  # fmt: skip
    add("--only", choices=["views", "step"], help="leave the other out")
    add("--recipe", metavar="CONFIG", help="instead: the whole training of a recipe beside a plain loop of lightly's")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the recipe to change")
    stage1.set_defaults(run=run_stage1)

    stage2 = commands.add_parser("stage2", help="episodes, training step, testing and counting of Stage 2")
    add = stage2.add_argument
    add("--modelname", default="dlfcn_res101", help="encoder (default %(default)s)")
    add("--slices", type=positive, default=24, help="of the drawn scan that is tested (default %(default)s)")
    add("--repeats", type=positive, default=3, help="times that each is done (default %(default)s)")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: everything)")
    stage2.set_defaults(run=run_stage2)

    preparation = commands.add_parser("preparation", help="superpixels by one process and by several; supervoxels")
    add = preparation.add_argument
    add("--data", type=Path, metavar="DIR", help="processed folder (default: phantom scans)")
    add("--dataset", default="CHAOST2", help="data set of the folder (default %(default)s)")
    add("--scans", type=positive, default=40, help="phantom scans to draw (default %(default)s)")
    add("--scale", default="MIDDLE", help="of the superpixels (default %(default)s)")
    add("--workers", type=positive, default=2, help="processes against one (default %(default)s)")
    add("--repeats", type=positive, default=2, help="runs of each, in turns; the faster one counts")
    add("--fit", nargs="+", metavar="ID", help="how superpixels and supervoxels of these scans fit organs, instead")
    preparation.set_defaults(run=run_preparation)

    cohort = commands.add_parser("cohort", help="many tiny scans, one after another and over a Ray cluster")
    add = cohort.add_argument
    add("--scans", type=positive, default=2000, help="(default %(default)s)")
    add("--slices", type=positive, default=2, help="of each (default %(default)s)")
    add("--cores", nargs="+", type=positive, default=[1, 2], help="of the Ray cluster (default: 1 2)")
    cohort.set_defaults(run=run_cohort)
    add_one_scan(commands).set_defaults(run=run_one_scan)
    add_workbench(commands).set_defaults(run=run_workbench)
    add_workbench_page(commands).set_defaults(run=run_workbench_page)
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
