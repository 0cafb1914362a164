"""What the tables of results hold: scans, folds, means over folds beside the published ones."""

from collections.abc import Iterable, Mapping, Sequence

from Stage2.reporting.experiments import Experiment, Place, over_label_sets, published_setting
from Stage2.reporting.published import PROTOCOL as PAPER
from Stage2.reporting.published import PUBLISHED_DICE
from Stage2.reporting.runs import IN_RANGE, MEAN, SCORES, TestedRun, region_of
from Stage2.reporting.statistics import spread
from Stage2.reporting.tables import MISSING, UNDEFINED, Table, number
from Stage2.run_folder import FULL_VOLUME

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


def overall_tables(experiments: Iterable[Experiment]) -> list[Table]:
    """Mean Dice over folds of all organs, experiments below one another, the published numbers where they compare.

    Experiments that differ in the label set only make one row: every label set tests the organs that the other trains
    on. One table per data set, setting (excluded classes) and protocol.
    """
    rows: dict[tuple, dict[tuple[str, str], list[Experiment]]] = {}
    for one in experiments:
        setting = one.setting
        number_of = published_setting(one)
        exclusion = number_of if number_of is not None else setting.excluded
        demo = any(run.on_phantoms() for run in one.runs.values())
        key = (setting.dataset, demo, str(exclusion), setting.protocol, setting.slice_matching or "")
        row = (over_label_sets(one.short_name), one.snapshot)
        rows.setdefault(key, {}).setdefault(row, []).append(one)
    return [_overall_table(key, rows[key]) for key in sorted(rows)]


def _overall_table(key: tuple, rows: Mapping[tuple[str, str], Sequence[Experiment]]) -> Table:
    dataset, demo, exclusion, protocol, matching = key
    published = PUBLISHED_DICE.get((dataset, int(exclusion))) if exclusion in ("1", "2") and not demo else None
    organs = organs_of(one for parts in rows.values() for one in parts)
    body, notes = [], []
    for (name, snapshot), parts in rows.items():
        by_organ = {organ: one for one in parts for organ in one.classes}
        cells = [
            _spread_cell(by_organ[organ].values(organ, "dice"), "dice") if organ in by_organ else MISSING
            for organ in organs
        ]
        folds = f"{sum(len(one.runs) for one in parts)}/{sum(len(one.places) for one in parts)}"
        body.append([name, snapshot, *cells, _mean_over_organs(by_organ, organs), folds])
        if _missing(parts):
            notes.append(f"Missing folds of {name}, {snapshot}: {_missing(parts)}.")
    if published is not None and protocol == PAPER:
        blank = ["best by test Dice", *[UNDEFINED] * len(organs)]
        body += [[f"{name} (published)", *blank, number(dice), ""] for name, dice in published.items()]
        notes.append(
            "Published numbers are means over five folds and all four organs, of ResNet-101 after up to 100,100 steps, "
            "the snapshot chosen by test Dice."
        )
    kind = {"1": "setting 1", "2": "setting 2"}.get(exclusion, f"excluded classes {exclusion}")
    title = f"{dataset}{' phantoms' if demo else ''}, {kind}, {protocol} protocol"
    setting = "Mean Dice ± standard deviation over folds and seeds; the mean is that of the folds that have all organs."
    if matching:
        setting += f" Slices matched by `{matching}`."
    return Table(title, setting, ["Dice", "snapshot", *organs, MEAN, "runs"], body, notes)


def organs_of(experiments: Iterable[Experiment]) -> list[str]:
    """The evaluated organs of the experiments' data set, those that none of them tested included."""
    experiments = list(experiments)
    data_set = next(iter(experiments[0].runs.values())).data_set()
    tested = list(dict.fromkeys(name for one in experiments for name in one.classes))
    known = [] if data_set is None else [data_set.class_name(label) for label in data_set.evaluated]
    return [*known, *(name for name in tested if name not in known)]


def _mean_over_organs(by_organ: Mapping[str, Experiment], organs: Sequence[str]) -> str:
    """Mean over organs of every fold and seed that has all of them, then over these."""
    if any(organ not in by_organ for organ in organs):
        return MISSING
    places = set.intersection(*({*by_organ[organ].runs} for organ in organs))
    means = []
    for place in sorted(places, key=str):
        values = [by_organ[organ].value(place, organ, "dice") for organ in organs]
        means.append(spread(values).mean)
    return _spread_cell(means, "dice") if places else MISSING


def _missing(parts: Sequence[Experiment]) -> str:
    """Which folds are missing, of which label set; empty for none."""
    return "; ".join(f"label set {one.setting.label_set}: {_places(one, one.missing)}" for one in parts if one.missing)


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
