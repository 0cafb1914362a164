"""The hook that shows what a model makes of images, for pretext tasks that have such a picture."""

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from Stage1.reconstruction import sheet

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
        batch = model.data_preprocessor(data_batch, training=True)
        noted = {name: values[:IMAGES] for name, values in model.noted(batch["data_samples"]).items()}
        model.eval()
        with torch.no_grad():
            panels = model.picture(*batch["inputs"][:IMAGES].unbind(1), **noted)
        model.train()
        if panels is not None:
            preprocessor = model.data_preprocessor
            picture = sheet(panels, preprocessor.mean, preprocessor.std)
            runner.visualizer.add_image("reconstruction", picture, step=runner.iter + 1)
