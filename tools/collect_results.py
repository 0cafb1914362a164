"""Collect the results of tested runs: tables as CSV, Markdown and LaTeX, and report.html, each naming its protocol."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from Stage2.reporting.headings import check_distinct, headed_folder


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="results.csv: every scan; summary.csv: means and standard deviations; results.md, results.tex: tables, "
        "beside the published numbers where they compare; report.html: everything, with charts and pictures.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="EXPS_DIR", help="folder that holds run folders")
    parser.add_argument("--out", type=Path, help="folder for what is written (default: the first EXPS_DIR)")
    parser.add_argument("--data", type=Path, help="processed folder of the scans, for pictures (default: each run's)")
    parser.add_argument(
        "--compare", nargs="+", type=headed_folder, metavar="[HEADING=]EXPERIMENT_FOLDER",
        help="also a table organ x heading of Dice, of the latest test in each experiment folder; printed instead",
    )  # fmt: skip
    parser.add_argument(
        "--paired",
        nargs=2,
        action="append",
        default=[],
        metavar=("FIRST", "SECOND"),
        help="Wilcoxon's signed-rank test over scans between two experiments, each told by words of its title in the "
        "tables, as in '00_DeepLabV3 mySSL_test'; may be given several times",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        collect(options.folders, options.out or options.folders[0], options.data, options.compare or [], options.paired)
    except (OSError, ValueError) as error:
        print(f"collect_results.py: {error}", file=sys.stderr)
        return 1
    return 0


def collect(
    folders: Sequence[Path], out: Path, data: Path | None, compare: Sequence[tuple[str, Path]],
    paired: Sequence[Sequence[str]],
) -> None:  # fmt: skip
    """Write all files and print the tables; the arguments are those of the command line.

    Raises:
        OSError, ValueError: a folder does not exist, nothing can be tabled as asked for, or nothing can be written.
    """
    from Stage2.reporting.runs import find_tested_runs, find_trained_runs, list_states, open_tested_run

    if data is not None and not data.is_dir():
        raise FileNotFoundError(f"{data} is not a folder; name the processed folder of the tested scans")
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; name a folder for what is written")
    check_distinct(compare)
    tested = find_tested_runs(folders)
    columns = {name: open_tested_run(folder) for name, folder in compare}

    # From here on tables and charts are made: their libraries take a while to import.
    from Stage1.files import write_text
    from Stage2.reporting.comparisons import comparison_tables, paired_table
    from Stage2.reporting.experiments import find_experiment, group_runs
    from Stage2.reporting.overall import overall_results
    from Stage2.reporting.report import PAGE, Collected, texts
    from Stage2.reporting.summaries import fold_tables
    from Stage2.reporting.supports import support_tables
    from Stage2.reporting.tables import as_markdown

    experiments = group_runs(tested)
    comparisons = comparison_tables(columns) if columns else []
    tests = [paired_table(*(find_experiment(experiments, words) for words in pair)) for pair in paired]
    trained, states = find_trained_runs(folders), list_states(folders)
    written = texts(Collected(tested, experiments, trained, states, comparisons, tests), data)
    for name, text in written.items():
        write_text(out / name, text)
    overall = [of_setting.table() for of_setting in overall_results(experiments)]
    shown = comparisons or [*overall, *support_tables(experiments), *fold_tables(experiments)]
    print("\n\n".join(map(as_markdown, [*shown, *tests])))
    print(f"\n{len(tested)} tested run(s): {', '.join(map(str, (out / name for name in written if name != PAGE)))}")
    print(f"the whole report: {out / PAGE}")


if __name__ == "__main__":
    sys.exit(main())
