"""Segment scans from one annotated example, or several: a scan with its mask.

A network is adapted to the example for some minutes, once; or it is one that tools/adapt.py made before.
Masks come back on each query's own grid, with its header: OUT/<query>_mask.nii.gz, label values as in the support
mask, with OUT/<query>.json (volumes, confidence, scores) and OUT/results.csv. Run again, it does what is missing.

Example: python tools/predict.py --support scan.nii.gz mask.nii.gz --query FOLDER --out predicted --report
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path

from Stage1.cluster import LAUNCHERS, ray_cluster
from Stage1.command_line import positive
from Stage2.adaptation.settings import MINUTES
from Stage2.inference.arguments import add_preparation, labels, minutes
from Stage2.inference.request import WARN_BELOW, Request
from Stage2.models.registry import ENCODERS, PRECISIONS
from Stage2.run_folders.layout import METHODS
from Stage2.segmentation.method import MATCHINGS, Method

logger = logging.getLogger("predict")


def number(text: str) -> int:
    """A whole number from 0 up."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0 up")
    return int(text)


def margin(text: str) -> int | None:
    """A number of slices, or "all" for every slice."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of slices from 0 up, or all")
    return int(text)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to segment")
    add = what.add_argument
    add("--support", dest="supports", nargs=2, action="append", type=Path, metavar=("SCAN", "MASK"), default=[],
        help="an annotated scan; several times for several scans; none for an adapted network")  # fmt: skip
    queries = what.add_mutually_exclusive_group(required=True)
    queries.add_argument(
        "--query", type=Path, metavar="SCAN|FOLDER", help="NIfTI, DICOM series, or a folder of either"
    )
    queries.add_argument(
        "--list", dest="listed", type=Path, metavar="CSV", help="scans in a column `scan`, with or without a `name`"
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="of tools/adapt.py, or snapshots/<step>.pth, or a run folder (default: the starting network, adapted)",
    )
    add("--label", dest="labels", action="extend", type=labels, metavar="2[,3]",
        help="values in the support masks (default: all)")  # fmt: skip
    add(
        "--method",
        dest="approach",
        choices=METHODS,
        help="adapted: a network learns from the supports first; prototypes: a preview at once (default: adapted)",
    )
    add("--adapt", type=minutes, metavar="MINUTES", help=f"of processor time, for adapting (default {MINUTES:g})")
    add("--out", required=True, type=Path, metavar="FOLDER")

    add_preparation(parser, "how scans are prepared (default: as the checkpoint tells)")

    method = parser.add_argument_group("prototypes, and where things run")
    add = method.add_argument
    default = Method()
    add("--matching", choices=MATCHINGS, default=default.matching, help="how slices find their support")
    add("--parts", type=positive, default=default.parts, help="support slices of an organ (default %(default)s)")
    add("--margin", type=margin, default=default.margin, help="slices beyond the support's organ to look in, or all")
    add("--query-prototypes", type=number, default=0, metavar="K",
        help="prototypes of a class that confident cells of the query may add (default: none)")  # fmt: skip
    add("--clean-up", action="store_true", help="keep the largest piece of each organ and fill its holes (prototypes)")
    add("--modelname", dest="encoder_name", choices=ENCODERS, help="refuse a snapshot of another encoder")
    add("--precision", choices=PRECISIONS, default="fp32", help="of the encoder (default fp32)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    add("--slice-batch", type=positive, default=default.slices_at_once, help="slices in memory (default %(default)s)")
    add("--threads", type=positive, help="CPU threads (default: all; with ray, of each process, one)")
    add("--launcher", choices=LAUNCHERS, default="serial", help="ray: many scans at a time, on one machine or more")
    add(
        "--cache",
        type=Path,
        help="folder of features and adapted networks (default: densemp/features in your cache folder)",
    )
    add("--no-cache", action="store_true", help="keep no features")

    more = parser.add_argument_group("what else to write")
    add = more.add_argument
    add("--probabilities", action="store_true", help="<query>_label_<n>_probability.nii.gz")
    add("--report", action="store_true", help="<query>.html to scroll through, <query>.png")
    add("--evaluate", dest="truth", type=Path, metavar="TRUTH|FOLDER", help="ground truth: Dice, HD95 and ASSD")
    add("--warn-below", type=float, default=WARN_BELOW, help="confidence (default %(default)s)")
    add("--suggest", action="store_true", help="name the scans that are most worth annotating next")
    add("--force", action="store_true", help="do again what is done")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from Stage2.inference.feature_cache import default_cache
    from Stage2.inference.job import PredictionJob

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options.method = Method(
        options.matching, options.parts, margin=options.margin, slices_at_once=options.slice_batch,
        query_prototypes=options.query_prototypes,
    )  # fmt: skip
    options.cache = None if options.no_cache else options.cache or default_cache()
    try:
        job = PredictionJob(Request(**{field.name: getattr(options, field.name) for field in fields(Request)}))
        total = len(job.queries)
        with ray_cluster() if options.launcher == "ray" else nullcontext() as ray, logging_redirect_tqdm():
            failed = job.run(ray, partial(tqdm, total=total, unit="scan", disable=total < 2))
    except (OSError, ValueError) as error:
        print(f"predict.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("predict.py: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
