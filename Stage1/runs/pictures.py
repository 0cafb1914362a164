"""The hook that shows what a model makes of images, for pretext tasks that have such a picture."""

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

IMAGES = 4


@HOOKS.register_module()
class PictureHook(Hook):
    """Adds a picture of the first images of every epoch's last step: to TensorBoard, and as a file.

    Nothing is added for a pretext task without picture. The run goes on as if none had been made.
    """

    priority = "LOW"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if not (is_main_process() and self.end_of_epoch(runner.train_dataloader, batch_idx)):
            return
        model = getattr(runner.model, "module", runner.model)
        if not model.has_picture():
            return
        batch = model.data_preprocessor(data_batch, training=True)
        noted = {name: values[:IMAGES] for name, values in model.noted(batch["data_samples"]).items()}
        model.eval()
        with torch.no_grad():
            panels = model.picture(*batch["inputs"][:IMAGES].unbind(1), **noted)
        model.train()
        picture = sheet(panels, model.data_preprocessor.mean, model.data_preprocessor.std)
        runner.visualizer.add_image("reconstruction", picture, step=runner.iter + 1)


def sheet(panels: Tensor, mean: Tensor, std: Tensor) -> np.ndarray:
    """Panels as one picture.

    Args:
        panels, mean, std: of `panel_pixels`.

    Returns:
        (N * H, P * W, 3) uint8.
    """
    pixels = panel_pixels(panels, mean, std)
    rows, count, height, width, channels = pixels.shape
    return pixels.transpose(0, 2, 1, 3, 4).reshape(rows * height, count * width, channels)


def panel_pixels(panels: Tensor, mean: Tensor, std: Tensor) -> np.ndarray:
    """Panels as pixels.

    Args:
        panels: (N, P, 3, H, W) float32, normalised: one row of P panels for each image.
        mean, std: (1, 3, 1, 1), what they were normalised by.

    Returns:
        (N, P, H, W, 3) uint8.
    """
    pixels = (panels * std + mean).clamp(0, 1).mul(255).round().byte()
    return pixels.permute(0, 1, 3, 4, 2).cpu().numpy()
