"""The published values of SimCLR, SimMIM and MAE, one by one, and the learning rates that their schedules give."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from Stage1.runs.config import load_config
from Stage1.runs.settings import SHORT_NAMES

MEAN, STD = 89.82843423, 61.21119588  # of 0 to 255, over ROCO
STEPS = 7  # of an epoch


def recipe(task):
    return load_config(f"configs/selfsup/{task}/{task}_roco_50ep.py")


@pytest.mark.parametrize("task", ["simclr", "simmim", "mae"])
def test_images(task):
    cfg = recipe(task)
    dataset, preprocessor = cfg.train_dataloader.dataset, cfg.model.data_preprocessor
    assert dataset.grey is True and dataset.view.image_size == 256
    assert dataset.data_root.endswith("data/roco")
    assert [255 * value for value in preprocessor.mean] == pytest.approx([MEAN] * 3)
    assert [255 * value for value in preprocessor.std] == pytest.approx([STD] * 3)
    assert dataset.view.flip_probability == 0.5
    assert cfg.model.precision == "fp32" and cfg.train_cfg.max_epochs == 50
    assert (cfg.train_dataloader.drop_last, cfg.train_dataloader.sampler.shuffle) == (True, True)


def test_simclr():
    cfg = recipe("simclr")
    view = cfg.train_dataloader.dataset.view
    assert view.crop_scale == (0.08, 1.0)
    assert (view.jitter, view.jitter_probability) == ((0.8, 0.8, 0.8, 0.2), 0.8)
    assert (view.blur_sigma, view.blur_probability, view.grayscale_probability) == ((0.1, 2.0), 0.5, 0.0)
    model = cfg.model
    assert (model.type, model.depth, model.feature_channels, model.temperature) == ("SimCLR", 50, 128, 0.1)
    assert cfg.sync_bn == "torch"
    assert cfg.optim_wrapper.optimizer == {"type": "LARS", "lr": 0.3, "momentum": 0.9, "weight_decay": 1e-6}
    assert cfg.optim_wrapper.paramwise_cfg == {"bias_decay_mult": 0.0, "norm_decay_mult": 0.0}
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (64, 256)


@pytest.mark.parametrize("task", ["simmim", "mae"])
def test_whole_images_of_masked_tasks(task):
    dataset = recipe(task).train_dataloader.dataset
    view = dataset.view
    assert (dataset.views, view.crop_scale, view.jitter_probability, view.blur_probability) == (1, None, 0.0, 0.0)
    assert view.grayscale_probability == 0.0


def test_simmim():
    cfg = recipe("simmim")
    model = cfg.model
    assert (model.type, model.width, model.window, model.masked_share) == ("SimMIM", 128, 7, 0.75)
    assert (model.depths, model.heads) == ((2, 2, 18, 2), (4, 8, 16, 32))
    optimiser = {"type": "AdamW", "lr": 8e-4, "betas": (0.9, 0.999), "weight_decay": 0.05}
    assert cfg.optim_wrapper.optimizer == optimiser
    assert cfg.optim_wrapper.clip_grad == {"max_norm": 5.0}
    assert cfg.auto_scale_lr.base_batch_size == 2048


def test_mae():
    cfg = recipe("mae")
    model = cfg.model
    assert (model.type, model.width, model.depth, model.heads, model.image_size) == ("MAE", 768, 12, 12, 256)
    assert (model.decoder_width, model.decoder_depth, model.decoder_heads, model.masked_share) == (512, 8, 16, 0.75)
    optimiser = {"type": "AdamW", "lr": 2.4e-3, "betas": (0.9, 0.95), "weight_decay": 0.05}
    assert cfg.optim_wrapper.optimizer == optimiser
    assert cfg.optim_wrapper.get("clip_grad") is None
    assert cfg.auto_scale_lr.base_batch_size == 4096


def rates_of(cfg):
    """The learning rate of every iteration of a run of 7 steps an epoch."""
    peak = cfg.optim_wrapper.optimizer.lr
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedulers = []
    for settings in cfg.param_scheduler:
        settings = {"end": cfg.train_cfg.max_epochs, **settings}
        kind = PARAM_SCHEDULERS.get(settings.pop("type"))
        settings.pop("convert_to_iter_based")
        schedulers.append(kind.build_iter_from_epoch(OptimWrapper(optimiser), epoch_length=STEPS, **settings))
    rates = []
    optimiser.step()  # of a parameter without gradient; torch wants it before the schedule's first
    for _ in range(STEPS * cfg.train_cfg.max_epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("task", "peak", "start", "end"),
    [("simclr", 0.3, 1e-4, 0.0), ("simmim", 8e-4, 5e-3, 4e-5), ("mae", 2.4e-3, 1e-4, 0.0)],
)
def test_the_rate_rises_over_five_epochs_and_falls_along_a_cosine_to_its_end(task, peak, start, end):
    rates = rates_of(recipe(task))
    warm = 5 * STEPS
    assert rates[0] == pytest.approx(start * peak)
    slope = (1 - start) / (warm - 1)
    assert rates[3] == pytest.approx(peak * (start + 3 * slope))
    assert rates[warm] == pytest.approx(peak, rel=1e-3)
    length = 45 * STEPS
    for place in (0, 1, 100, 200, length - 1):
        expected = end + (peak - end) * (1 + math.cos(math.pi * place / length)) / 2
        assert rates[warm + place] == pytest.approx(expected, rel=1e-3, abs=1e-9), place


@pytest.mark.parametrize("task", ["simclr", "simmim", "mae", "mocov2"])
def test_a_demo_differs_from_its_recipe_in_size_alone(task):
    """Network, data, batch, epochs, rate and its warm-up: what the method is stays."""
    demo, published = load_config(f"configs/selfsup/{task}/{task}_demo.py"), recipe(task)
    assert demo.model.type == published.model.type
    for name in ("temperature", "masked_share", "loss_lambda", "feature_channels", "window"):
        assert demo.model.get(name) == published.model.get(name)
    views = [{**cfg.train_dataloader.dataset.view} for cfg in (demo, published)]
    for view in views:
        view.pop("image_size")
    assert views[0] == views[1]
    assert demo.optim_wrapper.optimizer.type == published.optim_wrapper.optimizer.type
    assert demo.optim_wrapper.get("paramwise_cfg") == published.optim_wrapper.get("paramwise_cfg")


def test_image_size_changes_views_and_network_together():
    cfg = load_config("configs/selfsup/mae/mae_demo.py", {"image_size": "96"})
    assert (cfg.train_dataloader.dataset.view.image_size, cfg.model.image_size) == (96, 96)
    assert SHORT_NAMES["image_size"] == ("train_dataloader.dataset.view.image_size", "model.image_size")
