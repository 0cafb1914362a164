"""What runs are built from: the network with its starting weights, the cohort, episodes, tests on training scans.

Here the settings are unpacked; nothing below knows them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Stage2.adaptation.network_file import describe_file
from Stage2.adaptation.settings import RANDOM_START, AdaptationSettings, starting_file
from Stage2.adaptation.start import encoder_of
from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.episodes import AnnotatedClass, FineTuningEpisodes, PseudoLabelEpisodes, SuperpixelEpisodes
from Stage2.datasets.folds import EVERY_SUPPORT, count_shots
from Stage2.datasets.mapped import SliceCache
from Stage2.datasets.pseudo_labels import PseudoLabels
from Stage2.datasets.supervoxel_episodes import SupervoxelEpisodes
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.adapted_protocol import AdaptedProtocol, adapt_to_supports
from Stage2.evaluation.monitoring import TrainingScanTest, spread_over
from Stage2.evaluation.protocol import ClassTask, list_tasks
from Stage2.models.build import build_segmenter
from Stage2.models.devices import choose_device
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import Training
from Stage2.run_folders.layout import ADAPTED
from Stage2.run_folders.selection import Choice, resolve_choice
from Stage2.runs.settings import RunSettings

ROOT = Path(__file__).resolve().parents[2]


def choose_start(settings: RunSettings) -> Choice | None:
    """The snapshot that the settings name, and how it was chosen; None where they name none."""
    chosen = settings.selection
    return resolve_choice(settings.reload_model_path, settings.select, chosen.rule, chosen.reason)


def build_network(settings: RunSettings, start: Choice | None, *, or_backbone: bool = False) -> FewShotSegmenter:
    """The segmenter on its device, from a snapshot or with the starting weights that the settings name.

    Args:
        settings: of the run.
        start: the snapshot.
        or_backbone: `start` may be a backbone of other pre-training, and the rest of the network stays random then.
    """
    return build_segmenter(
        settings.modelname,
        settings.clsname,
        settings.precision,
        choose_device(settings.device),
        settings.seed,
        snapshot=None if start is None else start.snapshot,
        or_backbone=or_backbone,
        backbone=_optional_path(settings.pretrained_backbone),
        coco_folder=ROOT / "pretrained_model" if settings.use_coco_init else None,
        channels_last=settings.channels_last,
        compiled=settings.compile,
    )


def build_adapted_protocol(
    settings: RunSettings, start: Choice | None, supports: Sequence[Scan], tasks: Sequence[ClassTask]
) -> tuple[AdaptedProtocol, dict[str, Any]]:
    """The classes of a fold with a network that is adapted to them here, and what is recorded of the adaptation.

    Args:
        settings: of the run.
        start: the snapshot to start from; None: what else the settings name, or the starting network.
        supports: support scans with labels.
        tasks: the classes.
    """
    begin = adaptation_start(settings, start)
    steps = settings.adapt_steps or None
    own = AdaptationSettings(
        minutes=None if steps else settings.adapt_minutes, steps=steps, seed=settings.seed,
        encoder=encoder_of_start(begin, settings.modelname),
    )  # fmt: skip
    clean = settings.protocol == "clean"
    protocol = adapt_to_supports(supports, tasks, begin, own, clean=clean, device=choose_device(settings.device))
    return protocol, {
        "start": begin,
        "budget": own.budget,
        "annotated": "whole support scans" if clean else "support slices",
        "steps": protocol.adapted.steps,
        "minutes": round(protocol.adapted.minutes, 3),
        "side": protocol.side,
    }


def adaptation_start(settings: RunSettings, start: Choice | None) -> str:
    """What an adaptation starts from: "random", or a file."""
    return str(start.snapshot) if start else starting_file(settings.adapt_start or settings.pretrained_backbone)


def begins_from(settings: RunSettings, start: Choice | None) -> Path | None:
    """The file that the network of a test begins from; None: random weights, or COCO's."""
    if settings.method != ADAPTED:
        return _optional_path(settings.pretrained_backbone) if start is None else start.snapshot
    begin = adaptation_start(settings, start)
    return None if begin == RANDOM_START else Path(begin)


def encoder_of_start(start: str, modelname: str) -> str | None:
    """The encoder to adapt; None: that of the whole network in the file. A file that tells none has `modelname`'s."""
    if start == RANDOM_START:
        return modelname
    path = Path(start)
    if describe_file(path) is not None:
        return None
    try:
        return encoder_of(path)
    except ValueError:
        return modelname


