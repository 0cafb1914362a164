"""ResNet backbones without classifier: dilated (output stride 8) and plain (stride 32).

Parameter names are torchvision's (`conv1.weight`, `layer1.0.conv1.weight`, ...), without `fc`.
"""

from functools import partial

from torch import Tensor, nn
from torchvision.models import ResNet, resnet18, resnet50, resnet101

PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
BUILDERS = {18: resnet18, 50: resnet50, 101: resnet101}


class _HeadlessResNet(nn.Module):
    """A ResNet's parts up to its last stage."""

    def __init__(self, resnet: ResNet):
        super().__init__()
        self.out_channels = resnet.fc.in_features
        for part in PARTS:
            setattr(self, part, getattr(resnet, part))

    def forward(self, images: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(features))))


class DilatedResNet(_HeadlessResNet):
    """ResNet whose last two stages keep the resolution: (B, 3, H, W) -> (B, C, H/8, W/8).

    Args:
        depth: 18, 50 or 101.

    Source: DeepLabV3 (Chen et al., 2017) as in torchvision's segmentation models.
    """

    stride = 8

    def __init__(self, depth: int):
        if depth == 18:
            resnet = resnet18()
            _dilate_basic_stage(resnet.layer3, dilation=2)
            _dilate_basic_stage(resnet.layer4, dilation=4)
        else:
            resnet = BUILDERS[depth](replace_stride_with_dilation=[False, True, True])
        super().__init__(resnet)
        self.depth = depth


class PlainResNet(_HeadlessResNet):
    """ResNet as it is trained for classification: (B, 3, H, W) -> (B, C, H/32, W/32).

    Args:
        depth: 18, 50 or 101.
    """

    stride = 32

    def __init__(self, depth: int):
        super().__init__(BUILDERS[depth]())
        self.depth = depth
        stages = (self.layer1, self.layer2, self.layer3)
        widths = [list(stage[-1].parameters())[-1].shape[0] for stage in stages]
        self.pyramid_channels = dict(zip((2, 4, 8, 16), (self.conv1.out_channels, *widths), strict=True))

    def pyramid(self, images: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """The features of `forward`, and those at strides 2, 4, 8 and 16 on the way there, by their stride."""
        features = self.relu(self.bn1(self.conv1(images)))
        found, features = {2: features}, self.maxpool(features)
        for stride, stage in ((4, self.layer1), (8, self.layer2), (16, self.layer3)):
            features = stage(features)
            found[stride] = features
        return self.layer4(features), found


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


dilated_resnet18, dilated_resnet50, dilated_resnet101 = (partial(DilatedResNet, depth) for depth in BUILDERS)
plain_resnet18, plain_resnet50, plain_resnet101 = (partial(PlainResNet, depth) for depth in BUILDERS)
