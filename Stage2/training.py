"""Train the segmenter on pseudo-labels: python training.py with key=value ... (see runs/settings.py)."""

from Stage2.run_folders.selection import choice_record
from Stage2.runs.build import (
    build_network,
    build_training,
    choose_start,
    open_cohort,
    pseudo_label_episodes,
    training_scan_test,
)
from Stage2.runs.experiment import Run, Stage2Experiment, configure_logging
from Stage2.runs.recording import train_and_record
from Stage2.runs.settings import RunSettings

experiment = Stage2Experiment("training")


@experiment.main
def main(_run: Run, _config: dict) -> str:
    """Train one fold; returns the path of the last snapshot."""
    settings = RunSettings.of(_config)
    start = choose_start(settings)
    _run.info |= choice_record(start)
    training = build_training(settings, build_network(settings, start))
    cohort = open_cohort(settings)
    episodes = pseudo_label_episodes(settings, cohort)
    return str(train_and_record(_run, training, episodes, settings, training_scan_test(settings, cohort)))


if __name__ == "__main__":
    configure_logging()
    experiment.run_commandline()
