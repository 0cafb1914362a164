"""The published config value by value, and the settings a person changes on the command line."""

import math
import subprocess
import sys

import pytest
import torch

from Stage1.models.densecl import DenseCL
from Stage1.runs.config import check_data, load_config
from Stage1.runs.distributed import check_launcher
from Stage1.runs.settings import SHORT_NAMES

ROCO = "configs/selfsup/densecl/densecl_roco_50ep.py"
DEMO = "configs/selfsup/densecl/densecl_demo.py"


def test_published_config():
    cfg = load_config(ROCO)
    model = cfg.model
    assert (model.type, model.depth, model.feature_channels, model.queue_length) == ("DenseCL", 101, 128, 65536)
    assert (model.momentum, model.temperature, model.loss_lambda, model.precision) == (0.999, 0.2, 0.5, "fp32")
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.drop_last, loader.sampler.shuffle) == (32, True, True)
    assert loader.dataset.data_root.endswith("data/roco")
    assert loader.dataset.view == {
        "image_size": 224,
        "crop_scale": (0.2, 1.0),
        "jitter": (0.4, 0.4, 0.4, 0.1),
        "jitter_probability": 0.8,
        "grayscale_probability": 0.2,
        "blur_sigma": (0.1, 2.0),
        "blur_probability": 0.5,
        "flip_probability": 0.5,
    }
    assert cfg.optim_wrapper.optimizer == {"type": "SGD", "lr": 0.0375, "momentum": 0.9, "weight_decay": 1e-4}
    assert cfg.auto_scale_lr.base_batch_size == 32
    assert cfg.train_cfg.max_epochs == 50
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.eta_min, schedule.convert_to_iter_based) == ("CosineAnnealingLR", 0.0, True)
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.interval, checkpoint.save_last) == (10, True)


def test_published_model_has_the_published_shapes():
    settings = dict(load_config(ROCO).model)
    settings.pop("type")
    with torch.device("meta"):
        model = DenseCL(**settings)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes["encoder_q.1.mlp.0.weight"] == (2048, 2048)
    assert shapes["encoder_q.1.mlp.2.weight"] == (128, 2048)
    assert shapes["encoder_q.1.mlp2.0.weight"] == (2048, 2048, 1, 1)
    assert shapes["encoder_q.1.mlp2.2.weight"] == (128, 2048, 1, 1)
    assert shapes["queue"] == shapes["queue2"] == (128, 65536)
    assert sum(key.startswith("backbone.layer3.") and key.endswith("conv1.weight") for key in shapes) == 23


def test_short_names_change_the_setting_and_nothing_else():
    before = load_config(DEMO)
    for name, path in SHORT_NAMES.items():
        value = "somewhere" if name == "data_root" else 7
        changed = load_config(DEMO, {name: value})
        node, original = changed, before
        path = path if isinstance(path, str) else path[0]  # DenseCL has the first place of several alone
        for key in path.split("."):
            node, original = node[key], original[key]
        assert node == value != original
        assert load_config(DEMO, {path: value}).to_dict() == changed.to_dict()
        assert changed.to_dict() == load_config(DEMO, {path: original, name: value}).to_dict()


EARLIER = """
custom_imports = dict(imports=["Stage1.models", "Stage1.datasets", "Stage1.runs.hooks", "Stage1.runs.storage"])
model = dict(type="DenseCL", depth=18)
train_dataloader = dict(
    batch_size=2, collate_fn=dict(type="collate_pairs"), dataset=dict(type="RadiographPairs", data_root="x")
)
train_cfg, param_scheduler, auto_scale_lr = dict(max_epochs=1), [], dict(base_batch_size=32, enable=False)
optim_wrapper, randomness, env_cfg = dict(optimizer=dict(lr=0.1)), dict(seed=0), dict(dist_cfg=dict())
"""


def test_configs_of_earlier_runs_still_name_what_there_is(tmp_path):
    """In a process of its own, in which nothing else has registered the names."""
    (tmp_path / "config.py").write_text(EARLIER)
    program = (
        "import sys; from Stage1.runs.config import find_task, load_config; cfg = load_config(sys.argv[1]);"
        "from mmengine.registry import DATASETS, FUNCTIONS; data = cfg.train_dataloader;"
        "print(find_task(cfg.model.type).__name__, DATASETS.get(data.dataset.type).__name__,"
        "FUNCTIONS.get(data.collate_fn.type).__name__)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "config.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["DenseCL", "Radiographs", "collate_views"], done.stderr


@pytest.mark.parametrize(
    ("option", "nearest"),
    [("dept", "depth"), ("max_epoch", "max_epochs"), ("model.momentun", "model.momentum")],
)
def test_a_misspelt_option_names_the_nearest(option, nearest):
    with pytest.raises(ValueError, match=f"found option '{option}'.*did you mean '{nearest}'"):
        load_config(DEMO, {option: 1})


def test_missing_or_foreign_config(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no config file"):
        load_config("configs/absent.py")
    other = tmp_path / "config.txt"
    other.write_text("x")
    with pytest.raises(ValueError, match=r"expected a \.py file"):
        load_config(other)
    with pytest.raises(ValueError, match=r"found no train_dataloader.batch_size, .* in .*densecl.py, expected a whole"):
        load_config("configs/_base_/models/densecl.py")


@pytest.mark.parametrize(
    ("changes", "processes", "complaint"),
    [
        ({"queue_length": 18}, 1, "queue of 18 keys and 4 images per step"),
        ({"queue_length": 12}, 2, "queue of 12 keys and 8 images per step"),
        ({"batch_size": 16}, 1, "found 12 images in .*expected at least one batch of 16"),
        ({"batch_size": 8}, 2, "found 12 images in .*expected at least one batch of 16"),
        ({"batch_size": 0}, 1, "found batch_size 0"),
        ({"queue_length": 0}, 1, "queue of 0 keys and 4 images per step.*for example 4"),
        ({"queue_length": -32}, 1, "queue of -32 keys and 4 images per step"),
        ({"max_epochs": 0}, 1, "found max_epochs 0, expected at least 1"),
        ({"image_size": 0}, 1, "found image_size 0 of views, expected 1 pixel or more"),
        ({"train_dataloader.dataset.view.jitter": "0.4"}, 1, r"found jitter \(0.4,\) of views, expected four"),
    ],
)
def test_data_that_cannot_be_trained_on(radiographs, changes, processes, complaint):
    options = {"data_root": str(radiographs), "batch_size": 4, "queue_length": 16} | changes
    with pytest.raises(ValueError, match=complaint):
        check_data(load_config(DEMO, options), processes)


def test_data_that_can_be_trained_on(radiographs):
    check_data(load_config(DEMO, {"data_root": str(radiographs), "batch_size": 4, "queue_length": 16}), 2)


def test_launcher_needs_its_environment(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    check_launcher("none")
    with pytest.raises(ValueError, match=r"found no RANK.*dist_train\.sh"):
        check_launcher("pytorch")
    with pytest.raises(ValueError, match=r"found no SLURM_PROCID.*srun"):
        check_launcher("slurm")


def test_cosine_reaches_zero_after_the_last_iteration(run_tiny, tmp_path):
    """Six iterations; the learning rate of iteration i is lr * (1 + cos(pi * i / 6)) / 2."""
    runner = run_tiny(tmp_path / "run")
    history, _ = runner.message_hub.log_scalars["train/lr"].data
    expected = [0.0375 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    assert list(history) == pytest.approx(expected)
