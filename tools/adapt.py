"""Adapt a network to one annotated scan, or several, in minutes; then predict.py needs no support any more.

The file that is written holds everything that segmenting other scans needs, data only. Ctrl-C keeps what is learned so
far, and the same command goes on; what is finished is not done again.

Example: python tools/adapt.py --support scan.nii.gz mask.nii.gz --minutes 3 --out adapted.safetensors
    python tools/predict.py --checkpoint adapted.safetensors --query FOLDER --out predicted --report
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from Stage1.command_line import positive
from Stage2.adaptation.settings import MINUTES, AdaptationSettings
from Stage2.inference.arguments import add_preparation, labels, minutes
from Stage2.models.registry import ENCODERS


def annotated(text: str) -> list[int] | str | None:
    """Slices that are annotated: "all", "drawn", or their numbers from 1 up, counted in the file's order."""
    if text in ("all", "drawn"):
        return None if text == "all" else text
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"found {text}, expected all, drawn, or numbers such as 5,12,20")
    return [int(part) - 1 for part in parts]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to learn from")
    add = what.add_argument
    add("--support", dest="supports", nargs=2, action="append", required=True, type=Path, metavar=("SCAN", "MASK"),
        help="an annotated scan; several times for several scans")  # fmt: skip
    add("--labels", "--label", dest="labels", action="extend", type=labels, metavar="1[,2,3]",
        help="values in the masks (default: all)")  # fmt: skip
    add("--annotated-slices", dest="annotated", action="append", type=annotated, default=[], metavar="WHICH",
        help="once for each support: all (default), drawn (for every organ, the slices that show it), or the numbers "
        "of slices in which every organ is drawn, from 1 up; voxels of value 255 are always unknown")  # fmt: skip
    add("--unlabelled", type=Path, metavar="SCAN|FOLDER", help="scans without masks, to learn from too")
    add("--start", metavar="FILE|random",
        help="snapshot, backbone, or adapted network to go on from (default: the starting network)")  # fmt: skip
    add("--out", required=True, type=Path, metavar="FILE.safetensors")

    how = parser.add_argument_group("how long, and how")
    add = how.add_argument
    budget = how.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=minutes, help=f"of processor time, over all threads (default {MINUTES:g})")
    budget.add_argument("--steps", type=positive, help="of the optimiser: the same network again from the same seed")
    default = AdaptationSettings()
    add("--encoder", choices=ENCODERS, help="of a random start (default: dlfcn_res18)")
    add("--seed", type=int, default=default.seed, help="(default %(default)s)")
    add("--side", type=positive, help="pixels along a side that the network sees (default: by the smallest organ)")
    add("--batch", type=positive, default=default.batch, help="slices of a step (default %(default)s)")
    add("--no-self-training", dest="self_training", action="store_false", help="leave --unlabelled unused")
    add("--lower-bound", action="store_true",
        help="adapt without each example in turn too, to tell a Dice that four masks of five reach")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    add("--threads", type=positive, help="CPU threads (default: all)")
    add("--force", action="store_true", help="do again what is done")
    add_preparation(parser, "how scans are prepared (default: by the modality)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    from Stage2.inference.adapt_job import AdaptJob, AdaptRequest

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        names = ("steps", "seed", "encoder", "side", "batch", "self_training")
        chosen = {name: getattr(options, name) for name in names}
        given = MINUTES if options.minutes is None and options.steps is None else options.minutes
        options.settings = AdaptationSettings(minutes=given, **chosen)
        job = AdaptJob(AdaptRequest(**{field.name: getattr(options, field.name) for field in fields(AdaptRequest)}))
        finished = job.run()
    except (OSError, ValueError) as error:
        print(f"adapt.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        finished = False
    if not finished:
        print("adapt.py: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
