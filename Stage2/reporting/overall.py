"""Experiments below one another: mean Dice of all organs over folds, beside published numbers that compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from Stage2.reporting.experiments import Experiment, Place, over_label_sets, published_setting
from Stage2.reporting.published import PROTOCOL as PAPER
from Stage2.reporting.published import PUBLISHED_DICE
from Stage2.reporting.runs import MEAN
from Stage2.reporting.statistics import spread
from Stage2.reporting.tables import MISSING, UNDEFINED, Table, number


@dataclass(frozen=True)
class Row:
    """One experiment over its label sets: every label set tests the organs that the other trains on.

    Attributes:
        name: short, with * for the label set.
        snapshot: which one was tested.
        parts: the experiment with every label set that was tested.
    """

    name: str
    snapshot: str
    parts: Sequence[Experiment]

    def values(self, organ: str) -> list[float | None] | None:
        """Dice of an organ in every fold and seed; None where it was not tested."""
        part = next((one for one in self.parts if organ in one.classes), None)
        return None if part is None else part.values(organ, "dice")

    def means(self, organs: Sequence[str]) -> list[float | None] | None:
        """Mean over these organs in every fold and seed that has all of them; None where there is none."""
        of_organ = {organ: one for one in self.parts for organ in one.classes}
        if any(organ not in of_organ for organ in organs):
            return None
        places = set.intersection(*({*of_organ[organ].runs} for organ in organs))
        by_place = [
            [of_organ[organ].value(place, organ, "dice") for organ in organs] for place in sorted(places, key=str)
        ]
        return [spread(values).mean for values in by_place] or None

    @property
    def done(self) -> str:
        """Runs that there are, of how many."""
        return f"{sum(len(one.runs) for one in self.parts)}/{sum(len(one.places) for one in self.parts)}"

    @property
    def missing(self) -> str:
        """Which folds are missing, of which label set; empty for none."""
        lacking = [
            f"label set {one.setting.label_set}: {_folds(one.missing, len(one.seeds) > 1)}"
            for one in self.parts
            if one.missing
        ]
        return f"{self.name}, {self.snapshot} ({'; '.join(lacking)})" if lacking else ""


@dataclass(frozen=True)
class Overall:
    """Experiments that compare: one data set, setting (excluded classes) and protocol.

    Attributes:
        title, setting: as in `Table`.
        organs: the evaluated organs of the data set, those that none of them tested included.
        rows: the experiments.
        published: name -> mean Dice of all organs; empty where it does not compare.
    """

    title: str
    setting: str
    organs: Sequence[str]
    rows: Sequence[Row]
    published: Mapping[str, float]

    def table(self) -> Table:
        """Dice with its spread, organ by organ; the mean only where all organs were tested."""
        body = [
            [row.name, row.snapshot, *(_cell(row.values(organ)) for organ in self.organs),
             _cell(row.means(self.organs)), row.done]
            for row in self.rows
        ]  # fmt: skip
        notes = []
        missing = [row.missing for row in self.rows if row.missing]
        if missing:
            notes.append(f"Missing folds: {'; '.join(missing)}.")
        if self.published:
            blank = ["best by test Dice", *[UNDEFINED] * len(self.organs)]
            body += [[f"{name} (published)", *blank, number(dice), ""] for name, dice in self.published.items()]
            notes.append(
                "Published numbers are means over five folds and all four organs, of ResNet-101 after up to 100,100 "
                "steps, the snapshot chosen by test Dice."
            )
        return Table(self.title, self.setting, ["Dice", "snapshot", *self.organs, MEAN, "runs"], body, notes)


def overall_results(experiments: Iterable[Experiment]) -> list[Overall]:
    """Experiments sorted into what compares; those that differ in the label set only make one row."""
    groups: dict[tuple, dict[tuple[str, str], list[Experiment]]] = {}
    for one in experiments:
        setting = one.setting
        published = published_setting(one)
        exclusion = f"excluded classes {list(setting.excluded)}" if published is None else f"setting {published}"
        demo = any(run.on_phantoms() for run in one.runs.values())
        key = (setting.dataset, demo, exclusion, setting.protocol, setting.slice_matching or "", published)
        row = (over_label_sets(one.short_name), one.snapshot)
        groups.setdefault(key, {}).setdefault(row, []).append(one)
    return [_overall(key, groups[key]) for key in sorted(groups, key=str)]


def _overall(key: tuple, rows: Mapping[tuple[str, str], Sequence[Experiment]]) -> Overall:
    dataset, demo, exclusion, protocol, matching, published = key
    compares = published is not None and protocol == PAPER and not demo
    words = "Mean Dice ± standard deviation over folds and seeds; the mean is that of the folds that have all organs."
    return Overall(
        title=f"{dataset}{' phantoms' if demo else ''}, {exclusion}, {protocol} protocol",
        setting=words + (f" Slices matched by `{matching}`." if matching else ""),
        organs=_organs(one for parts in rows.values() for one in parts),
        rows=[Row(*row, parts) for row, parts in rows.items()],
        published=PUBLISHED_DICE[dataset, published] if compares else {},
    )


def _organs(experiments: Iterable[Experiment]) -> list[str]:
    experiments = list(experiments)
    data_set = next(iter(experiments[0].runs.values())).data_set()
    tested = list(dict.fromkeys(name for one in experiments for name in one.classes))
    known = [] if data_set is None else [data_set.class_name(label) for label in data_set.evaluated]
    return [*known, *(name for name in tested if name not in known)]


def _cell(values: Sequence[float | None] | None) -> str:
    if values is None:
        return MISSING
    over = spread(values)
    return number(over.mean, over.sd)


def _folds(places: Iterable[Place], with_seed: bool) -> str:
    return ", ".join(f"{fold} (seed {seed})" if with_seed else str(fold) for fold, seed in places)
