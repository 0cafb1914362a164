"""The settings of Stage 2: names as published, defaults, and the checks that a run starts with."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from Stage2.datasets.catalog import get_dataset
from Stage2.models.encoders import ENCODER_NAMES, PRECISIONS
from Stage2.models.few_shot import PROTOTYPE_KINDS
from Stage2.run_folders.selection import RULES
from Stage2.segmentation.method import MATCHINGS

DEFAULTS: Mapping[str, Any] = {
    # network
    "modelname": "dlfcn_res101",  # encoder, see Stage2/models/encoders.py
    "clsname": "grid_proto",  # grid_proto: ALPNet; global_proto: PA-Net
    "proto_grid_size": 8,  # pooling cells along a side of the feature grid, in training
    "use_coco_init": False,  # start the encoder from torchvision's COCO DeepLabV3 weights
    "use_densecl_init": False,  # start the encoder from the Stage 1 weights in pretrained_backbone
    "pretrained_backbone": None,  # file of starting weights: our Stage 1's, DenseCL's, MMPretrain's, torchvision's
    "reload_model_path": None,  # snapshot to start from (holds every weight), or the run folder to take it from
    # data
    "dataset": "CHAOST2_Superpix",  # CHAOST2, SABS, or the path of a .yaml file (docs/datasets.md)
    "label_sets": 0,  # which organs are training classes
    "exclude_cls_list": [],  # labels whose slices are left out of training (setting 2)
    "eval_fold": 0,
    "superpix_scale": "MIDDLE",
    "min_fg_data": 1,  # class map that support slices are taken from
    "scan_per_load": -1,  # training scans in use at a time; -1: all
    "max_iters_per_load": 1000,  # episodes of a pass over the loader
    "num_workers": 4,
    # training
    "n_steps": 100_100,
    "optim_type": "sgd",
    "optim": {"lr": 1e-3},
    "lr_step_gamma": 0.95,  # factor on the learning rate every 1000 steps
    "usealign": True,  # alignment loss
    "use_wce": True,  # class weights in the query loss
    "batch_size": 1,  # episodes of a step
    "eval_every": 0,  # steps between tests on the training classes of training scans, logged; 0: none
    "eval_scans": 4,  # training scans in such a test
    "ema_decay": 0.0,  # of a moving average of the weights, kept as snapshots/ema_<step>.pth; 0: none
    "seed": 1234,
    "print_interval": 100,
    "save_snapshot_every": 25_000,
    "picture_every": 1000,  # steps between pictures of an episode for TensorBoard, also at snapshots; 0: none
    "resume": False,  # go on with the latest run of this experiment
    "select": "last",  # which snapshot of a folder in reload_model_path: last, or the best on train_scans or test
    "selection": {"rule": None, "reason": None},  # how the file in reload_model_path was chosen; the driver tells it
    # testing
    "support_idx": [-1],  # support scans, by place in the fold's test and support scans
    "n_sup_part": 3,
    "val_wsize": 2,  # pooling window in testing
    "z_margin": 0,  # slices scored beyond the class's range, on either side
    "protocol": "paper",  # paper: as published; clean: no label of the query is used before scoring
    "slice_matching": "similarity",  # how a slice finds its support in the clean protocol: similarity or position
    "full_volume": False,  # also score all slices, not only the class's range; the clean protocol always does
    "surface_distances": False,  # also HD95 and ASSD in mm
    # where
    "exp_prefix": "",
    # data_dir: processed folder; None: the data set's own. cache_dir: slices for training; None: cache/ in data_dir
    "path": {"log_dir": "./exps", "data_dir": None, "cache_dir": None},
    "device": "auto",  # auto, cpu, cuda, cuda:1 ...
    "channels_last": False,  # memory layout of the encoder: faster on most CPUs and GPUs, results differ by rounding
    "precision": "fp32",  # of the encoder: fp32, bf16 (faster on GPUs and CPUs with bfloat16 units), fp16 (for GPUs)
    "compile": False,  # torch.compile the encoder: the first step takes minutes, results differ by rounding
}

_CHOICES = {
    "modelname": ENCODER_NAMES,
    "clsname": PROTOTYPE_KINDS,
    "optim_type": ("sgd",),
    "precision": tuple(PRECISIONS),
    "superpix_scale": ("MIDDLE", "SMALL"),
    "protocol": ("paper", "clean"),
    "slice_matching": MATCHINGS,
    "select": RULES,
}
_AT_LEAST = {
    "proto_grid_size": 1,
    "min_fg_data": 1,
    "max_iters_per_load": 1,
    "num_workers": 0,
    "n_steps": 1,
    "batch_size": 1,
    "seed": 0,
    "eval_every": 0,
    "eval_scans": 1,
    "print_interval": 1,
    "save_snapshot_every": 1,
    "picture_every": 0,
    "n_sup_part": 1,
    "val_wsize": 1,
    "z_margin": 0,
}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested settings."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def with_present_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of earlier versions in their present form: `selection` was one text, "rule: reason"."""
    selection = config.get("selection", {})
    if isinstance(selection, Mapping):
        return dict(config)
    rule, _, reason = (selection or "").partition(": ")
    return {**config, "selection": {"rule": rule or None, "reason": reason or None}}


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse settings that are misspelt, of a wrong type, out of range or at odds with one another.

    Raises:
        ValueError: the first thing wrong, with what would be right.
    """
    defaults = dict(flatten(DEFAULTS))
    settings = dict(flatten(config))
    for key in settings:
        if key not in defaults:
            near = get_close_matches(key, defaults, n=1, cutoff=0)
            raise ValueError(f"{key} is not a setting; the nearest one is {near[0]}.")
    for key, value in settings.items():
        _check_type(key, value, defaults[key])
    for key, choices in _CHOICES.items():
        if settings[key] not in choices:
            raise ValueError(f"{key}={settings[key]} is unknown; choose one of {', '.join(choices)}.")
    for key, least in _AT_LEAST.items():
        if settings[key] < least:
            raise ValueError(f"{key}={settings[key]} is too small; choose {least} or more.")
    if settings["optim.lr"] <= 0:
        raise ValueError(f"optim.lr={settings['optim.lr']} must be above 0.")
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


def _check_type(key: str, value: Any, default: Any) -> None:
    """A value has the type of its default; None stands for a path, and a whole number will do for a float."""
    expected = str if default is None else type(default)
    fits = (default is None and value is None) or type(value) is expected or (expected is float and type(value) is int)
    if isinstance(value, list | tuple) and expected is list:
        fits = all(type(entry) is int for entry in value)
    if not fits:
        wanted = {list: "a list of whole numbers", str: "text", int: "a whole number", float: "a number"}
        raise ValueError(f"{key}={value!r}: expected {wanted.get(expected, 'True or False')}, such as {default!r}.")


def _check_starting_weights(settings: Mapping[str, Any]) -> None:
    if settings["use_densecl_init"] and settings["pretrained_backbone"] is None:
        raise ValueError("use_densecl_init=True needs pretrained_backbone=FILE, the backbone that Stage 1 made.")
    if settings["pretrained_backbone"] is not None and settings["use_coco_init"]:
        raise ValueError("use_coco_init=True and pretrained_backbone both start the encoder; choose one.")
    if settings["use_coco_init"] and settings["modelname"] != "dlfcn_res101":
        raise ValueError(
            "use_coco_init=True: the COCO weights are those of a dilated ResNet-101, and modelname="
            f"{settings['modelname']}; set modelname=dlfcn_res101."
        )
