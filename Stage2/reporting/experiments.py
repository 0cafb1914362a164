"""Tested runs as experiments: the folds and seeds that belong together, and those that are missing."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from Stage2.reporting.published import PROTOCOL as PAPER
from Stage2.reporting.published import PUBLISHED_DICE
from Stage2.reporting.runs import IN_RANGE, MEAN, TestedRun, region_of

BEST = "best tested step of every fold"
UNTRAINED = "untrained"
Place = tuple[int, int | None]  # fold, seed


@dataclass(frozen=True)
class Setting:
    """What results must share to stand in one table.

    Attributes:
        protocol: "paper" or "clean".
        slice_matching: of the clean protocol; None in the other.
        dataset: its short name.
        label_set: number of the label set.
        excluded: labels whose slices were left out of training.
    """

    protocol: str
    slice_matching: str | None
    dataset: str
    label_set: int
    excluded: tuple[int, ...]

    @property
    def words(self) -> str:
        """The setting as a sentence."""
        excluded = ", ".join(map(str, self.excluded)) or "none"
        matching = f", slices matched by `{self.slice_matching}`" if self.slice_matching else ""
        return (
            f"Protocol `{self.protocol}`{matching}; {self.dataset}, label set {self.label_set}; "
            f"classes excluded from training slices: {excluded}."
        )


@dataclass(frozen=True)
class Experiment:
    """The tests of one experiment with one rule for the snapshot: a run for every fold and seed.

    Attributes:
        name: path of the experiment folders, with * for the fold, and without a seed.
        setting: what was tested.
        snapshot: which snapshot was tested: "step 100100", "chosen by train_scans", "untrained", `BEST` ...
        runs: (fold, seed) -> the latest run of it.
        n_folds: of the data set.
    """

    name: str
    setting: Setting
    snapshot: str
    runs: dict[Place, TestedRun]
    n_folds: int

    @property
    def title(self) -> str:
        """Name and snapshot, as tables head it."""
        return f"{self.name}, {self.snapshot}"

    @property
    def short_name(self) -> str:
        """The name without the parts of the folder's name that its setting tells anyway."""
        return short_name(self.name)

    @property
    def seeds(self) -> list[int | None]:
        return sorted({seed for _, seed in self.runs}, key=lambda seed: -1 if seed is None else seed)

    @property
    def places(self) -> list[Place]:
        """Every fold of every seed, whether there is a run or not."""
        return [(fold, seed) for seed in self.seeds for fold in range(self.n_folds)]

    @property
    def missing(self) -> list[Place]:
        return [place for place in self.places if place not in self.runs]

    @property
    def classes(self) -> list[str]:
        """The tested classes, in the order of the results."""
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.results["class_means"]))

    def value(self, place: Place, class_name: str, metric: str, region: str = IN_RANGE) -> float | None:
        """Mean over scans of a class in a run, or over classes for `MEAN`; None where undefined or absent."""
        if place not in self.runs:
            return None
        view = region_of(self.runs[place].results, region)
        entry = view[MEAN] if class_name == MEAN else view["class_means"].get(class_name, {})
        return entry.get(metric)

    def values(self, class_name: str, metric: str, region: str = IN_RANGE) -> list[float | None]:
        """The value of every run there is, in order of seed and fold."""
        return [self.value(place, class_name, metric, region) for place in self.places if place in self.runs]

    def scan_scores(self, class_name: str | None, metric: str = "dice") -> dict[tuple[int, str], float | None]:
        """(fold, scan) -> score of a class, averaged over seeds; None for the class: averaged over classes too."""
        collected: dict[tuple[int, str], list[float | None]] = {}
        for (fold, _), run in self.runs.items():
            for entry in run.results["scans"]:
                if class_name in (None, entry["class"]):
                    collected.setdefault((fold, entry["scan"]), []).append(entry[metric])
        return {key: _average(values) for key, values in collected.items()}


def group_runs(runs: Iterable[TestedRun]) -> list[Experiment]:
    """Runs as experiments, ordered by name, setting and snapshot.

    Runs whose experiment folders differ in the fold or seed only belong together if they tested the same step, or a
    snapshot that the same rule chose. Where several steps of an experiment were tested by the paper protocol, the best
    one of every fold by test Dice, which is the published habit, makes one experiment more. Of several tests of the
    same fold, seed and snapshot the latest counts.
    """
    groups: dict[tuple[str, Setting, str], dict[Place, TestedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.experiment, run.run)):
        key = (_without_fold_and_seed(run.experiment), setting_of(run), describe_snapshot(run))
        groups.setdefault(key, {})[run.results["fold"], run.seed] = run
    for (name, setting), places in _best_by_test_dice(groups).items():
        groups[name, setting, BEST] = places
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], str(item[0][1]), _natural(item[0][2])))
    return [Experiment(*key, places, _count_folds(places)) for key, places in ordered]


