"""What the tables of results hold: every scan, means over folds, and a table of every experiment's folds."""

from collections.abc import Iterable, Mapping

from Stage2.reporting.experiments import Experiment, Place
from Stage2.reporting.runs import IN_RANGE, MEAN, SCORES, TestedRun, region_of
from Stage2.reporting.statistics import spread
from Stage2.reporting.tables import MISSING, Table, number
from Stage2.run_folders.layout import FULL_VOLUME

METRICS = SCORES
DISTANCES = ("hd95_mm", "assd_mm")
HEADINGS = {
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
}
DIGITS = {"hd95_mm": 1, "assd_mm": 1}
SCORED_OVER = {
    IN_RANGE: " Scored in the range: the slices that show the class.",
    FULL_VOLUME: " Scored in the full volume: all slices.",
}
LONG_COLUMNS = ("experiment", "run", "protocol", "dataset", "fold", "label_set", "class", "scan", *METRICS)
MORE_COLUMNS = (
    "slice_matching", *DISTANCES, *(f"{FULL_VOLUME}_{name}" for name in (*METRICS, *DISTANCES)), "seed", "snapshot",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "experiment", "snapshot", "protocol", "slice_matching", "dataset", "label_set", "excluded", "region", "class",
    "metric", "mean", "sd", "runs", "undefined", "missing_folds",
)  # fmt: skip


def long_rows(experiments: Iterable[Experiment], runs: Iterable[TestedRun]) -> list[dict]:
    """One row per scan and class, per class mean, and one for the mean, of every run.

    The keys are LONG_COLUMNS and, where the run has them, MORE_COLUMNS. Undefined values (0/0) are None; they are left
    out of the means by the test itself.
    """
    snapshots = {run.folder: one.snapshot for one in experiments for run in one.runs.values()}
    rows = []
    for tested in runs:
        results = tested.results
        head = {"experiment": tested.experiment, "run": tested.run}
        head |= {name: results[name] for name in ("protocol", "dataset", "fold", "label_set")}
        if results.get("slice_matching"):
            head["slice_matching"] = results["slice_matching"]
        if tested.seed is not None:
            head["seed"] = tested.seed
        if tested.folder in snapshots:
            head["snapshot"] = snapshots[tested.folder]
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


def summary_rows(experiments: Iterable[Experiment]) -> list[dict]:
    """One row per experiment, snapshot, region, class and metric: mean and standard deviation over folds and seeds."""
    rows = []
    for one in experiments:
        setting = one.setting
        head = {
            "experiment": one.name,
            "snapshot": one.snapshot,
            "protocol": setting.protocol,
            "slice_matching": setting.slice_matching,
            "dataset": setting.dataset,
            "label_set": setting.label_set,
            "excluded": " ".join(map(str, setting.excluded)),
            "missing_folds": _places(one, one.missing),
        }
        for region in _regions(one):
            for metric in _metrics(one, region):
                for name in [*one.classes, MEAN]:
                    over = spread(one.values(name, metric, region))
                    cells = {"region": region, "class": name, "metric": metric, "mean": over.mean, "sd": over.sd}
                    rows.append(head | cells | {"runs": len(one.runs), "undefined": over.undefined})
    return rows


def fold_tables(experiments: Iterable[Experiment]) -> list[Table]:
    """Per experiment a table class x fold of Dice, with mean and standard deviation of all metrics over the folds.

    An experiment that was scored over the full volume too has a second table of that.
    """
    return [_fold_table(one, region) for one in experiments for region in _regions(one)]


def _fold_table(one: Experiment, region: str) -> Table:
    metrics = _metrics(one, region)
    rows = []
    for name in [*one.classes, MEAN]:
        cells = [
            number(one.value(place, name, "dice", region)) if place in one.runs else MISSING for place in one.places
        ]
        rows.append([name, *cells, *(_spread_cell(one.values(name, metric, region), metric) for metric in metrics)])
    header = ["Dice", *(_place(one, place) for place in one.places), *(f"mean {HEADINGS[m]}" for m in metrics)]
    setting = one.setting.words + (SCORED_OVER[region] if len(_regions(one)) > 1 else "")
    steps = {place: run.results.get("step") for place, run in one.runs.items()}
    notes = []
    if len({*steps.values()}) > 1:
        notes.append(f"Steps: {', '.join(f'{_place(one, place)}: {steps[place]}' for place in sorted_places(one))}.")
    views = [(_place(one, place), region_of(one.runs[place].results, region)) for place in sorted_places(one)]
    return Table(one.title, setting, header, rows, [*notes, *undefined_notes(views)], frozenset({len(rows) - 1}))


def undefined_notes(named_results: Iterable[tuple[str, Mapping]]) -> list[str]:
    """Which means leave values out, one sentence for each kind."""
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
            notes.append(f"Undefined {what}, left out of the means: {'; '.join(counts)}.")
    return notes


def sorted_places(one: Experiment) -> list[Place]:
    """The folds and seeds that there are runs of, in order."""
    return [place for place in one.places if place in one.runs]


def _regions(one: Experiment) -> tuple[str, ...]:
    whole = any(FULL_VOLUME in run.results[MEAN] for run in one.runs.values())
    return (IN_RANGE, FULL_VOLUME) if whole else (IN_RANGE,)


def _metrics(one: Experiment, region: str) -> list[str]:
    means = [region_of(run.results, region)[MEAN] for run in one.runs.values()]
    return [*METRICS, *(name for name in DISTANCES if any(name in mean for mean in means))]


def _spread_cell(values: Iterable[float | None], metric: str) -> str:
    over = spread(values)
    return number(over.mean, over.sd, DIGITS.get(metric, 3))


def _place(one: Experiment, place: Place) -> str:
    fold, seed = place
    return f"fold {fold}" if len(one.seeds) == 1 else f"fold {fold}, seed {seed}"


def _places(one: Experiment, places: Iterable[Place]) -> str:
    """ "3, 4", with seeds where there are several; empty for none."""
    several = len(one.seeds) > 1
    return ", ".join(f"{fold} (seed {seed})" if several else str(fold) for fold, seed in places)
