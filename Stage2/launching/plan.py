"""The runs of an experiment: for every fold the snapshot it starts from, its command, and what is left of it to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Stage2.datasets.catalog import run_name
from Stage2.datasets.folds import count_shots
from Stage2.launching.progress import Progress, Status, progress_of_test, progress_of_training
from Stage2.run_folders.layout import experiment_folder
from Stage2.run_folders.modes import MODES, Mode
from Stage2.run_folders.selection import GIVEN, LAST, Choice, choose_snapshots
from Stage2.runs.plain_config import parse_settings

UNTRAINED = "none"  # in place of a snapshot: the network with its starting weights


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
        own = self.parsed
        dataset, shots = run_name(own["dataset"]), count_shots(own.get("support_idx", [-1]))
        return experiment_folder(own["path.log_dir"], f"{name}_vfold{fold}", dataset, own["label_sets"], shots)

    def log_file(self, fold: int, suffix: str = "") -> Path:
        """Console log of a fold; `suffix` tells several runs of one fold apart."""
        of = f"{run_name(self.parsed['dataset'])}_sets_{self.parsed['label_sets']}"
        return self.logs / f"{self.run_name}_{of}_fold{fold}{suffix}.log"


@dataclass(frozen=True)
class FoldRun:
    """One run.

    Attributes:
        fold, title: that it is of; with experiment and, among several, snapshot, so that no other run has this title.
        words, start: arguments of the entry point after `with`; what it starts from, in words.
        progress, steps: what there is of it; length of a training, 0 for a test.
        folder, log: experiment folder, console log.
    """

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

    @property
    def units(self) -> int:
        """Work: the steps that are left of a training, 1 for a test."""
        return max(self.steps - self.progress.step, 1)


def plan(experiment: ExperimentLaunch, folds: Sequence[int], tolerant: bool = False) -> list[FoldRun]:
    """The runs of the folds, in order.

    Args:
        experiment, folds: what is to run, and where.
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
        choices = choose_snapshots(source, experiment.select, experiment.snapshot_steps, experiment.every_snapshot)
    except (FileNotFoundError, ValueError) as error:
        if not tolerant:
            raise type(error)(f"fold {fold}: {error}") from error
        steps = [f" {step}" for step in experiment.snapshot_steps] or [""]
        missing = [Path(f"<{kind.source} snapshot{step} of fold {fold}>") for step in steps]
        choices = [Choice(path, reason="there is none yet") for path in missing]
    several = experiment.every_snapshot or len(experiment.snapshot_steps) > 1
    return [
        _job(experiment, fold, own, f"snapshot {own.snapshot} ({own})", f"_step{own.snapshot.stem}" if several else "")
        for own in choices
    ]


def _job(experiment: ExperimentLaunch, fold: int, choice: Choice | None, start: str, suffix: str = "") -> FoldRun:
    kind, name = experiment.kind, experiment.run_name
    words = [*experiment.settings, f"exp_prefix={name}_vfold{fold}", f"eval_fold={fold}"]
    if choice is not None:
        words += [f"reload_model_path={choice.snapshot}"]
        words += [f"selection.rule={choice.rule}", f"selection.reason={choice.reason}"] if choice.rule else []
    settings = parse_settings(words)
    folder = experiment.folder(name, fold)
    progress_of = progress_of_training if kind.trains else progress_of_test
    progress = Progress(Status.NEW) if experiment.restart else progress_of(folder, settings)
    if progress.status is Status.INTERRUPTED:
        words.append("resume=True")
    title = f"{experiment.label}fold {fold}{suffix.replace('_step', ', step ')}"
    steps = settings["n_steps"] if kind.trains else 0
    return FoldRun(fold, tuple(words), title, start, progress, folder, experiment.log_file(fold, suffix), steps)


def _starting_weights(settings: Mapping[str, Any]) -> str:
    if settings.get("use_coco_init"):
        return "COCO DeepLabV3 starting weights"
    weights = settings.get("pretrained_backbone")
    return f"starting weights {weights}" if weights else "random starting weights"