def setting_of(run: TestedRun) -> Setting:
    """The setting of a tested run."""
    results = run.results
    return Setting(
        protocol=results["protocol"],
        slice_matching=results.get("slice_matching"),
        dataset=results["dataset"].removesuffix("_Superpix"),
        label_set=results["label_set"],
        excluded=tuple(results["exclude_classes"]),
    )


def describe_snapshot(run: TestedRun) -> str:
    """Which snapshot a run tested: the rule that chose it, else its step."""
    if run.results.get("selected_by"):
        return f"chosen by {run.results['selected_by']}"
    if run.results.get("step") is not None:
        return f"step {run.results['step']}"
    return UNTRAINED if run.results.get("snapshot") is None else str(run.results["snapshot"])


def published_setting(experiment: Experiment) -> int | None:
    """1 or 2, the published setting that an experiment belongs to; None for another exclusion or data set."""
    run = next(iter(experiment.runs.values()))
    data_set = run.data_set()
    if data_set is None or (experiment.setting.dataset, 1) not in PUBLISHED_DICE:
        return None
    excluded = sorted(experiment.setting.excluded)
    return {(): 1, tuple(data_set.test_labels(experiment.setting.label_set)): 2}.get(tuple(excluded))


def find_experiment(experiments: Sequence[Experiment], words: str) -> Experiment:
    """The one experiment whose title, protocol or label set contain all these words.

    Raises:
        ValueError: there is none, or more than one.
    """
    wanted = words.split()
    found = [one for one in experiments if all(word in f"{one.title}, {one.setting.words}" for word in wanted)]
    if len(found) != 1:
        listed = "; ".join(
            f"'{one.title}, {one.setting.protocol} protocol, label set {one.setting.label_set}'"
            for one in found or experiments
        )
        problem = "fits no experiment" if not found else f"fits {len(found)} experiments"
        raise ValueError(f"'{words}' {problem}; give words that only one of these contains: {listed}")
    return found[0]


def short_name(name: str) -> str:
    """`a/mySSL_test_vfold*_CHAOST2_Superpix_sets_0_1shot` -> `a/test`; one shot is not worth a word."""
    folder, _, experiment = name.rpartition("/")
    found = re.fullmatch(r"mySSL_(.*?)_?(?:vfold(?:\*|\d+)_?)?[^_]+(?:_Superpix)?_sets_[\d*]+_(\d+)shot", experiment)
    if found:
        experiment = (found[1] or experiment) + ("" if found[2] == "1" else f" ({found[2]} shots)")
    return f"{folder}/{experiment}" if folder else experiment


def over_label_sets(name: str) -> str:
    """The name with * for the label set, so that experiments that differ in it only can be put side by side."""
    name = re.sub(r"_l\d+(?=[/_]|$)", "_l*", name)
    return re.sub(r"(sets_|lbgroup)\d+", r"\1*", name)


def _without_fold_and_seed(name: str) -> str:
    """The name with * for the fold, and without the `_seed<n>` that a log folder of another seed ends in."""
    return re.sub(r"_seed\d+(?=/|$)", "", re.sub(r"vfold\d+", "vfold*", name))


def _best_by_test_dice(
    groups: dict[tuple[str, Setting, str], dict[Place, TestedRun]],
) -> dict[tuple[str, Setting], dict[Place, TestedRun]]:
    steps: dict[tuple[str, Setting], list[dict[Place, TestedRun]]] = {}
    for (name, setting, snapshot), places in groups.items():
        if setting.protocol == PAPER and snapshot.startswith("step "):
            steps.setdefault((name, setting), []).append(places)
    best: dict[tuple[str, Setting], dict[Place, TestedRun]] = {}
    for key, of_steps in steps.items():
        if len(of_steps) < 2:
            continue
        best[key] = {}
        for place, run in (item for places in of_steps for item in places.items()):
            other = best[key].get(place)
            if other is None or _mean_dice(run) > _mean_dice(other):
                best[key][place] = run
    return best


def _mean_dice(run: TestedRun) -> float:
    dice = run.results[MEAN]["dice"]
    return -1.0 if dice is None else dice


def _count_folds(places: dict[Place, TestedRun]) -> int:
    data_set = next(iter(places.values())).data_set()
    tested = max(fold for fold, _ in places) + 1
    return tested if data_set is None else max(data_set.n_folds, tested)


def _natural(text: str) -> tuple:
    """A key that sorts step 900 before step 1000."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text))


def _average(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
