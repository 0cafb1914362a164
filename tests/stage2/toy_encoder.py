"""A small encoder, for tests of what does not depend on which one it is."""

from torch import nn


class ToyBackbone(nn.Sequential):
    """One convolution: (B, 3, H, W) -> (B, 8, H/8, W/8)."""

    stride, out_channels = 8, 8

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8))


PLACE = "stage2.toy_encoder:ToyBackbone"  # in the registry
