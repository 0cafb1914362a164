"""Whole training of a recipe against a plain loop of lightly, torchvision and torch over the same images.

Both read files, make views, and step; each in a process of its own, so that their peak memory can be compared.
"""

import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import get_model
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from Stage1.models.extras import from_library
from Stage1.timing import in_own_process, peak_memory

WARM_UP = 2  # steps that are not timed


def plain_simclr(model: Config, image_size: int) -> tuple[nn.Module, Callable[[nn.Module, list[Tensor]], Tensor]]:
    """SimCLR as lightly's documentation puts it together."""
    head = from_library("lightly.models.modules.heads", "SimCLRProjectionHead")
    criterion = from_library("lightly.loss.ntx_ent_loss", "NTXentLoss")(temperature=model.temperature)
    backbone = get_model(f"resnet{model.depth}", zero_init_residual=True)
    channels, backbone.fc = backbone.fc.in_features, nn.Identity()
    network = nn.Sequential(backbone, head(channels, channels, model.feature_channels))
    return network, lambda network, views: criterion(network(views[0]), network(views[1]))


def plain_mae(model: Config, image_size: int) -> tuple[nn.Module, Callable[[nn.Module, list[Tensor]], Tensor]]:
    """A masked autoencoder of lightly's parts."""
    encoder = from_library(
        "lightly.models.modules.masked_vision_transformer_torchvision", "MaskedVisionTransformerTorchvision"
    )
    decoder = from_library(
        "lightly.models.modules.masked_vision_transformer_decoder_timm", "MaskedVisionTransformerDecoderTIMM"
    )
    random_token_mask, repeat_token, set_at_index, get_at_index, patchify = from_library(
        "lightly.models.utils", "random_token_mask", "repeat_token", "set_at_index", "get_at_index", "patchify"
    )
    vit = VisionTransformer(image_size, 16, model.depth, model.heads, model.width, 4 * model.width)
    network = nn.ModuleDict(
        {
            "encoder": encoder(vit),
            "embed": nn.Linear(model.width, model.decoder_width),
            "decoder": decoder(vit.seq_length - 1, model.decoder_width, model.decoder_depth, model.decoder_heads),
            "predict": nn.Linear(model.decoder_width, 3 * 16**2),
        }
    )

    def loss(network: nn.Module, views: list[Tensor]) -> Tensor:
        size = (len(views[0]), vit.seq_length)
        kept, masked = random_token_mask(size, model.masked_share, device=views[0].device)
        tokens = network["embed"](network["encoder"].encode(views[0], idx_keep=kept))
        whole = set_at_index(repeat_token(network["decoder"].mask_token, size), kept, tokens)
        predicted = network["predict"](get_at_index(network["decoder"](whole), masked))
        return nn.functional.mse_loss(predicted, get_at_index(patchify(views[0], 16), masked - 1))

    return network, loss


def plain_simmim(model: Config, image_size: int) -> tuple[nn.Module, Callable[[nn.Module, list[Tensor]], Tensor]]:
    """SimMIM of torchvision's Swin, written plainly."""
    swin = SwinTransformer(
        [4, 4], model.width, list(model.depths), list(model.heads), [model.window] * 2, stochastic_depth_prob=0.0
    )
    channels = swin.head.in_features
    decoder = nn.Sequential(nn.Conv2d(channels, 3 * 32**2, 1), nn.PixelShuffle(32))
    network = nn.ModuleDict({"features": swin.features, "norm": swin.norm, "decoder": decoder})
    network.register_parameter("token", nn.Parameter(torch.zeros(model.width)))

    def loss(network: nn.Module, views: list[Tensor]) -> Tensor:
        images, side = views[0], image_size // 32
        order = torch.rand(len(images), side * side).argsort(dim=1)
        mask = (order < model.masked_share * side * side).float().view(-1, 1, side, side)
        tokens = network["features"][0](images)
        weights = mask.repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1)
        tokens = tokens * (1 - weights) + network.token * weights
        features = network["norm"](network["features"][1:](tokens)).permute(0, 3, 1, 2)
        pixels = mask.repeat_interleave(32, 2).repeat_interleave(32, 3)
        errors = (network["decoder"](features) - images).abs() * pixels
        return errors.sum() / pixels.sum() / 3

    return network, loss


# Pretext task -> its plain loop: network and loss of a batch of views, and lightly's transform of an image.
PLAIN_TASKS = {"SimCLR": plain_simclr, "MAE": plain_mae, "SimMIM": plain_simmim}


