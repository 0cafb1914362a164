"""Score snapshots by every protocol of the literature and over every support scan: one table and one page."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="rosetta.md and rosetta.html: a row for each snapshot and protocol, then each fold and class; "
        "rosetta.csv: the values. Data set, fold, label set and network are those of the snapshot's run folder.",
    )
    parser.add_argument(
        "snapshots", nargs="+", type=Path, metavar="SNAPSHOT", help="a snapshot, or the folder of a run"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument(
        "--with", nargs="+", default=[], dest="settings", metavar="key=value",
        help="settings that win over those of the run folders, such as path.data_dir=DIR device=cuda",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        compare(options.snapshots, options.out, options.settings)
    except (OSError, ValueError) as error:
        print(f"rosetta.py: {error}", file=sys.stderr)
        return 1
    return 0


def compare(snapshots: Sequence[Path], out: Path, words: Sequence[str]) -> None:
    """Write all files and print the table; the arguments are those of the command line.

    Raises:
        OSError, ValueError: something is missing or wrong, or no protocol can test any of the snapshots.
    """
    from Stage1.files import write_text
    from Stage2.io.text import one_line
    from Stage2.reporting.experiments import group_runs
    from Stage2.reporting.rosetta import PAGE, summary_tables, texts
    from Stage2.reporting.tables import as_markdown
    from Stage2.run_folders.layout import PROTOCOLS
    from Stage2.runs.plain_config import read_config_words
    from Stage2.runs.rosetta import find_snapshots, names_of, score_snapshot, settings_of

    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; name a folder for what is written")
    given = read_config_words(words)
    choices = find_snapshots(snapshots, given)
    for choice in choices:  # wrong settings end it before anything is computed
        for protocol in PROTOCOLS:
            settings_of(choice.snapshot, given, protocol)
    scored = [
        own
        for choice, name in zip(choices, names_of(choices), strict=True)
        for own in score_snapshot(choice, given, name)
    ]
    runs, notes = [own for own in scored if not isinstance(own, str)], [own for own in scored if isinstance(own, str)]
    if not runs:
        raise ValueError(f"no protocol can test these snapshots: {one_line(' '.join(notes))}")
    written = texts(runs, notes)
    for name, text in written.items():
        write_text(out / name, text)
    print("\n\n".join(map(as_markdown, summary_tables(group_runs(runs), notes))))
    print(f"\nwritten: {', '.join(map(str, (out / name for name in written if name != PAGE)))}; the page: {out / PAGE}")


if __name__ == "__main__":
    sys.exit(main())
