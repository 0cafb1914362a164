"""Settings: the published names, and one clear sentence for whatever is wrong."""

import copy

import pytest

from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.finetuning import PUBLISHED
from Stage2.models.encoders import OUTPUT_STRIDE
from Stage2.runs.experiment import registered_choices
from Stage2.runs.settings import DEFAULTS, FEATURE_GRID, check_config, check_trains, flatten, with_protocol_defaults

PUBLISHED_NAMES = [
    "modelname", "usealign", "use_coco_init", "use_densecl_init", "pretrained_backbone", "reload_model_path",
    "num_workers", "scan_per_load", "label_sets", "use_wce", "exp_prefix", "clsname", "n_steps", "exclude_cls_list",
    "eval_fold", "dataset", "proto_grid_size", "max_iters_per_load", "min_fg_data", "seed", "print_interval",
    "save_snapshot_every", "superpix_scale", "lr_step_gamma", "path.log_dir", "support_idx", "val_wsize", "n_sup_part",
    "z_margin", "optim_type",
]  # fmt: skip


def changed(**changes):
    config = copy.deepcopy(dict(DEFAULTS))
    config.update(changes)
    return config


def test_published_names_are_there():
    assert set(PUBLISHED_NAMES) <= set(dict(flatten(DEFAULTS)))


def test_defaults_are_the_published_values():
    check_config(DEFAULTS, registered_choices())
    expected = {
        "modelname": "dlfcn_res101", "n_steps": 100_100, "optim.lr": 1e-3, "lr_step_gamma": 0.95,
        "save_snapshot_every": 25_000, "seed": 1234, "usealign": True, "use_wce": True, "proto_grid_size": 8,
        "val_wsize": 2, "n_sup_part": 3, "z_margin": 0, "superpix_scale": "MIDDLE", "max_iters_per_load": 1000,
    }  # fmt: skip
    found = dict(flatten(DEFAULTS))
    assert {key: found[key] for key in expected} == expected
    assert PUBLISHED == {"n_steps": 5_100, "optim": {"lr": 1e-4}, "save_snapshot_every": 1_000}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"usealing": True}, "usealing is not a setting; the nearest one is usealign."),
        ({"path": {"logdir": "x"}}, "path.logdir is not a setting; the nearest one is path.log_dir."),
        ({"n_steps": "many"}, "n_steps='many': expected a whole number, such as 100100."),
        ({"n_steps": 0}, "n_steps=0 is too small; choose 1 or more."),
        ({"usealign": 1}, "usealign=1: expected True or False, such as True."),
        ({"support_idx": 4}, "support_idx=4: expected a list of whole numbers, such as [-1]."),
        (
            {"support_idx": "every"},
            "support_idx='every': expected a list of whole numbers, such as [-1], or all.",
        ),
        ({"protocol": "fss"}, "protocol=fss is unknown; choose one of paper, clean, adnet."),
        ({"exclude_rule": "some"}, "exclude_rule=some is unknown; choose one of any, all."),
        ({"fold_scheme": "nested"}, "fold_scheme=nested is unknown; choose one of disjoint, overlapping."),
        ({"ct_statistics": "slice"}, "ct_statistics=slice is unknown; choose one of training, volume."),
        (
            {"protocol": "adnet", "method": "adapted"},
            "protocol=adnet compares prototypes, and method=adapted; set method=prototypes.",
        ),
        (
            {"support_idx": "all", "method": "adapted"},
            "support_idx=all tries prototypes of every support, and method=adapted learns a network for each; set "
            "method=prototypes, or name one support, as in support_idx=[-1].",
        ),
        (
            {"protocol": "adnet", "full_volume": True},
            "full_volume=True counts all slices, and protocol=adnet segments those that show the class only; leave "
            "full_volume out, or choose another protocol.",
        ),
        ({"support_idx": ["a"]}, "support_idx=['a']: expected a list of whole numbers, such as [-1]."),
        ({"reload_model_path": 3}, "reload_model_path=3: expected text, such as None."),
        (
            {"modelname": "vgg"},
            "modelname=vgg is unknown; choose one of dlfcn_res18, dlfcn_res50, dlfcn_res101, dlfcn_res50_mmcv, "
            "dlfcn_res101_mmcv, dlfcn_swin_mmcv, dlfcn_vit_mmcv, dlfcn_res18_mmcv, dlfcn_swin_tiny_mmcv, "
            "dlfcn_vit_tiny_mmcv.",
        ),
        ({"clsname": "x"}, "clsname=x is unknown; choose one of grid_proto, global_proto, anomaly, anomaly_query."),
        ({"optim": {"lr": 0}}, "optim.lr=0 must be above 0."),
        *(
            ({"lr_step_gamma": own}, f"lr_step_gamma={own} must be above 0 and at most 1, such as 0.95.")
            for own in (-1.0, 0, 1.5)
        ),
        ({"val_wsize": 33}, "val_wsize=33 is too large; choose 32 or less."),
        ({"n_sup_part": 10**9}, "n_sup_part=1000000000 is too large; choose 1000 or less."),
        ({"seed": 2**32}, "seed=4294967296 is too large; choose 4294967295 or less."),
        ({"scan_per_load": 0}, "scan_per_load=0 must be -1 (all scans) or 1 or more."),
        (
            {"dataset": "LUNG"},
            "dataset=LUNG is unknown; choose one of CHAOST2, SABS, CMR, or give the .yaml file of your own.",
        ),
        ({"dataset": "lung.yaml"}, "lung.yaml is no file; expected a data set file, as docs/datasets.md describes."),
        ({"label_sets": 3}, "label_sets=3 is not a label set of CHAOST2; choose one of [0, 1]."),
        ({"eval_fold": 5}, "eval_fold=5 is not a fold; choose 0 to 4."),
        ({"exclude_cls_list": [7]}, "exclude_cls_list names 7, which is no organ of CHAOST2."),
        (
            {"use_densecl_init": True},
            "use_densecl_init=True needs pretrained_backbone=FILE, the backbone that Stage 1 made.",
        ),
        (
            {"use_coco_init": True, "pretrained_backbone": "x.pth"},
            "use_coco_init=True and pretrained_backbone both start the encoder; choose one, or add "
            "use_densecl_init=True: COCO's weights first, then those of the file in their place.",
        ),
        ({"adapt_minutes": 0}, "adapt_minutes=0 must be above 0."),
        ({"adapt_steps": -1}, "adapt_steps=-1 is too small; choose 0 or more."),
        (
            {"adapt_start": "random"},
            "adapt_start=random is of adapted networks, and method=prototypes; set method=adapted, or leave "
            "adapt_start out.",
        ),
        (
            {"method": "adapted", "adapt_start": "a.pth", "reload_model_path": "b.pth"},
            "adapt_start=a.pth and reload_model_path both say what the adaptation starts from; give one of them.",
        ),
        (
            {"method": "adapted", "use_coco_init": True},
            "use_coco_init=True starts no adaptation; set adapt_start=random or to a file, or use_coco_init=False.",
        ),
        *(
            (
                {"use_coco_init": True, "modelname": name},
                "use_coco_init=True: the COCO weights are those of a dilated ResNet-101, and modelname="
                f"{name}; set modelname=dlfcn_res101.",
            )
            for name in ("dlfcn_res18", "dlfcn_res101_mmcv")
        ),
    ],
)
def test_wrong_settings_are_named(change, sentence):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        check_config(changed(**change), registered_choices())
    assert str(error.value) == sentence


