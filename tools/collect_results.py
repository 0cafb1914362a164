"""Collect the results of tested runs: results.csv (every scan) and results.md (tables, each naming its protocol)."""

import argparse
import sys
from pathlib import Path

from Stage2.evaluation.report import (
    comparison_table,
    csv_text,
    find_tested_runs,
    fold_tables,
    latest_results,
    long_rows,
)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def parse_comparison(text: str) -> tuple[str, Path]:
    """``HEADING=EXPERIMENT_FOLDER`` as (heading, folder)."""
    heading, separator, folder = text.partition("=")
    if not (heading and separator and folder):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form HEADING=EXPERIMENT_FOLDER")
    return heading, Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="EXPS_DIR", help="folder that holds run folders")
    parser.add_argument("--out", type=Path, help="folder for results.csv and results.md (default: the first EXPS_DIR)")
    parser.add_argument(
        "--compare",
        nargs="+",
        type=parse_comparison,
        metavar="HEADING=EXPERIMENT_FOLDER",
        help="also a table organ x heading of Dice, of the latest test in each experiment folder; printed instead",
    )
    arguments = parser.parse_args()
    out = arguments.out or arguments.folders[0]
    try:
        runs = find_tested_runs(arguments.folders)
        tables = fold_tables(runs)
        shown = tables
        if arguments.compare:
            shown = comparison_table({name: latest_results(folder)[1] for name, folder in arguments.compare})
            tables = f"### Comparison\n\n{shown}\n\n{tables}"
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "results.csv", csv_text(long_rows(runs)))
        write_text(out / "results.md", f"# Results\n\n{tables}\n")
    except (OSError, ValueError) as error:
        print(f"collect_results.py: {error}", file=sys.stderr)
        return 1
    print(shown)
    print(f"\n{len(runs)} tested run(s): {out / 'results.csv'}, {out / 'results.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
