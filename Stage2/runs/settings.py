"""The settings of Stage 2: names as published, defaults, the checks that a run starts with, and their typed form.

Neither torch nor sacred is imported here: the experiments' driver compares settings before a run is started.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from Stage2.adaptation.settings import MINUTES, RANDOM_START
from Stage2.datasets.catalog import CT_STATISTICS, SUPERPIXEL_SCALES, TRAINING, VOLUME, get_dataset
from Stage2.datasets.dataset_file import nearest
from Stage2.datasets.folds import ANY, DISJOINT, EVERY_SUPPORT, EXCLUDE_RULES, FOLD_SCHEMES, OVERLAPPING
from Stage2.run_folders.layout import ADAPTED, ADNET, METHODS, PAPER, PROTOCOLS, PROTOTYPES
from Stage2.run_folders.selection import LAST, RULES
from Stage2.segmentation.method import MATCHINGS

EPISODES = ("superpixel", "supervoxel")


@dataclass(frozen=True)
class OptimiserSettings:
    """Settings of the optimiser."""

    lr: float = 1e-3


@dataclass(frozen=True)
class SelectionSettings:
    """How the file in reload_model_path was chosen; the driver tells it."""

    rule: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class PathSettings:
    """Where things lie."""

    log_dir: str = "./exps"
    data_dir: str | None = None  # processed folder; None: the data set's own
    cache_dir: str | None = None  # slices for training; None: cache/ in data_dir


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run. Training, fine-tuning and testing share them, as published."""

    # network
    modelname: str = "dlfcn_res101"  # encoder, see Stage2/models/encoders.py
    clsname: str = "grid_proto"  # head: grid_proto: ALPNet; global_proto: PA-Net; anomaly, anomaly_query: ADNet
    proto_grid_size: int = 8  # pooling cells along a side of the feature grid, in training
    use_coco_init: bool = False  # start the encoder from torchvision's COCO DeepLabV3 weights
    use_densecl_init: bool = False  # start the encoder from the Stage 1 weights in pretrained_backbone
    pretrained_backbone: str | None = None  # file of starting weights: our Stage 1's, DenseCL's, MMPretrain's ...
    reload_model_path: str | None = None  # snapshot to start from, the run folder to take it from, or an encoder's file
    # data
    dataset: str = "CHAOST2_Superpix"  # CHAOST2, SABS, or the path of a .yaml file (docs/datasets.md)
    label_sets: int = 0  # which organs are training classes
    exclude_cls_list: list[int] = field(default_factory=list)  # labels whose slices are left out of training
    exclude_rule: str = ANY  # which slices: those with any of these labels, or with all of them at once
    eval_fold: int = 0
    fold_scheme: str = DISJOINT  # disjoint: support after the test scans; overlapping: one of them, as ADNet's line
    ct_statistics: str = TRAINING  # CT is normalised by the fold's training volumes, or each volume by its own
    superpix_scale: str = "MIDDLE"  # of superpixels and supervoxels
    episodes: str = EPISODES[0]  # superpixel: two views of a slice; supervoxel: two slices of a supervoxel, as ADNet
    min_fg_data: int = 1  # class map that support slices are taken from
    scan_per_load: int = -1  # training scans in use at a time; -1: all
    max_iters_per_load: int = 1000  # episodes of a pass over the loader
    num_workers: int = 4
    # training
    n_steps: int = 100_100
    optim_type: str = "sgd"
    optim: OptimiserSettings = OptimiserSettings()
    lr_step_gamma: float = 0.95  # factor on the learning rate every 1000 steps
    usealign: bool = True  # alignment loss
    use_wce: bool = True  # class weights in the query loss
    batch_size: int = 1  # episodes of a step
    eval_every: int = 0  # steps between tests on the training classes of training scans, logged; 0: none
    eval_scans: int = 4  # training scans in such a test
    ema_decay: float = 0.0  # of a moving average of the weights, kept as snapshots/ema_<step>.pth; 0: none
    seed: int = 1234
    print_interval: int = 100
    save_snapshot_every: int = 25_000
    picture_every: int = 1000  # steps between pictures of an episode for TensorBoard, also at snapshots; 0: none
    resume: bool = False  # go on with the latest run of this experiment
    select: str = LAST  # snapshot of a folder in reload_model_path: last, or the best on train_scans or test
    selection: SelectionSettings = SelectionSettings()
    # testing
    # by place in the fold's test and support scans; "all", in tests: each of these in turn
    support_idx: list[int] | str = field(default_factory=lambda: [-1])
    n_sup_part: int = 3
    val_wsize: int = 2  # pooling window in testing
    z_margin: int = 0  # slices scored beyond the class's range, on either side
    protocol: str = PAPER  # paper: as published; clean: no label of a query before scoring; adnet: as ADNet's line
    slice_matching: str = "similarity"  # how a slice finds its support in the clean protocol: similarity or position
    full_volume: bool = False  # also score all slices, not only the class's range; the clean protocol always does
    query_prototypes: int = 0  # prototypes of a class that confident cells of the query may add, in any head; 0: none
    surface_distances: bool = False  # also HD95 and ASSD in mm
    method: str = PROTOTYPES  # prototypes, or adapted: a network learns the classes from the supports first
    adapt_minutes: float = MINUTES  # of processor time, over all threads, that it learns
    adapt_steps: int = 0  # of the optimiser in place of minutes, the same again from the same seed; 0: minutes
    adapt_start: str | None = None  # random, or a file; None: reload_model_path, pretrained_backbone, or our start
    # where
    exp_prefix: str = ""
    path: PathSettings = PathSettings()
    device: str = "auto"  # auto, cpu, cuda, cuda:1 ...
    channels_last: bool = False  # memory layout of the encoder: faster mostly, results differ by rounding
    precision: str = "fp32"  # of the encoder: fp32, bf16 (faster on units with bfloat16), fp16 (for GPUs)
    compile: bool = False  # torch.compile the encoder: the first step takes minutes, results differ by rounding

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "RunSettings":
        """The typed form of a checked configuration."""
        groups = {"optim": OptimiserSettings, "selection": SelectionSettings, "path": PathSettings}
        return cls(**{key: groups[key](**value) if key in groups else value for key, value in config.items()})


