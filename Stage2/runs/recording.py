"""What a training run keeps in its folder: scalars, pictures, snapshots, the state to resume from."""

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from Stage1.files import LOCK, locked, remove_partial, whole_file
from Stage2.datasets.catalog import dataset_identity
from Stage2.datasets.episodes import FineTuningEpisodes, PseudoLabelEpisodes
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.models.encoders import pooling_window
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.snapshots import save_snapshot
from Stage2.optimisation.loop import Cadence, Listener, tell, train
from Stage2.optimisation.training import Training
from Stage2.run_folders.layout import SNAPSHOTS, STATE_FILE, average_path, list_runs, list_snapshots, snapshot_path
from Stage2.runs.episode_picture import episode_picture
from Stage2.runs.event_log import EventLog
from Stage2.runs.experiment import Run, run_folder
from Stage2.runs.interruption import RunInterrupted, deferred
from Stage2.runs.same_settings import comparable
from Stage2.runs.settings import DEFAULTS, RunSettings
from Stage2.runs.trained_scans import FINE_TUNING

PICTURE = "support | query | prediction | pseudo-label"
# Settings that make two runs the same experiment: a resumed run must agree in them. Its length may differ.
IDENTITY = (
    "modelname", "clsname", "proto_grid_size", "dataset", "label_sets", "exclude_cls_list", "eval_fold",
    "superpix_scale", "scan_per_load", "max_iters_per_load", "optim", "lr_step_gamma", "usealign", "use_wce", "seed",
    "precision", "channels_last",
)  # fmt: skip
# The same, but absent where they have their defaults, as in states before them.
ADDED = ("batch_size", "ema_decay", "compile", "episodes", "exclude_rule", "fold_scheme", "ct_statistics")
# The same again: what a training begins from, and what a fine-tuning learns from beside pseudo-labels.
ENTRY = "entry point"
BEGINNING = ("pretrained_backbone", "use_coco_init", "use_densecl_init")
SNAPSHOT = "reload_model_path"
ANNOTATED = ("support_idx", "n_sup_part", "min_fg_data")
NEWER = (ENTRY, *BEGINNING, SNAPSHOT, *ANNOTATED)  # states before them lack them
Evaluation = Callable[[FewShotSegmenter], dict[str, float]]

logger = logging.getLogger(__name__)


