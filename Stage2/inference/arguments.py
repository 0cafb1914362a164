"""What the command lines of predicting and of adapting share: their types of values, and how scans are prepared."""

import argparse
import math
from pathlib import Path

from Stage2.datasets.dataset_file import MODALITIES


def labels(text: str) -> list[int]:
    """Whole numbers from 1 up, separated by commas."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"found {text}, expected numbers such as 2 or 2,3, as in the support mask")
    return [int(part) for part in parts]


def minutes(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of minutes above 0")
    return value


def named_start(text: str) -> tuple[str, str]:
    """NAME=FILE, a file that gives the name, or random."""
    name, equals, file = text.partition("=")
    if not equals:
        name, file = Path(text).stem, text
    if not name or not file:
        raise argparse.ArgumentTypeError(f"found {text}, expected NAME=FILE or random")
    return name, file


def add_preparation(parser: argparse.ArgumentParser, title: str) -> None:
    """The options of `Stage2.inference.request.Preparation`."""
    add = parser.add_argument_group(title).add_argument
    add("--modality", choices=MODALITIES)
    add("--dataset", help="CHAOST2, SABS or FILE.yaml: gives modality, threshold and names of labels")
    add("--like", type=Path, metavar="IMAGE", help="image of a processed training folder: its voxel size and axes")
    add("--axes", help="in which slices are shown to the network (default LAS), or stored: as they lie")
    add("--prepared", action="store_true", help="scans are those of a processed folder: only normalise them")
    add("--ct-statistics", nargs=2, type=float, metavar=("MEAN", "STD"), help="of the CT of training")