DEFAULTS: Mapping[str, Any] = asdict(RunSettings())
# The choices of encoders and heads come from their registries, where the check runs.
CHOICES: Mapping[str, Collection[str]] = {
    "optim_type": ("sgd",), "superpix_scale": SUPERPIXEL_SCALES, "protocol": PROTOCOLS, "select": RULES,
    "slice_matching": MATCHINGS, "method": METHODS, "exclude_rule": EXCLUDE_RULES, "fold_scheme": FOLD_SCHEMES,
    "ct_statistics": CT_STATISTICS, "episodes": EPISODES,
}  # fmt: skip
# What a protocol sets where nothing else is said. Support 2 of the test fold: ADNet's published choice.
OF_PROTOCOL: Mapping[str, Mapping[str, Any]] = {
    ADNET: {"fold_scheme": OVERLAPPING, "ct_statistics": VOLUME, "support_idx": [2]}
}
AT_LEAST = {
    "proto_grid_size": 1, "min_fg_data": 1, "max_iters_per_load": 1, "num_workers": 0, "n_steps": 1, "batch_size": 1,
    "seed": 0, "eval_every": 0, "eval_scans": 1, "print_interval": 1, "save_snapshot_every": 1, "picture_every": 0,
    "n_sup_part": 1, "val_wsize": 1, "z_margin": 0, "query_prototypes": 0, "adapt_steps": 0,
}  # fmt: skip
FEATURE_GRID = 32  # cells of the features of a slice along a side
# A volume has no more slices than parts; NumPy takes no larger seed.
AT_MOST = {"n_sup_part": 1000, "val_wsize": FEATURE_GRID, "seed": 2**32 - 1}


