"""Snapshots below one another, each by every protocol and over every support: a table, its values, and a page."""

from collections.abc import Iterable, Mapping, Sequence

from Stage2.drawing.pages import render
from Stage2.evaluation.metrics import mean_of_defined
from Stage2.evaluation.over_supports import over_supports
from Stage2.io.text import csv_text
from Stage2.reporting.experiments import TestedExperiment, group_runs
from Stage2.reporting.names import short_name
from Stage2.reporting.report import Part, Section
from Stage2.reporting.runs import MEAN, TestedRun
from Stage2.reporting.supports import HEADER, NOTE, cells, rows_of_supports, support_tables
from Stage2.reporting.tables import Table, as_markdown, number

MARKDOWN, CSV, PAGE = "rosetta.md", "rosetta.csv", "rosetta.html"
COLUMNS = (
    "experiment", "snapshot", "protocol", "fold_scheme", "ct_statistics", "dataset", "label_set", "fold", "seed",
    "class", "published_support", "published_dice", "mean", "sd", "worst", "worst_support", "best", "best_support",
    "low", "high", "supports", "scans",
)  # fmt: skip
LEAD = (
    "The same networks, scored by the protocols of the literature and over every support scan. A row is one protocol; "
    "numbers of two protocols do not compare, and the table says how far apart they lie."
)


def texts(runs: Sequence[TestedRun], notes: Sequence[str] = ()) -> dict[str, str]:
    """File name -> content: the table, the values it is made of, and the page.

    Args:
        runs: tests of every support.
        notes: what else there is to say, such as protocols that a snapshot cannot be tested by.
    """
    experiments = group_runs(runs)
    tables = summary_tables(experiments, notes)
    details = support_tables(experiments)
    rows = [row for one in experiments for row in value_rows(one)]
    sections = [
        Section("protocols", "All protocols", [Part(table.title, table) for table in tables]),
        Section("supports", "Every support", [Part(f"{t.title}: {t.setting.split(';')[0]}", t) for t in details]),
    ]
    markdown = [f"# Every protocol, every support\n\n{LEAD}", *map(as_markdown, tables), "## Every support"]
    return {
        MARKDOWN: "\n\n".join([*markdown, *map(as_markdown, details)]) + "\n",
        CSV: csv_text(rows, COLUMNS),
        PAGE: render("report.html", title="DenseMP: every protocol, every support", lead=LEAD, sections=sections),
    }


def summary_tables(experiments: Iterable[TestedExperiment], notes: Sequence[str] = ()) -> list[Table]:
    """A table of every data set and label set: a row for each snapshot and protocol, of the mean Dice over classes."""
    groups: dict[tuple, list[TestedExperiment]] = {}
    for one in experiments:
        groups.setdefault((one.setting.dataset, one.setting.label_set, one.setting.excluded), []).append(one)
    return [_summary_table(*key, of_group, notes) for key, of_group in groups.items()]


def value_rows(one: TestedExperiment) -> list[dict]:
    """A row for every fold and class of an experiment, and for the mean."""
    setting, rows = one.setting, []
    for key in one.done:
        results = one.runs[key].results
        head = {
            "experiment": one.name, "snapshot": one.snapshot, "protocol": setting.protocol,
            "fold_scheme": setting.fold_scheme, "ct_statistics": results.get("ct_statistics"),
            "dataset": setting.dataset, "label_set": setting.label_set, "fold": key.fold, "seed": key.seed,
            "published_support": results.get("published_support"),
        }  # fmt: skip
        for name in (*one.classes, MEAN):
            over = vars(over_supports([rows_of_supports(results)], None if name == MEAN else name))
            rows.append(head | {"class": name, "published_dice": published_dice(results, name)} | over)
    return rows


def published_dice(results: Mapping, class_name: str = MEAN) -> float | None:
    """Dice with the support that the protocol has where none is named; None where it could not be the support."""
    for own in results["supports"]:
        if own["scan"] == results.get("published_support"):
            entry = own[MEAN] if class_name == MEAN else own["class_means"].get(class_name, {})
            return entry.get("dice")
    return None


def _summary_table(
    dataset: str, label_set: int, excluded: Sequence[int], experiments: Sequence[TestedExperiment], notes: Sequence[str]
) -> Table:
    classes = list(dict.fromkeys(name for one in experiments for name in one.classes))
    rows = []
    for one in experiments:
        runs = [one.runs[key].results for key in one.done]
        published = [dice for results in runs if (dice := published_dice(results)) is not None]
        over = over_supports([rows_of_supports(results) for results in runs])
        folds = ", ".join(dict.fromkeys(str(key.fold) for key in one.done))
        of_class = [number(one.values(name).mean()) for name in classes]
        way = one.setting.way.removesuffix(", every support in turn")
        head = [short_name(one.name), one.snapshot, way, folds, number(mean_of_defined(published))]
        rows.append([*head, *cells(over), *of_class])
    header = ["Dice", "snapshot", "protocol", "folds", "published support", *HEADER, *classes]
    left_out = f", classes excluded from training slices: {', '.join(map(str, excluded))}" if excluded else ""
    return Table(f"{dataset}, label set {label_set}{left_out}", "", header, rows, [NOTE, *notes])
