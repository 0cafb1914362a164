"""Tables of test results: every scan as one long CSV, and Markdown tables of folds and of training stages."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from Stage2.run_folder import RESULTS, list_runs, read_results

MEAN = "mean"
METRICS = ("dice", "precision", "recall")
DISTANCES = ("hd95_mm", "assd_mm")
IN_RANGE, FULL_VOLUME = "in_range", "full_volume"
SCORED_OVER = {
    IN_RANGE: " Scored in the range: the slices that show the class.",
    FULL_VOLUME: " Scored in the full volume: all slices.",
}
HEADINGS = {
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
}
LONG_COLUMNS = ("experiment", "run", "protocol", "dataset", "fold", "label_set", "class", "scan", *METRICS)
MORE_COLUMNS = ("slice_matching", *DISTANCES, *(f"{FULL_VOLUME}_{name}" for name in (*METRICS, *DISTANCES)))
UNDEFINED = "-"


@dataclass(frozen=True)
class TestedRun:
    """One run folder that holds ``results.json``.

    Attributes:
        experiment: path of the experiment folder below the folder that was searched.
        run: run id, the number that sacred gave.
        results: content of ``results.json``.
    """

    experiment: str
    run: int
    results: Mapping


def load_results(run: Path) -> dict:
    """``results.json`` of a run, checked for the fields that the tables need.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is broken or lacks a field.
    """
    results = read_results(run)
    needed = ("protocol", "dataset", "fold", "label_set", "exclude_classes", "scans", "class_means", MEAN)
    missing = [name for name in needed if name not in results]
    if missing:
        raise ValueError(f"{run / RESULTS} lacks {', '.join(missing)}; test this experiment again")
    return results


def find_tested_runs(folders: Iterable[Path]) -> list[TestedRun]:
    """All tested runs below the folders, ordered by experiment and run id; each run folder once.

    Raises:
        FileNotFoundError: a folder does not exist, or none of them holds a result.
        ValueError: a ``results.json`` is broken.
    """
    found: dict[Path, TestedRun] = {}
    folders = list(folders)
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; name a folder that holds run folders, such as exps")
        for path in folder.rglob(RESULTS):
            run = path.parent
            if not run.name.isdecimal() or run.resolve() in found:
                continue
            inside = run != folder and run.parent != folder
            experiment = run.parent.relative_to(folder).as_posix() if inside else run.resolve().parent.name
            found[run.resolve()] = TestedRun(experiment, int(run.name), load_results(run))
    if not found:
        names = ", ".join(map(str, folders))
        raise FileNotFoundError(f"no <run id>/{RESULTS} below {names}; test an experiment first")
    return sorted(found.values(), key=lambda tested: (tested.experiment, tested.run))


def latest_results(experiment: Path) -> tuple[Path, dict]:
    """Run folder and results of the latest tested run of an experiment folder.

    Raises:
        FileNotFoundError: no run of it has results.
    """
    for run in reversed(list_runs(experiment)):
        if (run / RESULTS).is_file():
            return run, load_results(run)
    raise FileNotFoundError(f"no run in {experiment} holds {RESULTS}; test this experiment first")


def long_rows(runs: Iterable[TestedRun]) -> list[dict]:
    """One row per scan and class, per class mean, and one for the mean of the run.

    The keys are LONG_COLUMNS and, where the run has them, MORE_COLUMNS. Undefined values (0/0) are None; they are left
    out of the means by the test itself.
    """
    rows = []
    for tested in runs:
        results = tested.results
        head = {"experiment": tested.experiment, "run": tested.run}
        head |= {name: results[name] for name in ("protocol", "dataset", "fold", "label_set")}
        if results.get("slice_matching"):
            head["slice_matching"] = results["slice_matching"]
        cells = [(entry["class"], entry["scan"], entry) for entry in results["scans"]]
        cells += [(name, MEAN, entry) for name, entry in results["class_means"].items()]
        cells.append((MEAN, MEAN, results[MEAN]))
        for class_name, scan, entry in cells:
            row = head | {"class": class_name, "scan": scan} | {metric: entry[metric] for metric in METRICS}
            row |= {name: entry[name] for name in DISTANCES if name in entry}
            whole = entry.get(FULL_VOLUME, {})
            row |= {f"{FULL_VOLUME}_{name}": whole[name] for name in (*METRICS, *DISTANCES) if name in whole}
            rows.append(row)
    return rows


def csv_text(rows: Iterable[Mapping]) -> str:
    """The long rows as CSV text; an undefined value is an empty cell, a column that no row has is left out."""
    rows = list(rows)
    columns = [*LONG_COLUMNS, *(name for name in MORE_COLUMNS if any(name in row for row in rows))]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def comparison_table(columns: Mapping[str, Mapping]) -> str:
    """Markdown tables organ x column for tests of the same scans by the same protocol.

    One table of the mean Dice; where all tests have them, further ones of surface distances and of the full volume.

    Args:
        columns: heading -> results; an organ's cell is its mean over scans.

    Raises:
        ValueError: the tests differ in protocol, slice matching, data set, fold, label set or excluded classes.
    """
    settings = {heading: _describe(results) for heading, results in columns.items()}
    if len(set(settings.values())) != 1:
        listed = "; ".join(f"{heading}: {text}" for heading, text in settings.items())
        raise ValueError(f"tests of different settings cannot share a table ({listed}); compare like with like")
    setting = next(iter(settings.values()))
    whole = all(FULL_VOLUME in results[MEAN] for results in columns.values())
    tables = []
    for region in (IN_RANGE, FULL_VOLUME) if whole else (IN_RANGE,):
        views = {heading: _region(results, region) for heading, results in columns.items()}
        distances = [name for name in DISTANCES if all(name in view[MEAN] for view in views.values())]
        classes = list(next(iter(views.values()))["class_means"])
        for metric in ("dice", *distances):
            body = [[name, *(_cell(view["class_means"][name][metric]) for view in views.values())] for name in classes]
            body.append([f"**{MEAN}**", *(_cell(view[MEAN][metric]) for view in views.values())])
            table = markdown_table([HEADINGS[metric], *views], body)
            tables.append("\n".join([setting + (SCORED_OVER[region] if whole else ""), "", table]))
        tables[-1] = "\n".join([tables[-1], *_undefined_notes(views.items())])
    return "\n\n".join(tables)


def fold_tables(runs: Iterable[TestedRun]) -> str:
    """Markdown: per experiment, protocol and setting one table organ x fold of Dice, with means of all metrics.

    Experiments whose names differ in the fold only share a table. Of several runs of a fold the latest counts.
    """
    groups: dict[tuple[str, str], dict[int, Mapping]] = {}
    for tested in sorted(runs, key=lambda tested: (tested.experiment, tested.run)):
        experiment = re.sub(r"vfold\d+", "vfold*", tested.experiment)
        group = groups.setdefault((experiment, _describe(tested.results, with_fold=False)), {})
        group[tested.results["fold"]] = tested.results
    return "\n\n".join(_fold_table(*key, folds) for key, folds in sorted(groups.items()))


def _fold_table(experiment: str, setting: str, folds: Mapping[int, Mapping]) -> str:
    """Heading and table of the class ranges; where a fold has them, a table of its own for the full volumes."""
    whole = any(FULL_VOLUME in results[MEAN] for results in folds.values())
    lines = [f"### {experiment}"]
    for region in (IN_RANGE, FULL_VOLUME) if whole else (IN_RANGE,):
        views = {fold: _region(folds[fold], region) for fold in sorted(folds)}
        lines += ["", setting + (SCORED_OVER[region] if whole else ""), "", *_fold_rows(views)]
    return "\n".join(lines)


def _fold_rows(folds: Mapping[int, Mapping]) -> list[str]:
    metrics = [*METRICS, *(name for name in DISTANCES if any(name in view[MEAN] for view in folds.values()))]
    body = []
    classes = list(dict.fromkeys(name for view in folds.values() for name in view["class_means"]))
    for name in [*classes, MEAN]:
        entries = [view[MEAN] if name == MEAN else view["class_means"].get(name, {}) for view in folds.values()]
        label = f"**{MEAN}**" if name == MEAN else name
        dice = [_cell(entry.get("dice")) for entry in entries]
        body.append([label, *dice, *(_cell(_average([entry.get(metric) for entry in entries])) for metric in metrics)])
    header = ["Dice", *(f"fold {fold}" for fold in folds), *(f"mean {HEADINGS[metric]}" for metric in metrics)]
    notes = _undefined_notes((f"fold {fold}", view) for fold, view in folds.items())
    return [markdown_table(header, body), *notes]


def _region(results: Mapping, region: str) -> Mapping:
    """Class means and mean over the class ranges, or over the full volumes; empty where a test has none of these."""
    if region == IN_RANGE:
        return results
    means = {name: row[FULL_VOLUME] for name, row in results["class_means"].items() if FULL_VOLUME in row}
    return {"class_means": means, MEAN: results[MEAN].get(FULL_VOLUME, {})}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too; first column left, others right aligned."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[column]) for row in table)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        return " | ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {text} |" for text in [line(table[0]), " | ".join(rule), *map(line, table[1:])])


def _describe(results: Mapping, with_fold: bool = True) -> str:
    excluded = ", ".join(map(str, results["exclude_classes"])) or "none"
    fold = f", fold {results['fold']}" if with_fold else ""
    matching = f", slices matched by `{results['slice_matching']}`" if results.get("slice_matching") else ""
    dataset = results["dataset"].removesuffix("_Superpix")
    return (
        f"Protocol `{results['protocol']}`{matching}; {dataset}, label set {results['label_set']}{fold}; "
        f"classes excluded from training slices: {excluded}."
    )


def _undefined_notes(named_results: Iterable[tuple[str, Mapping]]) -> list[str]:
    named_results = list(named_results)
    notes = []
    for key, what in (("undefined", "values (0/0)"), ("undefined_distances", "distances (an empty mask)")):
        counts = [
            f"{class_name} ({heading}): {entry[key]}"
            for heading, results in named_results
            for class_name, entry in results["class_means"].items()
            if entry.get(key)
        ]
        if counts:
            notes += ["", f"Undefined {what}, left out of the means: {'; '.join(counts)}."]
    return notes


def _average(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _cell(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"