def plain_transform(view: Config, count: int, size: int) -> Callable:
    """lightly's views with a recipe's settings."""
    if count == 1:
        return from_library("lightly.transforms.mae_transform", "MAETransform")(input_size=size)
    brightness, contrast, saturation, hue = view.jitter
    return from_library("lightly.transforms.simclr_transform", "SimCLRTransform")(
        input_size=size, cj_prob=view.jitter_probability, cj_bright=brightness, cj_contrast=contrast, cj_sat=saturation,
        cj_hue=hue, min_scale=view.crop_scale[0], random_gray_scale=view.grayscale_probability,
        gaussian_blur=view.blur_probability, sigmas=tuple(view.blur_sigma), hf_prob=view.flip_probability,
    )  # fmt: skip


def train_plainly(cfg: Config, folder: Path, steps: int) -> list[float]:
    """Seconds of the processor for every step of a plain loop, batches included."""
    dataset, optimizer = cfg.train_dataloader.dataset, cfg.optim_wrapper.optimizer
    size = dataset.view.image_size
    images = from_library("lightly.data", "LightlyDataset")(
        str(folder), transform=plain_transform(dataset.view, dataset.get("views", 2), size)
    )
    loader = DataLoader(images, cfg.train_dataloader.batch_size, shuffle=True, drop_last=True, num_workers=0)
    if cfg.model.type not in PLAIN_TASKS:
        raise ValueError(
            f"found no plain loop for {cfg.model.type}, expected one of {', '.join(PLAIN_TASKS)}; leave --recipe out: "
            "DenseCL's views and step are measured then"
        )
    network, loss = PLAIN_TASKS[cfg.model.type](cfg.model, size)
    settings = {key: value for key, value in optimizer.items() if key != "type"}
    kind = (
        from_library("lightly.utils.lars", "LARS") if optimizer.type == "LARS" else getattr(torch.optim, optimizer.type)
    )
    optimiser = kind([one for one in network.parameters() if one.requires_grad], **settings)
    network.train()
    spent, begun = [], time.process_time()
    for views in _repeated(loader, steps):
        optimiser.zero_grad()
        loss(network, views).backward()
        if cfg.optim_wrapper.get("clip_grad"):
            nn.utils.clip_grad_norm_(network.parameters(), **cfg.optim_wrapper.clip_grad)
        optimiser.step()
        spent.append(time.process_time() - begun)
        begun = time.process_time()
    return spent


def _repeated(loader: DataLoader, steps: int) -> Iterator[list[Tensor]]:
    while True:
        for batch in loader:
            yield batch[0]
            steps -= 1
            if not steps:
                return


def train_recipe(path: Path, folder: Path, steps: int, options: dict[str, Any]) -> list[float]:
    """The same of a recipe, by the runner that users have, in one process without loader workers."""
    from mmengine.hooks import Hook

    from Stage1.runs import training

    times = []

    class Watch(Hook):
        priority = "VERY_LOW"

        def before_train(self, runner) -> None:
            times.append(time.process_time())

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            times.append(time.process_time())
            if len(times) > steps:
                raise _Enough

    with tempfile.TemporaryDirectory() as work:
        words = [f"{name}={value}" for name, value in {**options, "data_root": folder, "num_workers": 0}.items()]
        arguments = Namespace(
            config=str(path), work_dir=work, resume_from=None, auto_resume=False, pretrained=None, auto_scale_lr=False,
            seed=0, launcher="none", cfg_options=words,
        )  # fmt: skip
        runner = training.build_runner(training.plan_run(arguments), arguments)
        runner.register_hook(Watch())
        with suppress(_Enough):
            runner.train()
    return [after - before for before, after in pairwise(times)]


class _Enough(Exception):
    """Ends a run after the steps that were to be timed."""


def measure_loop(kind: str, path: Path, folder: Path, steps: int, options: dict[str, Any]) -> dict[str, float]:
    """Median seconds of the processor for a step, and peak memory of a loop, in a process of its own.

    Args:
        kind: "plain" or "recipe".
        path: of the recipe.
        folder: of images.
        steps: that are timed.
        options: of the recipe, by short name.

    Raises:
        ValueError: the pretext task has no plain loop.
    """
    return in_own_process(_measure, kind, path, folder, steps, options)


def _measure(kind: str, path: Path, folder: Path, steps: int, options: dict[str, Any]) -> dict[str, float]:
    from Stage1.runs.config import load_config

    if kind == "plain":
        spent = train_plainly(load_config(path, options), folder, WARM_UP + steps)
    else:
        spent = train_recipe(path, folder, WARM_UP + steps, options)
    return {"seconds": statistics.median(spent[WARM_UP:]), "memory": peak_memory()}