def build_training(settings: RunSettings, model: FewShotSegmenter) -> Training:
    """The network with its optimiser, at the start."""
    return Training(model, settings.optim.lr, settings.lr_step_gamma, settings.ema_decay)


def open_cohort(settings: RunSettings) -> Cohort:
    """The processed folder, seen through the fold."""
    data_set = get_dataset(settings.dataset)
    folder = data_folder(settings.path.data_dir, data_set)
    shots = count_shots(settings.support_idx)
    return Cohort(folder, data_set, settings.eval_fold, shots, settings.fold_scheme, settings.ct_statistics)


def pseudo_label_episodes(settings: RunSettings, cohort: Cohort, with_label: bool = False) -> PseudoLabelEpisodes:
    """Episodes of superpixels or supervoxels of the fold's training scans."""
    cache = SliceCache(_optional_path(settings.path.cache_dir), cohort.folder)
    labels = PseudoLabels(f"{settings.episodes}s")
    kind = SuperpixelEpisodes if labels is PseudoLabels.SUPERPIXELS else SupervoxelEpisodes
    return kind(
        scans=cohort.training_scans(settings.superpix_scale, cache, with_label, labels),
        excluded=cohort.excluded_slices(settings.exclude_cls_list, settings.exclude_rule),
        seed=settings.seed,
        scans_per_load=None if settings.scan_per_load == -1 else settings.scan_per_load,
        episodes_per_load=settings.max_iters_per_load,
    )


def fine_tuning_episodes(settings: RunSettings, cohort: Cohort) -> FineTuningEpisodes:
    """Episodes of pseudo-labels mixed with those of annotated training classes."""
    support_ids = cohort.fold.choose_support(settings.support_idx)
    tasks = _tasks(settings, cohort, cohort.data_set.training_labels(settings.label_sets), cohort.fold.train)
    return FineTuningEpisodes(
        pseudo_label_episodes(settings, cohort, with_label=True),
        [cohort.annotated_scan(scan_id) for scan_id in support_ids],
        [AnnotatedClass(task.label, task.support_slices, task.ranges) for task in tasks],
    )


def training_scan_test(settings: RunSettings, cohort: Cohort) -> TrainingScanTest | None:
    """The test on training scans that `eval_every` asks for; None where it asks for none."""
    if settings.eval_every == 0:
        return None
    labels = cohort.data_set.training_labels(settings.label_sets)
    if not labels:
        raise ValueError("eval_every needs a training class, but the label set has none; choose another label_sets.")
    query_ids = spread_over(cohort.fold.train, settings.eval_scans)
    tasks = _tasks(settings, cohort, labels, query_ids)
    supports = [cohort.annotated_scan(scan_id) for scan_id in cohort.fold.choose_support(settings.support_idx)]
    return TrainingScanTest(cohort, supports, tasks, query_ids, settings.val_wsize)


def tested_scans(settings: RunSettings, cohort: Cohort) -> list[str]:
    """The test scans of the fold that are no supports; all of them where each takes its turn as support."""
    every = settings.support_idx == EVERY_SUPPORT
    support_ids = [] if every else cohort.fold.choose_support(settings.support_idx)
    return [scan_id for scan_id in cohort.fold.test if scan_id not in support_ids]


def held_out_tasks(settings: RunSettings, cohort: Cohort) -> tuple[list[ClassTask], list[str]]:
    """The classes that the label set tests, and the test scans of the fold that are no supports.

    Raises:
        ValueError: no test scan is left.
    """
    support_ids = cohort.fold.choose_support(settings.support_idx)
    queries = tested_scans(settings, cohort)
    if not queries:
        raise ValueError(
            f"support_idx={list(settings.support_idx)} takes every test scan ({', '.join(support_ids)}) as support; "
            "leave one to test: choose -1 for the scan after them."
        )
    return _tasks(settings, cohort, cohort.data_set.test_labels(settings.label_sets), queries), queries


def data_folder(data_dir: str | None, data_set: DataSet) -> Path:
    """Processed folder: the given one, or the data set's own below the repository root.

    Raises:
        ValueError: neither is known.
    """
    if data_dir is None and data_set.default_folder is None:
        raise ValueError(f"{data_set.source} names no default_folder; name the processed folder by path.data_dir=DIR.")
    return Path(data_dir) if data_dir is not None else ROOT / data_set.default_folder


def _tasks(settings: RunSettings, cohort: Cohort, labels: list[int], query_ids: list[str]) -> list[ClassTask]:
    support_ids = cohort.fold.choose_support(settings.support_idx)
    return list_tasks(cohort, labels, support_ids, query_ids, settings.n_sup_part, settings.min_fg_data)


def _optional_path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
