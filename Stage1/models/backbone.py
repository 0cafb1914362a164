"""ResNet backbones that end at C5, with torchvision's parameter names."""

from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from Stage1.weights.layouts import BUILT_DEPTHS, RESNETS


class ResNetC5(ResNet):
    """ResNet without its classifier: images in, the last feature grid (stride 32) out.

    Args:
        depth: 18, 50 or 101.
        zero_init_residual: the last batch norm of every block starts with weight 0, so that the block changes nothing.

    Raises:
        ValueError: for any other depth.

    Source: He et al., CVPR 2016; parameter names are torchvision's, so its files load key by key.
    """

    def __init__(self, depth: int, zero_init_residual: bool = False) -> None:
        if depth not in BUILT_DEPTHS:
            raise ValueError(f"found backbone depth {depth}, expected one of {list(BUILT_DEPTHS)}; set depth=101")
        blocks_per_stage, bottlenecks = RESNETS[depth]
        block = Bottleneck if bottlenecks else BasicBlock
        super().__init__(block, list(blocks_per_stage), zero_init_residual=zero_init_residual)
        self.name = f"ResNet-{depth}"
        self.out_channels = self.fc.in_features
        del self.fc, self.avgpool

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> C5 features (N, out_channels, H / 32, W / 32), rounded up."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
