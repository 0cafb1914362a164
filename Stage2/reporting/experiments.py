"""Tested runs as experiments: the folds and seeds that belong together, and those that are missing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import NamedTuple

import pandas as pd

from Stage2.adaptation.settings import RANDOM_START
from Stage2.datasets.folds import ANY
from Stage2.reporting.checks import metrics_of
from Stage2.reporting.names import without_fold_and_seed
from Stage2.reporting.published import PROTOCOL as PAPER
from Stage2.reporting.published import PUBLISHED_DICE
from Stage2.reporting.runs import IN_RANGE, MEAN, TestedRun, region_of
from Stage2.reporting.setting import TestSetting, setting_of
from Stage2.run_folders.layout import ADAPTED, FULL_VOLUME, PROTOTYPES, method_of
from Stage2.run_folders.unusual import PUBLISHED_HEAD

BEST = "best tested step of every fold"
UNTRAINED = "untrained"


class FoldSeed(NamedTuple):
    """What tells the runs of an experiment apart; the seed is None where no config.json tells it."""

    fold: int
    seed: int | None

    def text(self, with_seed: bool = True) -> str:
        return f"fold {self.fold}, seed {self.seed}" if with_seed else f"fold {self.fold}"


@dataclass(frozen=True)
class TestedExperiment:
    """The tests of one experiment with one rule for the snapshot: a run for every fold and seed.

    Attributes:
        name: path of the experiment folders, with * for the fold, and without a seed.
        setting: what was tested.
        snapshot: which snapshot was tested: "step 100100", "chosen by train_scans", "untrained", `BEST` ...; and with
            which head, where that is not the published one.
        runs: the latest run of every fold and seed.
        n_folds: of the data set.
    """

    __test__ = False

    name: str
    setting: TestSetting
    snapshot: str
    runs: Mapping[FoldSeed, TestedRun]
    n_folds: int

    @property
    def title(self) -> str:
        """Name and snapshot, as tables head it."""
        return f"{self.name}, {self.snapshot}"

    @property
    def head(self) -> str:
        """That was tested, the same in all runs."""
        return head_of(next(iter(self.runs.values())))

    @property
    def seeds(self) -> list[int | None]:
        return sorted({seed for _, seed in self.runs}, key=lambda seed: -1 if seed is None else seed)

    @property
    def expected(self) -> list[FoldSeed]:
        """Every fold of every seed, whether there is a run or not."""
        return [FoldSeed(fold, seed) for seed in self.seeds for fold in range(self.n_folds)]

    @property
    def done(self) -> list[FoldSeed]:
        """The folds and seeds that there are runs of, in order."""
        return [key for key in self.expected if key in self.runs]

    @property
    def missing(self) -> list[FoldSeed]:
        return [key for key in self.expected if key not in self.runs]

    @property
    def missing_text(self) -> str:
        """ "3, 4", with seeds where there are several; empty for none."""
        several = len(self.seeds) > 1
        return ", ".join(f"{fold} (seed {seed})" if several else str(fold) for fold, seed in self.missing)

    @property
    def classes(self) -> list[str]:
        """The tested classes, in the order of the results."""
        return list(dict.fromkeys(name for run in self.runs.values() for name in run.results["class_means"]))

    @property
    def regions(self) -> tuple[str, ...]:
        """What was scored: the class ranges, and perhaps the full volumes."""
        whole = any(FULL_VOLUME in run.results[MEAN] for run in self.runs.values())
        return (IN_RANGE, FULL_VOLUME) if whole else (IN_RANGE,)

    def metrics(self, region: str = IN_RANGE) -> list[str]:
        """The metrics that any run holds; Dice first, where there is Dice."""
        return metrics_of({name: 0 for run in self.runs.values() for name in region_of(run.results, region)[MEAN]})

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Means over scans, NaN where undefined or absent: rows (region, metric, class or `MEAN`), a column per run.

        Columns are texts of folds with seeds, in order of seed and fold.
        """
        rows = [
            (region, metric, name)
            for region in self.regions
            for metric in self.metrics(region)
            for name in dict.fromkeys([*self.classes, MEAN])
        ]
        index = pd.MultiIndex.from_tuples(rows, names=["region", "metric", "class"])
        columns = {}
        for key in self.done:
            views = {region: region_of(self.runs[key].results, region) for region in self.regions}
            entries = {region: view["class_means"] | {MEAN: view[MEAN]} for region, view in views.items()}
            columns[key.text()] = [entries[region].get(name, {}).get(metric) for region, metric, name in rows]
        return pd.DataFrame(columns, index).astype(float)

    def values(self, class_name: str, metric: str = "dice", region: str = IN_RANGE) -> pd.Series:
        """A score of a class, or of `MEAN`, in every run; empty where no run has the metric or the class."""
        row = (region, metric, class_name)
        return self.scores.loc[row] if row in self.scores.index else pd.Series(dtype=float)

    def scan_scores(self, class_name: str | None, metric: str = "dice") -> pd.Series:
        """Score of a class by (fold, scan), averaged over seeds; None for the class: averaged over classes too."""
        rows = [
            (fold, entry["scan"], entry.get(metric))
            for (fold, _), run in self.runs.items()
            for entry in run.results["scans"]
            if class_name in (None, entry["class"])
        ]
        frame = pd.DataFrame(rows, columns=["fold", "scan", "score"]).astype({"score": float})
        return frame.groupby(["fold", "scan"])["score"].mean()


