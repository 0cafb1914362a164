"""Train the segmenter on superpixel pseudo-labels: python training.py with key=value ... (settings: config.py)."""

from pathlib import Path

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.episodes import SuperpixelEpisodes
from Stage2.datasets.mapped import SliceCache
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.evaluation.monitoring import TrainingScanTest, spread_over
from Stage2.evaluation.tasks import list_tasks
from Stage2.models.build import build_segmenter
from Stage2.models.encoders import pooling_window
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import Training
from Stage2.run_folders.selection import Choice, choice_record, resolve_choice
from Stage2.runs.experiment import ROOT, Run, Stage2Experiment, choose_device, configure_logging, data_folder
from Stage2.runs.recording import run_and_record

experiment = Stage2Experiment("training")


@experiment.main
def main(_run: Run, _config: dict) -> str:
    """Train one fold; returns the path of the last snapshot."""
    choice = chosen_snapshot(_config)
    _run.info |= choice_record(choice)
    model = configured_segmenter(_config, choice)
    data_set = get_dataset(_config["dataset"])
    n_shots = len(_config["support_idx"])
    cohort = Cohort(data_folder(_config["path"]["data_dir"], data_set), data_set, _config["eval_fold"], n_shots)
    cache = SliceCache(optional_path(_config["path"]["cache_dir"]), cohort.folder)
    episodes = superpixel_episodes(cohort, cache, _config)
    training = Training(model, _config["optim"]["lr"], _config["lr_step_gamma"], _config["ema_decay"])
    window = pooling_window(SLICE_SIZE, _config["proto_grid_size"])
    return str(run_and_record(_run, training, episodes, _config, window, training_scan_test(cohort, _config)))


def configured_segmenter(config: dict, choice: Choice | None) -> FewShotSegmenter:
    """The segmenter on its device, with the starting weights that the settings name."""
    return build_segmenter(
        config["modelname"],
        config["clsname"],
        config["precision"],
        choose_device(config["device"]),
        config["seed"],
        snapshot=None if choice is None else choice.snapshot,
        backbone=optional_path(config["pretrained_backbone"]),
        coco_folder=ROOT / "pretrained_model" if config["use_coco_init"] else None,
        channels_last=config["channels_last"],
        compiled=config["compile"],
    )


def chosen_snapshot(config: dict) -> Choice | None:
    """The snapshot that the settings name, and how it was chosen."""
    return resolve_choice(config["reload_model_path"], config["select"], **config["selection"])


def superpixel_episodes(
    cohort: Cohort, cache: SliceCache, config: dict, with_label: bool = False
) -> SuperpixelEpisodes:
    """Superpixel episodes of the fold's training scans, as configured."""
    return SuperpixelEpisodes(
        scans=cohort.training_scans(config["superpix_scale"], cache, with_label),
        excluded=cohort.excluded_slices(config["exclude_cls_list"]),
        seed=config["seed"],
        scans_per_load=None if config["scan_per_load"] == -1 else config["scan_per_load"],
        episodes_per_load=config["max_iters_per_load"],
    )


def training_scan_test(cohort: Cohort, config: dict) -> TrainingScanTest | None:
    """The test on training scans that `eval_every` asks for; None where it asks for none."""
    if config["eval_every"] == 0:
        return None
    support_ids = cohort.fold.choose_support(config["support_idx"])
    query_ids = spread_over(cohort.fold.train, config["eval_scans"])
    labels = cohort.data_set.training_labels(config["label_sets"])
    if not labels:
        raise ValueError("eval_every needs a training class, but the label set has none; choose another label_sets.")
    tasks = list_tasks(cohort, labels, support_ids, query_ids, config["n_sup_part"], config["min_fg_data"])
    supports = [cohort.annotated_scan(scan_id) for scan_id in support_ids]
    return TrainingScanTest(cohort, supports, tasks, query_ids, config["val_wsize"])


def optional_path(value: str | None) -> Path | None:
    """A configured file, or None."""
    return None if value is None else Path(value)


if __name__ == "__main__":
    configure_logging()
    experiment.run_commandline()