def with_protocol_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are given, and those that the protocol among them brings along; the given ones win."""
    brought = [own for protocol, own in OF_PROTOCOL.items() if given.get("protocol") == protocol]
    return {**(brought[0] if brought else {}), **given}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested settings."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_config(config: Mapping[str, Any], choices: Mapping[str, Collection[str]] = MappingProxyType({})) -> None:
    """Refuse settings that are misspelt, of a wrong type, out of range or at odds with one another.

    Args:
        config: all settings, nested as `DEFAULTS`.
        choices: setting -> its possible values, of those that are kept in registries.

    Raises:
        ValueError: the first thing wrong, with what would be right.
    """
    defaults = dict(flatten(DEFAULTS))
    settings = dict(flatten(config))
    for key in settings:
        if key not in defaults:
            raise ValueError(f"{key} is not a setting; the nearest one is {nearest(key, defaults)}.")
    for key, value in settings.items():
        _check_type(key, value, defaults[key])
    for key, possible in (CHOICES | dict(choices)).items():
        if settings[key] not in possible:
            raise ValueError(f"{key}={settings[key]} is unknown; choose one of {', '.join(possible)}.")
    for key, least in AT_LEAST.items():
        if settings[key] < least:
            raise ValueError(f"{key}={settings[key]} is too small; choose {least} or more.")
    for key, most in AT_MOST.items():
        if settings[key] > most:
            raise ValueError(f"{key}={settings[key]} is too large; choose {most} or less.")
    if settings["optim.lr"] <= 0:
        raise ValueError(f"optim.lr={settings['optim.lr']} must be above 0.")
    if not 0 < settings["lr_step_gamma"] <= 1:
        raise ValueError(f"lr_step_gamma={settings['lr_step_gamma']} must be above 0 and at most 1, such as 0.95.")
    if settings["adapt_minutes"] <= 0:
        raise ValueError(f"adapt_minutes={settings['adapt_minutes']} must be above 0.")
    if not 0 <= settings["ema_decay"] < 1:
        raise ValueError(f"ema_decay={settings['ema_decay']} must be 0 (no average) or below 1, such as 0.999.")
    if settings["scan_per_load"] < 1 and settings["scan_per_load"] != -1:
        raise ValueError(f"scan_per_load={settings['scan_per_load']} must be -1 (all scans) or 1 or more.")
    data_set = get_dataset(settings["dataset"])
    data_set.training_labels(settings["label_sets"])
    if not 0 <= settings["eval_fold"] < data_set.n_folds:
        raise ValueError(f"eval_fold={settings['eval_fold']} is not a fold; choose 0 to {data_set.n_folds - 1}.")
    for label in settings["exclude_cls_list"]:
        if label not in data_set.classes.values() or label == 0:
            raise ValueError(f"exclude_cls_list names {label}, which is no organ of {data_set.name}.")
    _check_starting_weights(settings)
    _check_adaptation(settings)
    _check_protocol(settings)


def _check_type(key: str, value: Any, default: Any) -> None:
    """A value has the type of its default; None stands for a text, and a whole number will do for a float."""
    expected = str if default is None else type(default)
    fits = (default is None and value is None) or type(value) is expected or (expected is float and type(value) is int)
    if isinstance(value, list | tuple) and expected is list:
        fits = all(type(entry) is int for entry in value)
    if expected is float and fits:
        fits = math.isfinite(value)
    is_word = key == "support_idx" and isinstance(value, str)
    if not fits and not (is_word and value == EVERY_SUPPORT):
        wanted = {list: "a list of whole numbers", str: "text", int: "a whole number", float: "a number"}
        example = f"{default!r}, or {EVERY_SUPPORT}" if is_word else f"{default!r}"
        raise ValueError(f"{key}={value!r}: expected {wanted.get(expected, 'True or False')}, such as {example}.")


def _check_starting_weights(settings: Mapping[str, Any]) -> None:
    if settings["use_densecl_init"] and settings["pretrained_backbone"] is None:
        raise ValueError("use_densecl_init=True needs pretrained_backbone=FILE, the backbone that Stage 1 made.")
    if settings["use_coco_init"] and settings["pretrained_backbone"] and not settings["use_densecl_init"]:
        raise ValueError(
            "use_coco_init=True and pretrained_backbone both start the encoder; choose one, or add "
            "use_densecl_init=True: COCO's weights first, then those of the file in their place."
        )
    if settings["use_coco_init"] and settings["modelname"] != "dlfcn_res101":
        raise ValueError(
            "use_coco_init=True: the COCO weights are those of a dilated ResNet-101, and modelname="
            f"{settings['modelname']}; set modelname=dlfcn_res101."
        )


def _check_adaptation(settings: Mapping[str, Any]) -> None:
    start = settings["adapt_start"]
    if settings["method"] != ADAPTED:
        given = [key for key in ("adapt_start", "adapt_steps") if settings[key]]
        if given:
            raise ValueError(
                f"{given[0]}={settings[given[0]]} is of adapted networks, and method={settings['method']}; set "
                f"method={ADAPTED}, or leave {given[0]} out."
            )
    elif start is not None and settings["reload_model_path"] is not None:
        raise ValueError(
            f"adapt_start={start} and reload_model_path both say what the adaptation starts from; give one of them."
        )
    elif settings["use_coco_init"] and not any(
        settings[key] for key in ("adapt_start", "reload_model_path", "pretrained_backbone")
    ):
        raise ValueError(
            f"use_coco_init=True starts no adaptation; set adapt_start={RANDOM_START} or to a file, or "
            "use_coco_init=False."
        )


def _check_protocol(settings: Mapping[str, Any]) -> None:
    protocol, adapted = settings["protocol"], settings["method"] == ADAPTED
    if adapted and settings["query_prototypes"]:
        raise ValueError(
            f"query_prototypes={settings['query_prototypes']} adds prototypes, and method={ADAPTED} has none; set "
            f"method={PROTOTYPES}, or leave query_prototypes out."
        )
    if adapted and protocol == ADNET:
        raise ValueError(f"protocol={ADNET} compares prototypes, and method={ADAPTED}; set method={PROTOTYPES}.")
    if adapted and settings["support_idx"] == EVERY_SUPPORT:
        raise ValueError(
            f"support_idx={EVERY_SUPPORT} tries prototypes of every support, and method={ADAPTED} learns a network for "
            f"each; set method={PROTOTYPES}, or name one support, as in support_idx=[-1]."
        )
    if protocol == ADNET and settings["full_volume"]:
        raise ValueError(
            f"full_volume=True counts all slices, and protocol={ADNET} segments those that show the class only; leave "
            "full_volume out, or choose another protocol."
        )


def check_trains(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that only tests can have."""
    if config["query_prototypes"]:
        raise ValueError(
            f"query_prototypes={config['query_prototypes']} is of tests, which have a whole query volume; leave it out "
            "of training and fine-tuning."
        )
    if config["support_idx"] == EVERY_SUPPORT:
        raise ValueError(
            f"support_idx={EVERY_SUPPORT} is of tests; training and fine-tuning take support scans by number, as in "
            "support_idx=[-1]."
        )