def test_the_largest_window_is_the_feature_grid():
    check_config(changed(val_wsize=FEATURE_GRID))
    assert FEATURE_GRID == SLICE_SIZE // OUTPUT_STRIDE


def test_whole_numbers_will_do_for_floats():
    check_config(changed(optim={"lr": 1}, lr_step_gamma=1))


@pytest.mark.parametrize(("key", "value"), [("protocol", "cleaner"), ("slice_matching", "label"), ("method", "unet")])
def test_unknown_ways_of_testing_are_named(key, value):
    with pytest.raises(ValueError, match=f"{key}={value} is unknown; choose one of"):
        check_config(changed(**{key: value}), registered_choices())


def test_testing_is_as_published_unless_asked():
    assert (DEFAULTS["protocol"], DEFAULTS["full_volume"], DEFAULTS["surface_distances"]) == ("paper", False, False)
    assert (DEFAULTS["method"], DEFAULTS["adapt_minutes"], DEFAULTS["adapt_steps"]) == ("prototypes", 3.0, 0)


@pytest.mark.parametrize(
    "change", [{"adapt_start": "x.pth", "pretrained_backbone": "y.pth"}, {"adapt_minutes": 1, "adapt_steps": 9}]
)
def test_what_an_adaptation_may_be_given(change):
    check_config(changed(method="adapted", **change), registered_choices())


def test_both_starting_weights_can_be_named_as_published():
    check_config(changed(use_coco_init=True, use_densecl_init=True, pretrained_backbone="x.pth"), registered_choices())


@pytest.mark.parametrize("key", ["lr_step_gamma", "ema_decay"])
def test_numbers_are_finite(key):
    with pytest.raises(ValueError, match=f"{key}=nan: expected a number"):
        check_config(changed(**{key: float("nan")}))


def test_a_protocol_brings_its_habits_where_nothing_else_is_said():
    assert with_protocol_defaults({"protocol": "adnet"}) == {
        "protocol": "adnet", "fold_scheme": "overlapping", "ct_statistics": "volume", "support_idx": [2],
    }  # fmt: skip
    given = {"protocol": "adnet", "fold_scheme": "disjoint", "ct_statistics": "training", "support_idx": [3]}
    assert with_protocol_defaults(given) == given
    for own in ({}, {"protocol": "paper"}, {"protocol": "clean"}, {"protocol": ["adnet"]}):
        assert with_protocol_defaults(own) == own


def test_the_published_habits_are_the_defaults():
    names = ("protocol", "fold_scheme", "ct_statistics", "exclude_rule", "support_idx")
    assert [DEFAULTS[name] for name in names] == ["paper", "disjoint", "training", "any", [-1]]


def test_every_support_is_a_setting_of_tests():
    check_config(changed(support_idx="all"), registered_choices())
    with pytest.raises(ValueError, match="support_idx=all is of tests; training and fine-tuning take support scans"):
        check_trains(changed(support_idx="all"))
    check_trains(changed(support_idx=[4, 5]))
