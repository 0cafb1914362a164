"""Pictures of what masked pretext tasks rebuild: rows of images, panels side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.registry import MODELS
from torch import Tensor

from Stage1.datasets.images import read_given_image
from Stage1.datasets.radiographs import to_grey
from Stage1.datasets.views import RandomViews
from Stage1.models.pretext import PretextTask
from Stage1.runs.config import find_task, load_config
from Stage1.runs.pictures import panel_pixels
from Stage1.weights.backbones import describe_mismatch, state_of
from Stage1.weights.checkpoints import read_checkpoint

TITLES = ("image", "visible", "rebuilt")  # of the panels of a task's picture


def reconstruct(config: str | Path, checkpoint: str | Path, images: Sequence[Path], seed: int = 0) -> np.ndarray:
    """What the model of a run makes of images, each taken as a whole.

    Args:
        config: of the run, of a pretext task that has a picture.
        checkpoint: of the run.
        images: JPEG or PNG files.
        seed: decides what is hidden, in the first image; the next number decides for the next image.

    Returns:
        (N, 3, H, W, 3) uint8: for every image the panels of `TITLES`.

    Raises:
        FileNotFoundError, ValueError: no such file, a task without picture, weights of another model, no image.
    """
    cfg = load_config(config)
    task = find_task(cfg.model.type)
    if not task.has_picture():
        raise ValueError(
            f"found {cfg.model.type} in {config}, a pretext task that rebuilds no images, expected one that does; "
            "give for example configs/selfsup/mae/mae_roco_50ep.py"
        )
    settings = cfg.train_dataloader.dataset
    view = settings.get("view") or {}
    task.check_settings(cfg.model, view, cfg.train_dataloader.batch_size)
    chosen = [read_whole(path, settings.get("grey", False), RandomViews(**view)) for path in images]
    weights = state_of(read_checkpoint(checkpoint), checkpoint)
    model: PretextTask = MODELS.build(cfg.model)
    mismatch = describe_mismatch(model.state_dict(), weights)
    if mismatch:
        raise ValueError(
            f"found tensors in {checkpoint} that do not fit {cfg.model.type} of {config} ({mismatch}); give the config "
            "that its run wrote into its folder"
        )
    model.load_state_dict(weights)
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    pixels = torch.stack(chosen).expand(-1, 3, -1, -1) / 255  # N, 3, H, W
    noted = model.noted({"seed": torch.arange(seed, seed + len(images))})
    return panel_pixels(model.eval().picture((pixels - mean) / std, **noted), mean, std)


def read_whole(path: Path, grey: bool, views: RandomViews) -> Tensor:
    """An image as the model sees it, as a whole: (1 or 3, image_size, image_size) uint8.

    Raises:
        ValueError: it cannot be read.
    """
    image = read_given_image(path)
    image = to_grey(image) if grey else image
    plain = replace(views, crop_scale=None, flip_probability=0.0)
    shown = plain.crop(image, plain.draw(*image.shape[1:], np.random.default_rng(0)))
    return shown.expand(3, -1, -1)


def reconstruction_figure(panels: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """A row of titled panels for every image.

    Args:
        panels: (N, P, H, W, 3) uint8, of `reconstruct`.
        names: of the N images.
    """
    rows, columns = panels.shape[:2]
    figure = Figure(figsize=(2.6 * columns, 2.6 * rows + 0.5), layout="constrained")
    for row, name, images in zip(figure.subplots(rows, columns, squeeze=False), names, panels, strict=True):
        for axes, heading, image in zip(row, TITLES, images, strict=True):
            axes.imshow(image)
            axes.set_xticks([])
            axes.set_yticks([])
            if row[0].get_subplotspec().is_first_row():
                axes.set_title(heading, fontsize=11)
        row[0].set_ylabel(name, fontsize=9)
    figure.suptitle(title, fontsize=12)
    return figure
