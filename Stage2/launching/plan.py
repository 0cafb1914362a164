"""The runs of an experiment: for every fold the snapshot it starts from, its command, and what is left of it to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Stage2.datasets.catalog import get_dataset, run_name
from Stage2.datasets.folds import count_shots
from Stage2.launching.progress import Progress, Status, progress_of_test, progress_of_training
from Stage2.run_folders.layout import experiment_folder, list_snapshots
from Stage2.run_folders.selection import ALL, GIVEN, LAST, Choice, choose_snapshot, run_with_snapshots, snapshot_of_step
from Stage2.runs.plain_config import parse_settings

UNTRAINED = "none"  # in place of a snapshot: the network with its starting weights


@dataclass(frozen=True)
class Mode:
    """A kind of run.

    Attributes:
        entry: script below Stage2/.
        name: first part of exp_prefix.
        source: name of the runs that its snapshots come from; None: it starts from the beginning.
        trains: whether it makes snapshots; else it tests one.
    """

    entry: str
    name: str
    source: str | None
    trains: bool


MODES: Mapping[str, Mode] = {
    "train": Mode("training.py", "train", None, True),
    "test": Mode("validation.py", "test", "train", False),
    "finetune": Mode("finetuning.py", "ft_train", "train", True),
    "finetune-test": Mode("validation.py", "ft_test", "ft_train", False),
}


@dataclass(frozen=True)
class ExperimentLaunch:
    """What is to run, on every fold.

    Attributes:
        mode: key of MODES.
        settings: ``key=value`` words for the entry point; dataset, label_sets and path.log_dir are among them.
        logs: folder of console logs.
        name: takes the place of the mode's name in run folders.
        reload: snapshot for every fold, or UNTRAINED; None: chosen for each fold.
        snapshot_steps: steps of the snapshots, one run each; none: chosen by `select`.
        select: rule of `choose_snapshot`.
        every_snapshot: all snapshots of the fold's latest run, one run each.
        restart: also run what is finished, and resume nothing.
        label: begins the titles of its runs, where there are several modes or experiments.
    """

    mode: str
    settings: Sequence[str]
    logs: Path
    name: str | None = None
    reload: str | None = None
    snapshot_steps: Sequence[int] = ()
    select: str = LAST
    every_snapshot: bool = False
    restart: bool = False
    label: str = ""
    parsed: Mapping[str, Any] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "parsed", parse_settings(self.settings))

    @property
    def kind(self) -> Mode:
        return MODES[self.mode]

    @property
    def run_name(self) -> str:
        return self.name or self.kind.name

    def folder(self, name: str, fold: int) -> Path:
        """Experiment folder of a fold's runs of this name."""
        settings = self.parsed
        shots = count_shots(settings.get("support_idx", [-1]))
        dataset = run_name(settings["dataset"])
        return experiment_folder(
            settings["path.log_dir"], f"{name}_vfold{fold}", dataset, settings["label_sets"], shots
        )

    def log_file(self, fold: int, suffix: str = "") -> Path:
        """Console log of a fold; `suffix` tells several runs of one fold apart."""
        settings = self.parsed
        name = f"{self.run_name}_{run_name(settings['dataset'])}_sets_{settings['label_sets']}_fold{fold}"
        return self.logs / f"{name}{suffix}.log"


@dataclass(frozen=True)
class FoldRun:
    """One run.

    Attributes:
        mode: key of MODES.
        fold: that it is of.
        words: arguments of the entry point after `with`.
        title: experiment, fold and, among several, snapshot; no other run has it.
        start: what it starts from, in words.
        progress: what there is of it.
        folder: experiment folder.
        log: console log.
        steps: length of a training, 0 for a test.
    """

    mode: str
    fold: int
    words: tuple[str, ...]
    title: str
    start: str
    progress: Progress
    folder: Path
    log: Path
    steps: int

    @property
    def finished(self) -> bool:
        return self.progress.status is Status.FINISHED


