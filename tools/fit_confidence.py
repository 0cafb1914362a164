"""Fit the weights by which an adapted network estimates the Dice of its masks: on phantom scans, on nothing else.

Networks are adapted to one phantom each, some of them hardly at all, and segment others in another contrast, so that
good and bad masks come about. What is printed belongs into Stage2/adaptation/confidence.py.

Example: python tools/fit_confidence.py --supports 4 --queries 4
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from Stage1.command_line import positive
from Stage2.adaptation.settings import RANDOM_START, starting_file


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--supports", type=positive, default=4, help="phantoms that are adapted to, MR and CT (default %(default)s)")
    add("--queries", type=positive, default=4, help="phantoms that are segmented by each (default %(default)s)")
    add("--at", type=positive, nargs="+", default=[4, 12, 30, 70], metavar="STEP",
        help="steps after which masks are made (default 4 12 30 70)")  # fmt: skip
    add("--start", nargs="+", metavar="FILE|random", help="(default: random and the starting network)")
    add("--seed", type=int, default=7)
    add("--threads", type=positive, default=1)
    options = parser.parse_args(argv)
    import torch

    from Stage2.benchmarks.confidence import collect, describe_fit, fit

    torch.set_num_threads(options.threads)
    starts = options.start or [RANDOM_START, starting_file(None)]
    try:
        for start in starts:
            if start != RANDOM_START and not Path(start).is_file():
                raise FileNotFoundError(f"{start} does not exist; give a file of weights, or random.")
        cases = collect(starts, options.supports, options.queries, sorted(options.at), options.seed)
        print(describe_fit(cases, fit(cases)))
    except (OSError, ValueError) as error:
        print(f"fit_confidence.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
