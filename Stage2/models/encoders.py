"""Feature encoders: a dilated ResNet (output stride 8) and a 1x1 convolution to the space of the prototypes."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50, resnet101
from torchvision.models.segmentation.deeplabv3 import ASPP

FEATURE_CHANNELS = 256
OUTPUT_STRIDE = 8
_BUILDERS = {"dlfcn_res18": resnet18, "dlfcn_res50": resnet50, "dlfcn_res101": resnet101}
ENCODER_NAMES = tuple(_BUILDERS)


class DilatedResNet(nn.Module):
    """ResNet without classifier whose last two stages keep the resolution: (B, 3, H, W) -> (B, C, H/8, W/8).

    Parameter names are torchvision's (`conv1.weight`, `layer1.0.conv1.weight`, ...), without `fc`.
    Source: DeepLabV3 (Chen et al., 2017) as in torchvision's segmentation models.
    """

    def __init__(self, name: str):
        super().__init__()
        if name == "dlfcn_res18":
            resnet = resnet18()
            _dilate_basic_stage(resnet.layer3, dilation=2)
            _dilate_basic_stage(resnet.layer4, dilation=4)
        else:
            resnet = _BUILDERS[name](replace_stride_with_dilation=[False, True, True])
        self.out_channels = resnet.fc.in_features
        for child in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, child, getattr(resnet, child))

    def forward(self, images: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(features))))


def _dilate_basic_stage(stage: nn.Sequential, dilation: int) -> None:
    """Replace the stride of a stage of basic blocks by dilation, which torchvision only offers for bottlenecks.

    As there, the convolution that had the stride keeps the dilation of the stage before, half of this stage's.
    """
    first = stage[0].conv1
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                own = dilation // 2 if module is first else dilation
                module.dilation = module.padding = (own, own)


class Encoder(nn.Module):
    """Image encoder: (B, 3, H, W) -> (B, 256, H/8, W/8).

    `aspp_out` and `asppconv` are not used: released snapshots carry their weights, and load strictly because of them.

    Args:
        name: one of `ENCODER_NAMES`.
    """

    def __init__(self, name: str):
        super().__init__()
        if name not in _BUILDERS:
            raise ValueError(f"modelname={name} is unknown; choose one of {', '.join(ENCODER_NAMES)}.")
        self.backbone = DilatedResNet(name)
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
        return self.localconv(self.backbone(images))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which the encoder runs: float32, or bfloat16 where that is exact enough and faster.

    Args:
        device: where the encoder runs.
        precision: "fp32" or "bf16".
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision={precision} is unknown; choose fp32 or bf16.")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def pooling_window(image_size: int, cells: int) -> int:
    """Side of a pooling cell in feature pixels, when the feature grid of an image is to have `cells` along a side."""
    grid = image_size // OUTPUT_STRIDE
    if cells < 1 or grid % cells:
        raise ValueError(f"proto_grid_size={cells} must divide the feature grid's side, {grid}.")
    return grid // cells
