"""Fine-tune a trained segmenter with annotated training classes (Step 3): python finetuning.py with key=value ..."""

import logging

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.episodes import AnnotatedClass, FineTuningEpisodes
from Stage2.datasets.mapped import SliceCache
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.models.encoders import pooling_window
from Stage2.optimisation.training import Training
from Stage2.run_folders.selection import choice_record
from Stage2.runs.experiment import Run, Stage2Experiment, configure_logging, data_folder
from Stage2.runs.recording import run_and_record
from Stage2.training import (
    chosen_snapshot,
    configured_segmenter,
    optional_path,
    superpixel_episodes,
    training_scan_test,
)

PUBLISHED = {"n_steps": 5_100, "optim": {"lr": 1e-4}, "save_snapshot_every": 1_000}
experiment = Stage2Experiment("finetuning", PUBLISHED)
logger = logging.getLogger(__name__)


@experiment.main
def main(_run: Run, _config: dict) -> str:
    """Fine-tune one fold; returns the path of the last snapshot."""
    if _config["reload_model_path"] is None:
        raise ValueError(
            "fine-tuning starts from a trained snapshot; give reload_model_path=<run>/snapshots/<step>.pth."
        )
    choice = chosen_snapshot(_config)
    _run.info |= choice_record(choice)
    logger.info("fine-tuning %s (%s)", choice.snapshot, choice)
    model = configured_segmenter(_config, choice)
    data_set = get_dataset(_config["dataset"])
    n_shots = len(_config["support_idx"])
    cohort = Cohort(data_folder(_config["path"]["data_dir"], data_set), data_set, _config["eval_fold"], n_shots)
    support_ids = cohort.fold.choose_support(_config["support_idx"])
    classes = [
        AnnotatedClass(
            label,
            {
                scan_id: cohort.support_slices(label, scan_id, _config["n_sup_part"], _config["min_fg_data"])
                for scan_id in support_ids
            },
            cohort.ranges(label, cohort.fold.train),
        )
        for label in data_set.training_labels(_config["label_sets"])
    ]
    cache = SliceCache(optional_path(_config["path"]["cache_dir"]), cohort.folder)
    episodes = FineTuningEpisodes(
        superpixel_episodes(cohort, cache, _config, with_label=True),
        [cohort.annotated_scan(scan_id) for scan_id in support_ids],
        classes,
    )
    training = Training(model, _config["optim"]["lr"], _config["lr_step_gamma"], _config["ema_decay"])
    window = pooling_window(SLICE_SIZE, _config["proto_grid_size"])
    return str(run_and_record(_run, training, episodes, _config, window, training_scan_test(cohort, _config)))


if __name__ == "__main__":
    configure_logging()
    experiment.run_commandline()
