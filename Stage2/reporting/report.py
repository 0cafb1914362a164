"""The report of all runs below some folders: what is written where, and what its page shows."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from Stage2.io.text import csv_text
from Stage2.reporting.cases import best_median_worst, case_panel
from Stage2.reporting.charts import SERIES_PER_CHART, Series, bar_figure, training_figure
from Stage2.reporting.curves import stage2_kinds
from Stage2.reporting.experiments import BEST, Experiment, short_name
from Stage2.reporting.figures import segmentation_figure
from Stage2.reporting.overall import Row, overall_results
from Stage2.reporting.page import Section, chart, folded, heading, note, photograph, render_page
from Stage2.reporting.runs import MEAN, RunState, TestedRun, TrainedRun
from Stage2.reporting.summaries import (
    LONG_COLUMNS,
    MORE_COLUMNS,
    SUMMARY_COLUMNS,
    fold_tables,
    long_rows,
    sorted_places,
    summary_rows,
)
from Stage2.reporting.tables import Table, as_html, as_latex, as_markdown

CSV, SUMMARY, MARKDOWN, LATEX, PAGE = "results.csv", "summary.csv", "results.md", "results.tex", "report.html"

logger = logging.getLogger(__name__)


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
    experiments: Sequence[Experiment]
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
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(map(as_latex, tables)) + "\n"


def texts(collected: Collected, data: Path | None) -> dict[str, str]:
    """File name -> content of everything that a report consists of.

    Args:
        collected: what it is made from.
        data: processed folder of the tested scans; None: the one that each run's config.json names.
    """
    return {
        CSV: csv_text(long_rows(collected.experiments, collected.tested), LONG_COLUMNS, MORE_COLUMNS),
        SUMMARY: csv_text(summary_rows(collected.experiments), SUMMARY_COLUMNS),
        MARKDOWN: tables_markdown(collected),
        LATEX: tables_latex(collected),
        PAGE: page(collected, data),
    }


def page(collected: Collected, data: Path | None) -> str:
    """report.html; see `texts`."""
    sections = [
        Section("comparison", "Comparison", [as_html(table) for table in collected.comparisons]),
        Section("overall", "Overall", list(_overall_parts(collected.experiments))),
        Section("tests", "Paired tests", list(_table_parts(collected.tests))),
        Section("folds", "Folds", list(_table_parts(fold_tables(collected.experiments)))),
        Section("cases", "Best, median and worst cases", list(_case_parts(collected.experiments, data))),
        Section("training", "Training curves", list(_training_parts(collected.trained))),
        Section("runs", "Runs", [as_html(_runs_table(collected.states))] if collected.states else []),
    ]
    lead = (
        f"{len(collected.tested)} tested runs in {len(collected.experiments)} experiments, "
        f"{len(collected.trained)} trainings. Scores are between 0 and 1. Every table names its protocol; tables of "
        "different protocols do not compare."
    )
    return render_page("DenseMP: results", lead, sections)


def _chapters(collected: Collected) -> list[tuple[str, Sequence[Table]]]:
    overall = [of_setting.table() for of_setting in overall_results(collected.experiments)]
    chapters = [("Overall", overall), ("Paired tests", collected.tests)]
    chapters.append(("Folds", fold_tables(collected.experiments)))
    return [(title, tables) for title, tables in chapters if tables]


def _table_parts(tables: Iterable[Table]) -> Iterable[str]:
    for table in tables:
        yield heading(table.title)
        yield as_html(table)


def _overall_parts(experiments: Sequence[Experiment]) -> Iterable[str]:
    for overall in overall_results(experiments):
        yield from _table_parts([overall.table()])
        series = [one for one in (_series(row, overall.organs) for row in overall.rows) if one is not None]
        for first in range(0, len(series), SERIES_PER_CHART):
            shown = series[first : first + SERIES_PER_CHART]
            groups = [group for group in (*overall.organs, MEAN) if any(group in one.values for one in shown)]
            references = overall.published if MEAN in groups else {}
            yield chart(bar_figure(groups, shown, references, MEAN), f"Dice per organ: {overall.title}")


def _series(row: Row, organs: Sequence[str]) -> Series | None:
    """The bars of a row; None where no Dice of it is defined."""
    values = {organ: row.values(organ) for organ in organs} | {MEAN: row.means(organs)}
    defined = {group: [v for v in own if v is not None] for group, own in values.items() if own is not None}
    defined = {group: own for group, own in defined.items() if own}
    return Series(f"{row.name}, {row.snapshot}", defined) if defined else None


def _case_parts(experiments: Sequence[Experiment], data: Path | None) -> Iterable[str]:
    for one in _one_snapshot_each(experiments):
        folder = data or next(iter(one.runs.values())).data_folder()
        runs = [one.runs[place] for place in sorted_places(one)]
        yield heading(one.title)
        if folder is None:
            yield note("The scans are not where the tests found them; name their folder with --data.")
            continue
        try:
            rows = {
                name: {title: case_panel(folder, case) for title, case in cases.items()}
                for name in one.classes
                if (cases := best_median_worst(runs, name))
            }
        except (OSError, ValueError) as error:
            yield note(f"No pictures: {error}")
            continue
        if rows:
            grid = {name: list(panels.values()) for name, panels in rows.items()}
            caption = "yellow: prediction; turquoise: outline of the expert's mask; slice where the organ is largest"
            figure = segmentation_figure(["best", "median", "worst"], grid, caption)
            alternative = f"best, median and worst case of {', '.join(rows)}: {one.title}"
            yield folded(f"{', '.join(rows)}; {one.setting.protocol} protocol", [photograph(figure, alternative)])


def _one_snapshot_each(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Of an experiment of which several snapshots were tested, the best or the last: they look alike."""
    chosen: dict[tuple, Experiment] = {}
    for one in experiments:  # by rising step
        other = chosen.get((one.name, one.setting))
        if other is None or other.snapshot != BEST:
            chosen[one.name, one.setting] = one
    return list(chosen.values())


def _training_parts(trained: Sequence[TrainedRun]) -> Iterable[str]:
    groups: dict[str, dict[str, Mapping]] = {}
    for run in trained:
        name, fold = _split_fold(run.experiment)
        groups.setdefault(name, {})[fold] = run.scalars  # the latest run of a fold counts
    for name, runs in groups.items():
        yield heading(short_name(name))
        curves = {fold: stage2_kinds(scalars) for fold, scalars in runs.items()}
        yield chart(training_figure(curves), f"training curves of {name}")


def _split_fold(experiment: str) -> tuple[str, str]:
    head, found, tail = experiment.partition("vfold")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    return (f"{head}vfold*{tail[len(digits) :]}", f"fold {digits}") if found and digits else (experiment, experiment)


def _runs_table(states: Sequence[RunState]) -> Table:
    rows = [
        [one.experiment, str(one.run), one.entry_point, one.status.lower(), one.started, one.host, one.commit or "-"]
        for one in states
    ]
    header = ["experiment", "run", "entry point", "status", "started (UTC)", "host", "commit"]
    words = "A commit with + was changed before the run; config.json and run.json tell the rest."
    return Table("", words, header, rows)
