"""Fine-tune a trained segmenter with annotated training classes (Step 3): python finetuning.py with key=value ..."""

import logging

from Stage2.run_folders.selection import choice_record
from Stage2.runs.build import (
    build_network,
    build_training,
    choose_start,
    fine_tuning_episodes,
    open_cohort,
    training_scan_test,
)
from Stage2.runs.experiment import Run, Stage2Experiment, configure_logging
from Stage2.runs.recording import train_and_record
from Stage2.runs.settings import RunSettings

PUBLISHED = {"n_steps": 5_100, "optim": {"lr": 1e-4}, "save_snapshot_every": 1_000}
experiment = Stage2Experiment("finetuning", PUBLISHED)
logger = logging.getLogger(__name__)


@experiment.main
def main(_run: Run, _config: dict) -> str:
    """Fine-tune one fold; returns the path of the last snapshot."""
    settings = RunSettings.of(_config)
    start = choose_start(settings)
    if start is None:
        raise ValueError(
            "fine-tuning starts from a trained snapshot; give reload_model_path=<run>/snapshots/<step>.pth."
        )
    _run.info |= choice_record(start)
    logger.info("fine-tuning %s (%s)", start.snapshot, start)
    training = build_training(settings, build_network(settings, start, or_backbone=True))
    cohort = open_cohort(settings)
    episodes = fine_tuning_episodes(settings, cohort)
    return str(train_and_record(_run, training, episodes, settings, training_scan_test(settings, cohort)))


if __name__ == "__main__":
    configure_logging()
    experiment.run_commandline()
