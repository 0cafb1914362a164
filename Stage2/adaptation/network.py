"""The network that is adapted to annotated scans: any of our encoders, and a light decoder with skip connections."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from Stage2.models.registry import ENCODERS, build
from Stage2.models.resnets import DilatedResNet, PlainResNet

FINEST = 2  # stride of the last features
WIDTHS = {16: 128, 8: 64, 4: 48, FINEST: 32}  # stride -> channels that the decoder gives there
STEM_WIDTH = 32  # of the skip connections that an encoder without features of its own at strides 4 and 2 gets


class AdaptedNetwork(nn.Module):
    """Segments all organs at once: images (B, 3, H, W) -> scores (B, 1 + organs, H, W), background first.

    The three channels are a slice between its neighbours: below, itself, above. A ResNet runs with its strides, also
    where Stage 2 dilates it, and gives skip connections at every stride; other encoders get a small stem of
    convolutions for those at strides 4 and 2.

    Args:
        encoder_name: one of `ENCODERS`.
        assignment: of the head, see `Head`; a number of organs stands for one part each, and one for background.

    Source: U-Net (Ronneberger et al., MICCAI 2015), for the decoder.
    """

    def __init__(self, encoder_name: str, assignment: Tensor | int):
        super().__init__()
        self.encoder_name = encoder_name
        backbone = build(ENCODERS, encoder_name, "encoder")
        self.backbone = PlainResNet(backbone.depth) if isinstance(backbone, DilatedResNet) else backbone
        self.image_size = getattr(backbone, "image_size", None)  # of a ViT, which knows one size alone
        if hasattr(self.backbone, "pyramid_channels"):
            self.stem = None
            skips = self.backbone.pyramid_channels
        else:
            self.stem = _Stem()
            skips = dict.fromkeys(self.stem.strides, STEM_WIDTH)
        self.decoder = Decoder(self.backbone.out_channels, self.backbone.stride, skips)
        self.head = Head(WIDTHS[FINEST], torch.arange(1 + assignment) if isinstance(assignment, int) else assignment)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/2, W/2), which the head turns into scores."""
        if self.stem is None:
            deepest, skips = self.backbone.pyramid(images)
        else:
            deepest, skips = self.backbone(images), self.stem(images)
        return self.decoder(deepest, skips)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.head(self.features(images))
        return functional.interpolate(scores, size=images.shape[-2:], mode="bilinear")


def image_size_of(encoder_name: str) -> int | None:
    """The one side of images that an encoder takes, such as a ViT; None where any will do."""
    with torch.device("meta"):
        return getattr(build(ENCODERS, encoder_name, "encoder"), "image_size", None)


class Head(nn.Module):
    """Scores of classes, each of one part or several: what was learned as several tissues may be one organ.

    Args:
        channels: of the features.
        assignment: (parts,) int64: the class of every part; every class has one at least.
    """

    def __init__(self, channels: int, assignment: Tensor):
        super().__init__()
        self.parts = nn.Conv2d(channels, len(assignment), 1)
        self.register_buffer("assignment", assignment)
        self.members = [torch.nonzero(assignment == own)[:, 0].tolist() for own in range(int(assignment.max()) + 1)]
        if not all(self.members):
            raise ValueError(f"classes {assignment.tolist()} of the head's parts; expected every class once at least.")

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes, H, W): the logarithm of the sum of the exponentials of a class's parts."""
        parts = self.parts(features)
        if len(self.members) == parts.shape[1]:
            return parts
        return torch.cat([parts[:, own].logsumexp(dim=1, keepdim=True) for own in self.members], dim=1)


class Decoder(nn.Module):
    """From the deepest features to stride 2, doubling the resolution at every step.

    Args:
        channels: of the deepest features.
        stride: of these, a power of 2.
        skips: stride -> channels of the features that join there.
    """

    def __init__(self, channels: int, stride: int, skips: Mapping[int, int]):
        super().__init__()
        if stride < FINEST or stride & (stride - 1):
            raise ValueError(f"an encoder of stride {stride}; expected a power of 2 from {FINEST} up.")
        self.strides = []
        steps = []
        while stride > FINEST:
            stride //= 2
            steps.append(_Step(channels + skips.get(stride, 0), WIDTHS[stride]))
            channels = WIDTHS[stride]
            self.strides.append(stride)
        self.steps = nn.ModuleList(steps)
        self.last = nn.Identity() if self.strides else nn.Conv2d(channels, WIDTHS[FINEST], 1)

    def forward(self, features: Tensor, skips: Mapping[int, Tensor]) -> Tensor:
        """Deepest features (B, C, h, w) and stride -> features there; -> (B, 32, H/2, W/2)."""
        for stride, step in zip(self.strides, self.steps, strict=True):
            features = step(features, skips.get(stride))
        return self.last(features)


class _Step(nn.Module):
    """Double the resolution, join the skip connection, one convolution."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        larger = functional.interpolate(features, scale_factor=2, mode="bilinear")
        joined = larger if skip is None else torch.cat([larger, skip], dim=1)
        return functional.relu(self.norm(self.convolution(joined)))


class _Stem(nn.Module):
    """Features at strides 2 and 4 straight from the image."""

    strides: Sequence[int] = (2, 4)

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, STEM_WIDTH, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(STEM_WIDTH))
            for own in (3, STEM_WIDTH)
        )

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        skips, features = {}, images
        for stride, step in zip(self.strides, self.steps, strict=True):
            features = functional.relu(step(features))
            skips[stride] = features
        return skips
