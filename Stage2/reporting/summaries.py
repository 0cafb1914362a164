"""What the tables of results hold: every scan, means over folds, and a table of every experiment's folds."""

from collections.abc import Iterable, Mapping

import pandas as pd

from Stage2.evaluation.metrics import METRICS, digits, heading
from Stage2.reporting.checks import metrics_of
from Stage2.reporting.experiments import TestedExperiment
from Stage2.reporting.runs import IN_RANGE, MEAN, TestedRun, region_of
from Stage2.reporting.setting import TestSetting, setting_of
from Stage2.reporting.tables import MISSING, Table, number
from Stage2.run_folders.layout import FULL_VOLUME, method_of

SCORED_OVER = {
    IN_RANGE: " Scored in the range: the slices that show the class.",
    FULL_VOLUME: " Scored in the full volume: all slices.",
}
LONG_COLUMNS = ("experiment", "run", "protocol", "method", "dataset", "fold", "label_set", "class", "scan")
SUMMARY_COLUMNS = (
    "experiment", "snapshot", "protocol", "method", "slice_matching", "dataset", "label_set", "excluded", "region",
    "class", "metric", "mean", "sd", "runs", "undefined", "missing_folds",
)  # fmt: skip
# Where any run has an unusual one.
ADDED_COLUMNS = ("exclude_rule", "fold_scheme", "ct_statistics", "supports", "query_prototypes", "unusual")


def long_rows(experiments: Iterable[TestedExperiment], runs: Iterable[TestedRun]) -> list[dict]:
    """One row per scan and class, per class mean, and one for the mean, of every run.

    Undefined values (0/0) are None; they are left out of the means by the test itself.
    """
    snapshots = {run.folder: one.snapshot for one in experiments for run in one.runs.values()}
    rows = []
    for tested in runs:
        results = tested.results
        head = {"experiment": tested.experiment, "run": tested.run}
        head |= {name: results[name] for name in ("protocol", "dataset", "fold", "label_set")}
        head |= {"method": method_of(results)}
        told = {"slice_matching": results.get("slice_matching"), "seed": tested.seed}
        told |= unusual(setting_of(tested))
        told |= {"snapshot": snapshots.get(tested.folder)}
        head |= {name: value for name, value in told.items() if value not in (None, "")}
        cells = [(entry["class"], entry["scan"], entry) for entry in results["scans"]]
        cells += [(name, MEAN, entry) for name, entry in results["class_means"].items()]
        cells.append((MEAN, MEAN, results[MEAN]))
        for class_name, scan, entry in cells:
            whole = entry.get(FULL_VOLUME, {})
            row = head | {"class": class_name, "scan": scan} | {name: entry[name] for name in metrics_of(entry)}
            rows.append(row | {f"{FULL_VOLUME}_{name}": whole[name] for name in metrics_of(whole)})
    return rows


def long_columns(rows: Iterable[Mapping]) -> list[str]:
    """The columns of these rows: what tells them apart, metrics that every test has, then what some runs have."""
    held = dict.fromkeys(name for row in rows for name in row if name not in LONG_COLUMNS)
    always = [name for name in METRICS if METRICS[name].setting is None]
    known = [name for name in METRICS if name not in always]
    order = [
        *always,
        "slice_matching",
        *ADDED_COLUMNS,
        *known,
        *(f"{FULL_VOLUME}_{name}" for name in (*always, *known)),
    ]
    others = [name for name in held if name not in (*order, "seed", "snapshot")]
    return [*LONG_COLUMNS, *(name for name in (*order, *others, "seed", "snapshot") if name in held)]


def summary_rows(experiments: Iterable[TestedExperiment]) -> list[dict]:
    """One row per experiment, snapshot, region, class and metric: mean and standard deviation over folds and seeds."""
    rows = []
    for one in experiments:
        setting = one.setting
        head = {
            "experiment": one.name, "snapshot": one.snapshot, "protocol": setting.protocol,
            "method": setting.method, "slice_matching": setting.slice_matching, "dataset": setting.dataset,
            "label_set": setting.label_set,
            "excluded": " ".join(map(str, setting.excluded)), "runs": len(one.runs), "missing_folds": one.missing_text,
            **unusual(setting),
        }  # fmt: skip
        over = one.scores.T.agg(["mean", "std"]).T.rename(columns={"std": "sd"})
        over["undefined"] = one.scores.isna().sum(axis=1)
        rows += [head | row for row in over.reset_index().to_dict("records")]
    return rows


def unusual(setting: TestSetting) -> dict[str, str]:
    """What else a setting says, by column; the published habits are left out, so that their tables stay as they are."""
    values = {name: getattr(setting, name) for name in ADDED_COLUMNS}
    return {name: value for name, value in values.items() if value != TestSetting.__dataclass_fields__[name].default}


def fold_tables(experiments: Iterable[TestedExperiment]) -> list[Table]:
    """Per experiment a table class x fold of Dice, with mean and standard deviation of all metrics over the folds.

    An experiment that was scored over the full volume too has a second table of that.
    """
    return [_fold_table(one, region) for one in experiments for region in one.regions]


def _fold_table(one: TestedExperiment, region: str) -> Table:
    metrics = one.metrics(region)
    shown = metrics[0]
    with_seed = len(one.seeds) > 1
    rows = []
    for name in dict.fromkeys([*one.classes, MEAN]):
        values = one.values(name, shown, region)
        of_run = {key: number(values[key.text()], digits=digits(shown)) for key in one.done}
        cells = [of_run.get(key, MISSING) for key in one.expected]
        rows.append([name, *cells, *(spread(one.values(name, metric, region), digits(metric)) for metric in metrics)])
    headings = {key: key.text(with_seed) for key in one.expected}
    header = [heading(shown), *headings.values(), *(f"mean {heading(metric)}" for metric in metrics)]
    setting = one.setting.words() + (SCORED_OVER[region] if len(one.regions) > 1 else "")
    steps = {headings[key]: one.runs[key].results.get("step") for key in one.done}
    notes = []
    if len({*steps.values()}) > 1:
        notes.append(f"Steps: {', '.join(f'{name}: {step}' for name, step in steps.items())}.")
    notes += undefined_notes((headings[key], region_of(one.runs[key].results, region)) for key in one.done)
    return Table(one.title, setting, header, rows, notes, frozenset({len(rows) - 1}))


def spread(values: pd.Series, digits: int = 3) -> str:
    """Mean ± sample standard deviation of the defined values."""
    return number(values.mean(), values.std(), digits)


def undefined_notes(named_results: Iterable[tuple[str, Mapping]]) -> list[str]:
    """Which means leave values out, one sentence for each kind."""
    named_results = list(named_results)
    notes = []
    for key, what in (("undefined", "values (0/0)"), ("undefined_distances", "distances (an empty mask)")):
        counts = [
            f"{class_name} ({name}): {entry[key]}"
            for name, results in named_results
            for class_name, entry in results["class_means"].items()
            if entry.get(key)
        ]
        if counts:
            notes.append(f"Undefined {what}, left out of the means: {'; '.join(counts)}.")
    return notes
