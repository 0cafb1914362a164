"""Options of the benchmarks with many of them."""

import argparse
from pathlib import Path

from Stage1.command_line import positive
from Stage2.inference.arguments import labels, minutes, named_start


def slice_count(text: str) -> int | None:
    """A number of slices, or "all" for None."""
    return None if text == "all" else positive(text)


def add_one_scan(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The command `one_scan`."""
    one_scan = commands.add_parser(
        "one_scan", help="masks from one annotated scan: adapted networks, prototypes, registration",
        description="In every fold of a processed folder, one annotated scan segments the test scans. What --out "
        "holds already is not measured again; after changes of the code, give another folder.",
    )  # fmt: skip
    add = one_scan.add_argument
    add("--data", type=Path, metavar="DIR", help="processed folder (default: that of the data set)")
    add("--dataset", default="CHAOST2", help="CHAOST2, SABS or FILE.yaml (default %(default)s)")
    add("--folds", nargs="+", type=int, metavar="K", help="(default: all)")
    add("--seeds", nargs="+", type=int, default=[0, 1], metavar="N", help="of adapting (default: 0 1)")
    add(
        "--starts", nargs="+", type=named_start, metavar="NAME=FILE",
        help="what networks are adapted from, or random (default: the starting network, if it is there, and random)",
    )  # fmt: skip
    budget = one_scan.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", nargs="+", type=minutes, default=[1.0, 3.0, 10.0], metavar="M",
        help="of processor time, for adapting (default: 1 3 10)",
    )  # fmt: skip
    budget.add_argument("--steps", nargs="+", type=positive, metavar="N", help="of adapting, in place of minutes")
    add("--labels", type=labels, metavar="1[,2,3]", help="to segment (default: all that the data set evaluates)")
    add("--slices", type=slice_count, metavar="all|N", help="annotated slices of every organ (default: all)")
    add("--unlabelled", action="store_true", help="learn from the images of the queries too, without their labels")
    add("--snapshot", type=Path, metavar="FILE", help="of Stage 2: compare with its prototypes")
    add("--registration", action="store_true", help="compare with registration of the annotated scan")
    add("--threads", type=positive, default=1, help="(default %(default)s)")
    add(
        "--out", nargs="+", type=Path, default=[Path("exps/one_scan")], metavar="DIR",
        help="folder of values and tables (default exps/one_scan); one for each process",
    )  # fmt: skip
    add("--only-table", action="store_true", help="measure nothing; the tables of what all --out folders hold")
    return one_scan


def add_workbench(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The command `workbench`."""
    workbench = commands.add_parser(
        "workbench", help="the workbench: load by many clients; clicks and minutes to organs, against Dice",
        description="Scans of a processed folder are served, drawn in as a person would, from their labels, and "
        "segmented; the scan that the workbench names next is corrected and becomes a further example.",
    )  # fmt: skip
    add = workbench.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="processed folder with labels")
    add("--only", choices=["load", "organs"], help="leave the other out")
    add("--clients", type=positive, default=20, help="at once (default %(default)s)")
    add("--requests", type=positive, default=1000, help="of all of them (default %(default)s)")
    add("--scans", type=positive, default=8, help="of the folder that are served (default %(default)s)")
    add("--rounds", type=positive, default=3, help="annotated scans, one after the other (default %(default)s)")
    add("--minutes", type=minutes, default=1.0, help="of processor time of each adaptation (default %(default)g)")
    add("--every", type=positive, default=3, help="slices from one that is drawn to the next (default %(default)s)")
    return workbench


def add_workbench_page(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The command `workbench-page`."""
    page = commands.add_parser("workbench-page", help="the workbench's page in a browser, with a large drawn scan")
    page.add_argument(
        "--shape", type=positive, nargs=3, default=(512, 512, 600), metavar=("X", "Y", "Z"),
        help="voxels of the scan (default 512 512 600)",
    )  # fmt: skip
    return page
