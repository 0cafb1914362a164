"""What a training run keeps in its folder: scalars, pictures, snapshots, the state to resume from."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from Stage1.files import remove_partial, whole_file
from Stage1.weights.checkpoints import write_checkpoint
from Stage2.datasets.catalog import dataset_identity
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import Training
from Stage2.run_folders.layout import STATE_FILE, average_path, list_runs, list_snapshots, snapshot_path
from Stage2.runs.episode_picture import episode_picture
from Stage2.runs.event_log import EventLog
from Stage2.runs.experiment import Run, run_folder
from Stage2.runs.interruption import RunInterrupted, deferred
from Stage2.runs.settings import DEFAULTS

PICTURE = "support | query | prediction | pseudo-label"
# Settings that make two runs the same experiment: a resumed run must agree in them. Its length may differ.
IDENTITY = (
    "modelname", "clsname", "proto_grid_size", "dataset", "label_sets", "exclude_cls_list", "eval_fold",
    "superpix_scale", "scan_per_load", "max_iters_per_load", "optim", "lr_step_gamma", "usealign", "use_wce", "seed",
    "precision", "channels_last",
)  # fmt: skip
ADDED = (
    "batch_size",
    "ema_decay",
    "compile",
)  # the same, but absent where they have their defaults, as in states before them

logger = logging.getLogger(__name__)


def run_and_record(
    run: Run,
    training: Training,
    episodes: Any,
    config: Mapping[str, Any],
    window: int,
    evaluate: Callable[[FewShotSegmenter], dict[str, float]] | None = None,
) -> Path:
    """Train as configured, resuming where asked to, and keep everything in the run folder.

    Args:
        run: the sacred run.
        training: model and optimiser at their start.
        episodes: where episodes come from.
        config: settings of the run.
        window: side of a pooling cell in feature pixels.
        evaluate: tests the model every `eval_every` steps and at every snapshot; None: no such tests.

    Returns:
        The last snapshot.

    Raises:
        RunInterrupted: SIGINT or SIGTERM came; the state to resume from is in the run folder.
    """
    folder = run_folder(run)
    identity = {key: config[key] for key in IDENTITY} | dataset_identity(config["dataset"])
    identity |= {key: config[key] for key in ADDED if config[key] != DEFAULTS[key]}
    with EventLog(folder) as log:
        if config["resume"]:
            _resume(run, training, identity, log)
        return _run(run, training, episodes, config, window, evaluate, identity, log)


def _run(
    run: Run,
    training: Training,
    episodes: Any,
    config: Mapping[str, Any],
    window: int,
    evaluate: Callable[[FewShotSegmenter], dict[str, float]] | None,
    identity: Mapping[str, Any],
    log: EventLog,
) -> Path:
    """`run_and_record` from where the training stands."""
    folder = run_folder(run)

    def report(step: int, scalars: dict[str, float]) -> None:
        _report(run, log, step, scalars)

    def draw(step: int, episode: Mapping[str, Tensor]) -> None:
        log.add_picture(step, PICTURE, episode_picture(episode))

    def keep(training: Training) -> None:
        log.flush()  # a run that goes on from this state takes over the pictures before it
        write_checkpoint(training.model.state_dict(), snapshot_path(folder, training.state.step))
        if training.average is not None:
            write_checkpoint(training.average, average_path(folder, training.state.step))
        training.save(folder / STATE_FILE, identity)

    with deferred() as received:
        finished = training.run(
            episodes,
            n_steps=config["n_steps"],
            n_workers=config["num_workers"],
            report_every=config["print_interval"],
            snapshot_every=config["save_snapshot_every"],
            on_report=report,
            on_snapshot=keep,
            stop_asked=lambda: received() is not None,
            batch_size=config["batch_size"],
            evaluate=evaluate,
            evaluate_every=max(config["eval_every"], 1),
            on_picture=draw if config["picture_every"] else None,
            picture_every=max(config["picture_every"], 1),
            window=window,
            align=config["usealign"],
            weigh_classes=config["use_wce"],
        )
        if not finished:
            # The state alone: a snapshot of this step would be one that no uninterrupted run has.
            log.flush()
            training.save(folder / STATE_FILE, identity)
            where = f"step {training.state.step} of {config['n_steps']} in {folder}"
            raise RunInterrupted(received(), f"kept {where}; go on with resume=True")
    last = list_snapshots(folder)[-1][1]
    logger.info("snapshot: %s", last)
    return last


def _report(run: Run, log: EventLog, step: int, scalars: Mapping[str, float]) -> None:
    """Note the scalars of a step in metrics.json and for TensorBoard."""
    for name, value in scalars.items():
        run.log_scalar(name, value, step)
    log.add_scalars(step, scalars)


def _resume(run: Run, training: Training, identity: Mapping[str, Any], log: EventLog) -> None:
    """Go on from the experiment's latest earlier run; its snapshots, scalars and pictures become this run's too."""
    folder = run_folder(run)
    earlier = [path for path in list_runs(folder.parent) if path != folder and (path / STATE_FILE).is_file()]
    if not earlier:
        logger.info("nothing to resume in %s: starting from the beginning", folder.parent)
        return
    source = earlier[-1]
    training.restore(source / STATE_FILE, identity)
    for place in (source, source / "snapshots"):
        remove_partial(place)
    for step, path in list_snapshots(source):
        if step <= training.state.step:  # later ones are made again
            _link_or_copy(path, snapshot_path(folder, step))
            if average_path(source, step).is_file():
                _link_or_copy(average_path(source, step), average_path(folder, step))
    _link_or_copy(source / STATE_FILE, folder / STATE_FILE)
    for step, scalars in training.state.scalars:
        _report(run, log, step, scalars)
    log.copy_pictures(source, training.state.step)
    logger.info("resumed %s at step %d", source, training.state.step)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        with whole_file(target) as temporary:
            shutil.copyfile(source, temporary)