def read_folds(text: str, dataset: str) -> list[int]:
    """Folds as numbers; ``all`` is every fold of the data set.

    Raises:
        ValueError: no fold, one that is no number, or one that the data set does not have.
    """
    n_folds = get_dataset(dataset).n_folds
    words = text.split()
    if words == ["all"]:
        return list(range(n_folds))
    wrong = [word for word in words if not word.isdecimal() or int(word) >= n_folds]
    if wrong or not words:
        found = f"names {', '.join(wrong)}" if wrong else "names no fold"
        raise ValueError(f"ALL_EV='{text}' {found}; choose from 0 to {n_folds - 1}, separated by spaces, or all.")
    return list(dict.fromkeys(map(int, words)))


def plan(experiment: ExperimentLaunch, folds: Sequence[int], tolerant: bool = False) -> list[FoldRun]:
    """The runs of the folds, in order.

    Args:
        experiment: what is to run.
        folds: which folds.
        tolerant: a snapshot that does not exist yet is told as ``<train snapshot of fold 0>`` instead of an error.

    Raises:
        FileNotFoundError, ValueError: no snapshot to start from, or run folders that contradict each other.
    """
    return [job for fold in folds for job in _jobs_of_fold(experiment, fold, tolerant)]


def _jobs_of_fold(experiment: ExperimentLaunch, fold: int, tolerant: bool) -> list[FoldRun]:
    kind = experiment.kind
    if kind.source is None:
        return [_job(experiment, fold, None, _starting_weights(experiment.parsed))]
    if experiment.reload == UNTRAINED:
        return [_job(experiment, fold, None, "untrained network")]
    if experiment.reload is not None:
        choice = Choice(Path(experiment.reload), GIVEN, "by RELOAD")
        return [_job(experiment, fold, choice, f"snapshot {experiment.reload} (as given)")]
    source = experiment.folder(kind.source, fold)
    try:
        choices = _choices(experiment, source)
    except (FileNotFoundError, ValueError) as error:
        if not tolerant:
            raise type(error)(f"fold {fold}: {error}") from error
        steps = [f" {step}" for step in experiment.snapshot_steps] or [""]
        missing = [Path(f"<{kind.source} snapshot{step} of fold {fold}>") for step in steps]
        choices = [Choice(path, reason="there is none yet") for path in missing]
    jobs = []
    several = experiment.every_snapshot or len(experiment.snapshot_steps) > 1
    for choice in choices:
        suffix = f"_step{choice.snapshot.stem}" if several else ""
        start = f"snapshot {choice.snapshot} ({choice})"
        jobs.append(_job(experiment, fold, choice, start, suffix))
    return jobs


def _choices(experiment: ExperimentLaunch, source: Path) -> list[Choice]:
    if experiment.every_snapshot:
        snapshots = list_snapshots(run_with_snapshots(source))
        return [Choice(path, ALL, f"one of {len(snapshots)} snapshot(s), each tested") for _, path in snapshots]
    if experiment.snapshot_steps:
        return [snapshot_of_step(source, step) for step in experiment.snapshot_steps]
    return [choose_snapshot(source, experiment.select)]


def _job(experiment: ExperimentLaunch, fold: int, choice: Choice | None, start: str, suffix: str = "") -> FoldRun:
    kind, name = experiment.kind, experiment.run_name
    words = [*experiment.settings, f"exp_prefix={name}_vfold{fold}", f"eval_fold={fold}"]
    if choice is not None:
        words += [f"reload_model_path={choice.snapshot}"]
        words += [f"selection.rule={choice.rule}", f"selection.reason={choice.reason}"] if choice.rule else []
    settings = parse_settings(words)
    folder = experiment.folder(name, fold)
    if experiment.restart:
        progress = Progress(Status.NEW)
    elif kind.trains:
        progress = progress_of_training(folder, settings)
    else:
        progress = progress_of_test(folder, settings)
    if progress.status is Status.INTERRUPTED:
        words.append("resume=True")
    title = f"{experiment.label}fold {fold}{suffix.replace('_step', ', step ')}"
    steps = settings["n_steps"] if kind.trains else 0
    log = experiment.log_file(fold, suffix)
    return FoldRun(experiment.mode, fold, tuple(words), title, start, progress, folder, log, steps)


def _starting_weights(settings: Mapping[str, Any]) -> str:
    if settings.get("use_coco_init"):
        return "COCO DeepLabV3 starting weights"
    if settings.get("pretrained_backbone"):
        return f"starting weights {settings['pretrained_backbone']}"
    return "random starting weights"
