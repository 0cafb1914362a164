"""Feature encoders: a backbone, its features at stride 8, and a 1x1 convolution to the space of the prototypes."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

from Stage2.models.registry import ENCODERS, PRECISIONS, build
from Stage2.models.resnets import DilatedResNet

FEATURE_CHANNELS = 256
OUTPUT_STRIDE = 8
PRODUCTS = dict(zip(PRECISIONS, (None, torch.bfloat16, torch.float16), strict=True))  # type of the encoder's products


class Encoder(nn.Module):
    """Image encoder: (B, 3, H, W) -> (B, 256, H/8, W/8).

    Features of a coarser backbone are upsampled to stride 8. With a dilated ResNet, `aspp_out` and `asppconv` are not
    used: released snapshots carry their weights, and load strictly because of them.

    Args:
        name: one of `ENCODERS`.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.backbone = build(ENCODERS, name, "modelname")
        if self.backbone.stride % OUTPUT_STRIDE:
            found = self.backbone.stride
            raise ValueError(f"modelname={name} has stride {found}; expected a multiple of {OUTPUT_STRIDE}.")
        self.upsampling = self.backbone.stride // OUTPUT_STRIDE
        if isinstance(self.backbone, DilatedResNet):
            self.aspp_out = nn.ModuleList(
                [
                    ASPP(self.backbone.out_channels, [12, 24, 36], FEATURE_CHANNELS),
                    nn.Conv2d(FEATURE_CHANNELS, FEATURE_CHANNELS, 3, padding=1, bias=False),
                ]
            )
            self.asppconv = nn.Conv2d(FEATURE_CHANNELS, FEATURE_CHANNELS, 1, bias=False)
        self.localconv = nn.Conv2d(self.backbone.out_channels, FEATURE_CHANNELS, 1, bias=False)

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that the forward pass uses."""
        return [*self.backbone.parameters(), *self.localconv.parameters()]

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        if self.upsampling > 1:
            features = functional.interpolate(features, scale_factor=self.upsampling, mode="bilinear")
        return self.localconv(features)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which the encoder runs: float32, or half of it where that is exact enough and faster.

    Args:
        device: where the encoder runs.
        precision: one of `PRECISIONS`.
    """
    if precision not in PRODUCTS:
        raise ValueError(f"precision={precision} is unknown; choose one of {', '.join(PRECISIONS)}.")
    reduced = PRODUCTS[precision]
    return torch.autocast(device.type, reduced or torch.bfloat16, enabled=reduced is not None)


def pooling_window(image_size: int, cells: int) -> int:
    """Side of a pooling cell in feature pixels, when the feature grid of an image is to have `cells` along a side."""
    grid = image_size // OUTPUT_STRIDE
    if cells < 1 or grid % cells:
        raise ValueError(f"proto_grid_size={cells} must divide the feature grid's side, {grid}.")
    return grid // cells