def group_runs(runs: Iterable[TestedRun]) -> list[TestedExperiment]:
    """Runs as experiments, ordered by name, setting and snapshot.

    Runs whose experiment folders differ in the fold or seed only belong together if they tested the same step, or a
    snapshot that the same rule chose. Where several steps of an experiment were tested by the paper protocol with
    prototypes, the best one of every fold by test Dice, which is the published habit, makes one experiment more. Of
    several tests of the same fold, seed and snapshot the latest counts.
    """
    groups: dict[tuple[str, TestSetting, str], dict[FoldSeed, TestedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.experiment, run.run)):
        key = (without_fold_and_seed(run.experiment), setting_of(run), describe_snapshot(run))
        groups.setdefault(key, {})[FoldSeed(run.results["fold"], run.seed)] = run
    for (name, setting, head), of_best in _best_by_test_dice(groups).items():
        groups[name, setting, _with_head(BEST, head)] = of_best
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], str(item[0][1]), _natural(item[0][2])))
    return [TestedExperiment(*key, of_key, _count_folds(of_key)) for key, of_key in ordered]


def describe_snapshot(run: TestedRun) -> str:
    """Which snapshot a run tested, or adapted and for how long: the rule that chose it, else its step."""
    known = _snapshot(run)
    if method_of(run.results) != ADAPTED:
        return _with_head(known, head_of(run))
    adaptation = run.results["adaptation"]
    named = "random weights" if adaptation["start"] == RANDOM_START else PurePath(adaptation["start"]).name
    begin = named if known == UNTRAINED else known
    return f"adapted from {begin}, {adaptation['budget']}"


def head_of(run: TestedRun) -> str:
    """The head that a run tested: the published one where it names none."""
    return run.results.get("clsname") or PUBLISHED_HEAD


def _with_head(snapshot: str, head: str) -> str:
    return snapshot if head == PUBLISHED_HEAD else f"{snapshot}, head {head}"


def _snapshot(run: TestedRun) -> str:
    if run.results.get("selected_by"):
        return f"chosen by {run.results['selected_by']}"
    if run.results.get("step") is not None:
        return f"step {run.results['step']}"
    if run.results.get("snapshot") is None:
        return UNTRAINED
    average = re.fullmatch(r"ema_(\d+)\.pth", PurePath(run.results["snapshot"]).name)
    if average:
        return f"moving average of step {average[1]}"
    return re.sub(r"(fold_?)\d+", r"\1*", run.results["snapshot"])


def published_setting(experiment: TestedExperiment) -> int | None:
    """1 or 2, the published setting that an experiment belongs to; None for another exclusion or data set.

    Slices that show any of the excluded classes are left out there; another rule is another exclusion.
    """
    run = next(iter(experiment.runs.values()))
    data_set = run.data_set()
    known = data_set is not None and experiment.setting.label_set in data_set.label_sets
    unpublished = (experiment.setting.dataset, 1) not in PUBLISHED_DICE or experiment.setting.exclude_rule != ANY
    if not known or unpublished:
        return None
    excluded = sorted(experiment.setting.excluded)
    return {(): 1, tuple(data_set.test_labels(experiment.setting.label_set)): 2}.get(tuple(excluded))


def find_experiment(experiments: Sequence[TestedExperiment], words: str) -> TestedExperiment:
    """The one experiment whose title, protocol, method or label set contain all these words.

    Raises:
        ValueError: there is none, or more than one.
    """
    wanted = words.split()
    texts = [f"{one.title}, {one.setting.method}, {one.setting.words()}" for one in experiments]
    found = [one for one, text in zip(experiments, texts, strict=True) if all(word in text for word in wanted)]
    if len(found) != 1:
        listed = "; ".join(
            f"'{one.title}, {one.setting.way}, {one.setting.method}, label set {one.setting.label_set}'"
            for one in found or experiments
        )
        problem = "fits no experiment" if not found else f"fits {len(found)} experiments"
        raise ValueError(f"'{words}' {problem}; give words that only one of these contains: {listed}")
    return found[0]


def _best_by_test_dice(
    groups: Mapping[tuple[str, TestSetting, str], Mapping[FoldSeed, TestedRun]],
) -> dict[tuple[str, TestSetting, str], dict[FoldSeed, TestedRun]]:
    """By name, setting and head."""
    steps: dict[tuple[str, TestSetting, str], list[Mapping[FoldSeed, TestedRun]]] = {}
    for (name, setting, snapshot), runs in groups.items():
        as_published = (setting.protocol, setting.method, setting.query_prototypes) == (PAPER, PROTOTYPES, 0)
        if as_published and snapshot.startswith("step "):
            steps.setdefault((name, setting, head_of(next(iter(runs.values())))), []).append(runs)
    best: dict[tuple[str, TestSetting, str], dict[FoldSeed, TestedRun]] = {}
    for group, of_steps in steps.items():
        for key, run in (item for runs in of_steps for item in runs.items() if len(of_steps) > 1):
            other = best.setdefault(group, {}).setdefault(key, run)
            if _mean_dice(run) > _mean_dice(other):
                best[group][key] = run
    return best


def _mean_dice(run: TestedRun) -> float:
    dice = run.results[MEAN].get("dice")
    return -1.0 if dice is None else dice


def _count_folds(runs: Mapping[FoldSeed, TestedRun]) -> int:
    data_set = next(iter(runs.values())).data_set()
    tested = max(fold for fold, _ in runs) + 1
    return tested if data_set is None else max(data_set.n_folds, tested)


def _natural(text: str) -> tuple:
    """A key that sorts step 900 before step 1000."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text))
