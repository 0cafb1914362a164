"""Experiments below one another: mean Dice of all organs over folds, beside published numbers that compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from Stage2.datasets.folds import ANY
from Stage2.reporting.experiments import TestedExperiment, published_setting
from Stage2.reporting.names import over_label_sets, short_name
from Stage2.reporting.published import PROTOCOL as PAPER
from Stage2.reporting.published import PUBLISHED_DICE
from Stage2.reporting.runs import MEAN
from Stage2.reporting.summaries import spread
from Stage2.reporting.tables import MISSING, UNDEFINED, Table, number
from Stage2.run_folders.layout import PROTOTYPES


@dataclass(frozen=True)
class OverallRow:
    """One experiment over its label sets: every label set tests the organs that the other trains on.

    Attributes:
        name: short, with * for the label set.
        snapshot: which one was tested.
        parts: the experiment with every label set that was tested.
    """

    name: str
    snapshot: str
    parts: Sequence[TestedExperiment]

    def dice(self, organs: Sequence[str]) -> dict[str, pd.Series]:
        """Organ, and `MEAN` -> Dice of the folds and seeds that have a test of it; an organ not tested is left out.

        The mean is there only where all organs were tested, and is that of the folds and seeds that have all of them.
        """
        tested = {organ: one.values(organ) for one in reversed(self.parts) for organ in one.classes}
        shown = {organ: tested[organ] for organ in organs if organ in tested}
        together = pd.concat(shown.values(), axis=1, join="inner") if len(shown) == len(organs) else pd.DataFrame()
        return shown if together.empty else shown | {MEAN: together.mean(axis=1)}

    @property
    def done(self) -> str:
        """Runs that there are, of how many."""
        return f"{sum(len(one.runs) for one in self.parts)}/{sum(len(one.expected) for one in self.parts)}"

    @property
    def missing(self) -> str:
        """Which folds are missing, of which label set; empty for none."""
        lacking = [f"label set {one.setting.label_set}: {one.missing_text}" for one in self.parts if one.missing]
        return f"{self.name}, {self.snapshot} ({'; '.join(lacking)})" if lacking else ""


@dataclass(frozen=True)
class Overall:
    """Experiments that compare: one data set, setting (excluded classes), way of testing and method.

    Attributes:
        title, setting: as in `Table`.
        organs: the evaluated organs of the data set, those that none of them tested included.
        rows: the experiments.
        published: name -> mean Dice of all organs; empty where it does not compare.
    """

    title: str
    setting: str
    organs: Sequence[str]
    rows: Sequence[OverallRow]
    published: Mapping[str, float]

    def table(self) -> Table:
        """Dice with its spread, organ by organ; the mean only where all organs were tested."""
        columns = [*self.organs, MEAN]
        body = []
        for row in self.rows:
            dice = row.dice(self.organs)
            cells = [spread(dice[name]) if name in dice else MISSING for name in columns]
            body.append([row.name, row.snapshot, *cells, row.done])
        missing = [row.missing for row in self.rows if row.missing]
        notes = [f"Missing folds: {'; '.join(missing)}."] if missing else []
        if self.published:
            blank = ["best by test Dice", *[UNDEFINED] * len(self.organs)]
            body += [[f"{name} (published)", *blank, number(dice), ""] for name, dice in self.published.items()]
            notes.append(
                "Published numbers are means over five folds and all four organs, of ResNet-101 after up to 100,100 "
                "steps, the snapshot chosen by test Dice."
            )
        return Table(self.title, self.setting, ["Dice", "snapshot", *columns, "runs"], body, notes)


def overall_results(experiments: Iterable[TestedExperiment]) -> list[Overall]:
    """Experiments sorted into what compares; those that differ in the label set only make one row."""
    groups: dict[tuple, dict[tuple[str, str], list[TestedExperiment]]] = {}
    for one in experiments:
        setting = one.setting
        published = published_setting(one)
        exclusion = f"excluded classes {list(setting.excluded)}" if published is None else f"setting {published}"
        exclusion += "" if setting.exclude_rule == ANY else f" (slices that show {setting.exclude_rule} of them)"
        demo = any(run.on_phantoms() for run in one.runs.values())
        way = (setting.way, setting.method, setting.slice_matching or "")
        key = (setting.dataset, demo, exclusion, *way, published)
        row = (over_label_sets(short_name(one.name)), one.snapshot)
        groups.setdefault(key, {}).setdefault(row, []).append(one)
    return [_overall(key, groups[key]) for key in sorted(groups, key=str)]


def _overall(key: tuple, rows: Mapping[tuple[str, str], Sequence[TestedExperiment]]) -> Overall:
    dataset, demo, exclusion, way, method, matching, published = key
    compares = published is not None and (way, method) == (f"{PAPER} protocol", PROTOTYPES) and not demo
    adapted = "" if method == PROTOTYPES else f", method {method}"
    words = "Mean Dice ± standard deviation over folds and seeds; the mean is that of the folds that have all organs."
    return Overall(
        title=f"{dataset}{' phantoms' if demo else ''}, {exclusion}, {way}{adapted}",
        setting=words + (f" Slices matched by `{matching}`." if matching else ""),
        organs=_organs([one for parts in rows.values() for one in parts]),
        rows=[OverallRow(*row, parts) for row, parts in rows.items()],
        published=PUBLISHED_DICE[dataset, published] if compares else {},
    )


def _organs(experiments: Sequence[TestedExperiment]) -> list[str]:
    data_set = next(iter(experiments[0].runs.values())).data_set()
    known = [] if data_set is None else [data_set.class_name(label) for label in data_set.evaluated]
    return list(dict.fromkeys([*known, *(name for one in experiments for name in one.classes)]))
