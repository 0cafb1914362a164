"""What every pretext task is to a run: a model with a backbone that turns views of images into losses."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class PretextTask(BaseModel):
    """A backbone that learns from images without labels.

    A task sets ``backbone`` in its constructor, calls :meth:`prepare` at its end, and computes :meth:`loss`. It is
    known to the configs by the name of its class, registered in MMEngine's ``MODELS``.

    Args:
        precision: "fp32"; "bf16" to run the networks under autocast on CPU or GPU, "fp16" on GPU (with a scaled loss,
            which is the optimiser's part); losses stay float32.
        channels_last: keep images and convolution weights in the channels-last memory layout.
        compile: have torch.compile build the networks; the first step then takes minutes.
        data_preprocessor, init_cfg: as in :class:`mmengine.model.BaseModel`.

    Raises:
        ValueError: unknown precision.
    """

    views: ClassVar[int] = 2  # of every image, that the loss takes
    backbone: nn.Module  # images (N, 3, H, W) -> features (N, C, H / stride, W / stride)

    def __init__(
        self,
        precision: str = "fp32",
        channels_last: bool = False,
        compile: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if precision not in PRECISIONS:
            raise ValueError(f"found precision {precision!r}, expected one of {sorted(PRECISIONS)}; set precision=fp32")
        self.precision, self.channels_last, self.compiled = precision, channels_last, compile

    def prepare(self, *parts: nn.Module) -> None:
        """Brings the finished model into its memory layout, and compiles its networks.

        Args:
            parts: the networks that are compiled where this is wanted.
        """
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if self.compiled:
            for part in parts:
                part.compile()

    def forward(
        self, inputs: Tensor, data_samples: dict | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Tensor:
        """Losses of a batch of views, or features of a batch of images.

        Args:
            inputs: mode "loss": (N, views, 3, H, W); mode "tensor": (N, 3, H, W).
            data_samples: what the data set says about the images, see `Stage1.datasets.radiographs.collate_views`.
            mode: "loss" (moves what the task keeps between steps on by one step) or "tensor".

        Returns:
            mode "loss": what :meth:`loss` returns; mode "tensor": features (N, C, H / stride, W / stride).
        """
        if mode == "tensor":
            return self.backbone(inputs)
        if mode != "loss":
            raise ValueError(f"found mode {mode!r}, expected 'loss' or 'tensor'")
        return self.loss(*inputs.unbind(1), **self.noted(data_samples))

    def noted(self, data_samples: dict | None) -> dict[str, Any]:
        """What the loss needs of the samples, beside their views, by the name of its argument; nothing by default."""
        return {}

    def loss(self, *views: Tensor, **noted: Any) -> dict[str, Tensor]:
        """One step of the task.

        Args:
            views: of the same N images, (N, 3, H, W) float32 each.
            noted: what :meth:`noted` took from the samples.

        Returns:
            Losses, whose names begin with ``loss`` and whose sum is minimised, and scalars for the log, ``std_...`` for
            the spread of features among them.
        """
        raise NotImplementedError

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which the networks run; what leaves it is made float32 by the task."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

    def laid_out(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in the memory layout of the networks."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def backbone_loaded(self) -> None:
        """Called when weights were read into the backbone: a task with copies of it brings them up to date."""

    def picture(self, *views: Tensor, **noted: Any) -> Tensor | None:
        """What the model makes of images, for people to see; none by default.

        Args:
            views, noted: as of :meth:`loss`.

        Returns:
            (N, panels, 3, H, W) float32, normalised as the views: one row of panels for each image.
        """
        return None

    @classmethod
    def has_picture(cls) -> bool:
        """Whether the task makes a :meth:`picture`."""
        return cls.picture is not PretextTask.picture

    @classmethod
    def check_settings(cls, model: Mapping[str, Any], view: Mapping[str, Any], batch: int) -> None:
        """Says early what a run would fail on later.

        Args:
            model: the task's settings.
            view: those of the views.
            batch: images in a step, over all processes.

        Raises:
            ValueError: they do not go together.
        """
