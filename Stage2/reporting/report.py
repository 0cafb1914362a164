"""The report of all runs below some folders: what is written where, and what its page shows."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from Stage2.datasets.folds import EVERY_SUPPORT
from Stage2.drawing.figures import as_jpeg, as_svg, segmentation_figure
from Stage2.drawing.pages import embedded, render
from Stage2.io.text import csv_text
from Stage2.reporting.cases import best_median_worst, case_panel
from Stage2.reporting.charts import SERIES_PER_CHART, bar_figure, curve_figure
from Stage2.reporting.curves import Curves
from Stage2.reporting.experiments import BEST, TestedExperiment
from Stage2.reporting.latex import PREAMBLE, as_latex
from Stage2.reporting.names import short_name
from Stage2.reporting.overall import overall_results
from Stage2.reporting.runs import MEAN, RunState, TestedRun, TrainedRun
from Stage2.reporting.summaries import (
    ADDED_COLUMNS,
    SUMMARY_COLUMNS,
    fold_tables,
    long_columns,
    long_rows,
    summary_rows,
)
from Stage2.reporting.supports import support_tables
from Stage2.reporting.tables import Table, as_markdown

CSV, SUMMARY, MARKDOWN, LATEX, PAGE = "results.csv", "summary.csv", "results.md", "results.tex", "report.html"


class Picture(NamedTuple):
    """A picture of the page: its address (the file itself), what it shows, and a line that a click opens it by."""

    source: str
    alternative: str
    summary: str = ""


class Part(NamedTuple):
    """A piece of a section, each of its fields perhaps empty."""

    title: str = ""
    table: Table | None = None
    note: str = ""
    pictures: Sequence[Picture] = ()


class Section(NamedTuple):
    """A chapter of the page: its name in links, its heading, its pieces."""

    anchor: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Collected:
    """Everything that a report is made from.

    Attributes:
        tested: all tested runs.
        experiments: the same, grouped.
        trained: all trainings.
        states: of all runs.
        comparisons: tables asked for, which come first.
        tests: tables of paired tests asked for.
    """

    tested: Sequence[TestedRun]
    experiments: Sequence[TestedExperiment]
    trained: Sequence[TrainedRun]
    states: Sequence[RunState]
    comparisons: Sequence[Table] = ()
    tests: Sequence[Table] = ()


def tables_markdown(collected: Collected) -> str:
    """results.md."""
    comparisons = [as_markdown(table) for table in collected.comparisons]
    parts = ["### Comparison\n\n" + "\n\n".join(comparisons)] if comparisons else []
    for title, tables in _chapters(collected):
        parts += [f"## {title}", *map(as_markdown, tables)]
    return "# Results\n\n" + "\n\n".join(parts) + "\n"


def tables_latex(collected: Collected) -> str:
    r"""results.tex: tables to \input."""
    tables = [*collected.comparisons, *(table for _, tables in _chapters(collected) for table in tables)]
    return PREAMBLE + "\n".join(map(as_latex, tables))


def texts(collected: Collected, data: Path | None) -> dict[str, str]:
    """File name -> content of everything that a report consists of.

    Args:
        collected: what it is made from.
        data: processed folder of the tested scans; None: the one that each run's config.json names.
    """
    rows = long_rows(collected.experiments, collected.tested)
    return {
        CSV: csv_text(rows, long_columns(rows)),
        SUMMARY: csv_text(summary_rows(collected.experiments), SUMMARY_COLUMNS, ADDED_COLUMNS),
        MARKDOWN: tables_markdown(collected), LATEX: tables_latex(collected), PAGE: page(collected, data),
    }  # fmt: skip


def page(collected: Collected, data: Path | None) -> str:
    """report.html; see `texts`."""
    experiments, tests, states = collected.experiments, collected.tests, collected.states
    sections = [
        Section("comparison", "Comparison", [Part(table=table) for table in collected.comparisons]),
        Section("overall", "Overall", list(_overall_parts(experiments))),
        Section("tests", "Paired tests", [Part(table.title, table) for table in tests]),
        Section("supports", "Every support", [Part(table.title, table) for table in support_tables(experiments)]),
        Section("folds", "Folds", [Part(table.title, table) for table in fold_tables(experiments)]),
        Section("cases", "Best, median and worst cases", [_case_part(one, data) for one in _one_snapshot(experiments)]),
        Section("training", "Training curves", list(_training_parts(collected.trained))),
        Section("runs", "Runs", [Part(table=_runs_table(states))] if states else []),
    ]
    lead = (
        f"{len(collected.tested)} tested runs in {len(experiments)} experiments, {len(collected.trained)} trainings. "
        "Scores are between 0 and 1. Every table names its protocol; tables of different protocols do not compare. "
        "Adapted networks have tables of their own."
    )
    shown = [section for section in sections if section.parts]
    return render("report.html", title="DenseMP: results", lead=lead, sections=shown)


def _chapters(collected: Collected) -> list[tuple[str, Sequence[Table]]]:
    overall = [of_setting.table() for of_setting in overall_results(collected.experiments)]
    chapters = [("Overall", overall), ("Paired tests", collected.tests)]
    chapters.append(("Every support", support_tables(collected.experiments)))
    chapters.append(("Folds", fold_tables(collected.experiments)))
    return [(title, tables) for title, tables in chapters if tables]


def _overall_parts(experiments: Sequence[TestedExperiment]) -> Iterable[Part]:
    for overall in overall_results(experiments):
        dice = {f"{row.name}, {row.snapshot}": row.dice(overall.organs) for row in overall.rows}
        defined = {name: {g: own.dropna() for g, own in of.items() if own.notna().any()} for name, of in dice.items()}
        names = [name for name, own in defined.items() if own]
        pictures = []
        for first in range(0, len(names), SERIES_PER_CHART):
            shown = {name: defined[name] for name in names[first : first + SERIES_PER_CHART]}
            groups = [group for group in (*overall.organs, MEAN) if any(group in own for own in shown.values())]
            figure = bar_figure(groups, shown, overall.published if MEAN in groups else {}, MEAN)
            pictures.append(_chart(figure, f"Dice per organ: {overall.title}"))
        yield Part(overall.title, overall.table(), pictures=pictures)


def _case_part(one: TestedExperiment, data: Path | None) -> Part:
    folder = data or next(iter(one.runs.values())).data_folder()
    if folder is None:
        return Part(one.title, note="The scans are not where the tests found them; name their folder with --data.")
    try:
        rows = {
            name: {title: case_panel(folder, case) for title, case in cases.items()}
            for name in one.classes
            if (cases := best_median_worst([one.runs[key] for key in one.done], name))
        }
    except (OSError, ValueError) as error:
        return Part(one.title, note=f"No pictures: {error}")
    if not rows:
        return Part(one.title)
    grid = {name: list(panels.values()) for name, panels in rows.items()}
    caption = "yellow: prediction; turquoise: outline of the expert's mask; slice where the organ is largest"
    source = embedded(as_jpeg(segmentation_figure(["best", "median", "worst"], grid, caption)), "image/jpeg")
    organs = ", ".join(rows)
    alternative = f"best, median and worst case of {organs}: {one.title}"
    summary = f"{organs}; {one.setting.way}, {one.setting.method}"
    return Part(one.title, pictures=[Picture(source, alternative, summary)])


def _one_snapshot(experiments: Sequence[TestedExperiment]) -> list[TestedExperiment]:
    """Of an experiment of which several snapshots were tested, the best or the last: they look alike.

    Tests of every support have no masks that belong to their mean scores.
    """
    chosen: dict[tuple, TestedExperiment] = {}
    for one in (own for own in experiments if own.setting.supports != EVERY_SUPPORT):  # by rising step
        key = (one.name, one.setting, one.head)
        if key not in chosen or not chosen[key].snapshot.startswith(BEST):
            chosen[key] = one
    return list(chosen.values())


def _training_parts(trained: Sequence[TrainedRun]) -> Iterable[Part]:
    """A figure of every experiment: a panel for every kind of curve, a line for every fold."""
    groups: dict[str, dict[str, Curves]] = {}
    for run in trained:
        name, fold = _split_fold(run.experiment)
        for kind, curve in run.curves.items():
            groups.setdefault(name, {}).setdefault(kind, {})[fold] = curve  # the latest run of a fold counts
    for name, kinds in groups.items():
        yield Part(short_name(name), pictures=[_chart(curve_figure(kinds), f"training curves of {name}")])


def _chart(figure: Figure, alternative: str) -> Picture:
    return Picture(embedded(as_svg(figure), "image/svg+xml"), alternative)


def _split_fold(experiment: str) -> tuple[str, str]:
    """Name with * for the fold, and the fold."""
    found = re.fullmatch(r"(.*?vfold)(\d+)(.*)", experiment, re.DOTALL)
    return (f"{found[1]}*{found[3]}", f"fold {found[2]}") if found else (experiment, experiment)


def _runs_table(states: Sequence[RunState]) -> Table:
    rows = [
        [one.experiment, str(one.run), one.entry_point, one.status.lower(), one.started, one.host, one.commit or "-"]
        for one in states
    ]
    header = ["experiment", "run", "entry point", "status", "started (UTC)", "host", "commit"]
    words = "A commit with + was changed before the run; config.json and run.json tell the rest."
    return Table("", words, header, rows)