class RunRecorder(Listener):
    """Keeps what a training tells in the run folder, and asks it to stop when a signal came.

    Args:
        run: the sacred run.
        identity: of the experiment, for the state to resume from.
        log: for TensorBoard.
        evaluation: tests the model; None: there is no such test.
        received: the number of the signal that came, or None.
    """

    def __init__(
        self,
        run: Run,
        identity: Mapping[str, Any],
        log: EventLog,
        evaluation: Evaluation | None,
        received: Callable[[], int | None],
    ):
        self.folder = run_folder(run)
        self._run, self._identity, self._log = run, identity, log
        self._evaluation, self._received = evaluation, received

    def on_report(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._run.log_scalar(name, value, step)
        self._log.add_scalars(step, scalars)

    def on_picture(self, step: int, episode: Mapping[str, Tensor]) -> None:
        self._log.add_picture(step, PICTURE, episode_picture(episode))

    def on_snapshot(self, training: Training) -> None:
        step = training.state.step
        save_snapshot(training.model, snapshot_path(self.folder, step))
        if training.average is not None:
            save_snapshot(training.model, average_path(self.folder, step), training.average)
        self.keep_state(training)

    def keep_state(self, training: Training) -> None:
        """Keep the state alone: a snapshot of a step where one stops is none that an uninterrupted run has."""
        self._log.flush()  # a run that goes on from this state takes over the pictures before it
        training.save(self.folder / STATE_FILE, self._identity)

    def evaluate(self, model: FewShotSegmenter) -> dict[str, float]:
        return self._evaluation(model) if self._evaluation is not None else {}

    def stop_asked(self) -> bool:
        return self._received() is not None

    def resume(self, training: Training, n_steps: int) -> None:
        """Go on from the experiment's latest earlier run; its snapshots, scalars and pictures become this run's too.

        Raises:
            ValueError: that run is another experiment's, or has more than the wanted steps already.
        """
        earlier = [path for path in list_runs(self.folder.parent) if path != self.folder]
        _tidy(earlier)
        with_state = [path for path in earlier if (path / STATE_FILE).is_file()]
        if not with_state:
            logger.info("nothing to resume in %s: starting from the beginning", self.folder.parent)
            return
        source = with_state[-1]
        training.restore(source / STATE_FILE, self._identity, NEWER)
        done = training.state.step
        if done > n_steps:
            raise ValueError(f"{source} has {done} steps already; give n_steps={done} or more, or train anew.")
        for step, path in list_snapshots(source):
            if step <= training.state.step:  # later ones are made again
                _link_or_copy(path, snapshot_path(self.folder, step))
                if average_path(source, step).is_file():
                    _link_or_copy(average_path(source, step), average_path(self.folder, step))
        _link_or_copy(source / STATE_FILE, self.folder / STATE_FILE)
        for step, scalars in training.state.scalars:
            self.on_report(step, scalars)
        self._log.copy_pictures(source, training.state.step)
        logger.info("resumed %s at step %d", source, training.state.step)


def train_and_record(
    run: Run,
    training: Training,
    episodes: PseudoLabelEpisodes | FineTuningEpisodes,
    settings: RunSettings,
    evaluation: Evaluation | None = None,
) -> Path:
    """Train as configured, resuming where asked to, and keep everything in the run folder.

    Args:
        run: the sacred run.
        training: model and optimiser at their start.
        episodes: where episodes come from.
        settings: of the run.
        evaluation: tests the model every `eval_every` steps and at every snapshot; None: no such tests.

    Returns:
        The last snapshot.

    Raises:
        RunInterrupted: SIGINT or SIGTERM came; the state to resume from is in the run folder.
        OSError: the run to resume is still at work, which the message names, or something cannot be written.
        ValueError: the run to resume is another experiment's or has more steps already, or the training has collapsed
            or diverged.
    """
    folder = run_folder(run)
    cadence = Cadence(
        settings.n_steps,
        report=settings.print_interval,
        snapshot=settings.save_snapshot_every,
        evaluate=settings.eval_every if evaluation is not None else 0,
        picture=settings.picture_every,
    )
    with locked(folder), EventLog(folder) as log, deferred() as received:
        recorder = RunRecorder(run, identity_of(settings, run), log, evaluation, received)
        if settings.resume:
            recorder.resume(training, settings.n_steps)
        else:
            with suppress(OSError):
                _tidy(path for path in list_runs(folder.parent) if path != folder)
        last = snapshot_path(folder, settings.n_steps)
        if training.state.step == settings.n_steps and not last.is_file():  # it was asked to stop there, on its way
            tell(training, cadence, recorder)
        finished = train(
            training,
            episodes,
            cadence,
            recorder,
            n_workers=settings.num_workers,
            batch_size=settings.batch_size,
            window=pooling_window(SLICE_SIZE, settings.proto_grid_size),
            align=settings.usealign,
            weigh_classes=settings.use_wce,
        )
        if not finished:
            recorder.keep_state(training)
            where = f"step {training.state.step} of {settings.n_steps} in {folder}"
            raise RunInterrupted(received(), f"kept {where}; go on with resume=True")
    logger.info("snapshot: %s", last)
    return last


def identity_of(settings: RunSettings, run: Run) -> dict[str, Any]:
    """What a run that goes on from this one must agree in; see `IDENTITY`."""
    config, entry = asdict(settings), run.experiment_info["name"]
    identity = {key: config[key] for key in IDENTITY} | dataset_identity(settings.dataset)
    identity |= {key: config[key] for key in ADDED if config[key] != DEFAULTS[key]}
    began = BEGINNING + (ANNOTATED if entry == FINE_TUNING else ())
    identity |= {key: comparable(key, config[key]) for key in began}
    return identity | {ENTRY: entry, SNAPSHOT: comparable(SNAPSHOT, run.info.get("snapshot"))}


def _tidy(runs: Iterable[Path]) -> None:
    """Remove what killed processes left half-written in run folders.

    Raises:
        OSError: a process is at work in one of them.
    """
    for run in runs:
        if (run / LOCK).exists():  # a run that ends by itself takes it away
            with locked(run):
                remove_partial(run)
                remove_partial(run / SNAPSHOTS)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        with whole_file(target) as temporary, source.open("rb") as stored, temporary.open("wb") as file:
            shutil.copyfileobj(stored, file)
