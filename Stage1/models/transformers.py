"""Transformer backbones without classifier, torchvision's: Swin (stride 32) and ViT (stride 16).

Parameter names are torchvision's. Neither drops anything at random in training (no dropout, no stochastic depth): the
random state of the network would have to be resumed too, and an episode shows one or two images only.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from Stage1.weights.layouts import BIAS_TABLE, swin_depths, vit_depth

SWIN_PATCH = 4
VIT_PATCH = 16
HEAD_CHANNELS = 64  # of a ViT's attention heads, in all published sizes up to ViT-L; no file of weights tells it


class SwinBackbone(nn.Module):
    """Swin Transformer, Swin-B by default: (B, 3, H, W) -> (B, 8 * width, H/32, W/32), after the last layer norm.

    Args:
        width: channels of the first stage; every further stage has twice as many.
        depths: blocks of the four stages.
        heads: attention heads of the four stages.
        window: side of an attention window in tokens.

    Source: Swin Transformer (Liu et al., ICCV 2021), table 7.
    """

    stride = 32

    def __init__(
        self, width: int = 128, depths: Sequence[int] = (2, 2, 18, 2), heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 7,
    ):  # fmt: skip
        super().__init__()
        swin = SwinTransformer(
            [SWIN_PATCH, SWIN_PATCH], width, list(depths), list(heads), [window, window], stochastic_depth_prob=0.0
        )
        self.name = f"Swin of {sum(depths)} blocks, {width} channels"
        self.depths = tuple(depths)
        self.out_channels = swin.head.in_features
        self.features = swin.features
        self.norm = swin.norm

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.features(images)).permute(0, 3, 1, 2)  # channels are last inside

    def encode_masked(self, images: Tensor, masks: Tensor, mask_token: Tensor) -> Tensor:
        """Features as of `forward`, with a token in the place of hidden patches.

        Args:
            images: (B, 3, H, W).
            masks: (B, H/4, W/4) bool, True where hidden.
            mask_token: (width,).

        Source: SimMIM (Xie et al., CVPR 2022), section 3.2.
        """
        patches = self.features[0](images)  # B, H/4, W/4, width
        tokens = torch.where(masks.unsqueeze(3), mask_token.to(patches.dtype), patches)
        return self.norm(self.features[1:](tokens)).permute(0, 3, 1, 2)


class VisionTransformerBackbone(nn.Module):
    """Vision Transformer, ViT-B/16 by default: (B, 3, H, W) -> (B, width, H/16, W/16), after the last layer norm.

    The class token takes part in the attention, and only the patches' tokens are returned.

    Args:
        width: channels of a token.
        depth: blocks.
        heads: attention heads of a block.
        image_size: side of the images, which have one position embedding per patch.

    Source: ViT (Dosovitskiy et al., ICLR 2021), table 1.
    """

    stride = VIT_PATCH

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, image_size: int = 256):
        super().__init__()
        vit = VisionTransformer(image_size, VIT_PATCH, depth, heads, width, mlp_dim=4 * width)
        self.name = f"ViT of {depth} blocks, {width} channels"
        self.depth = depth
        self.image_size = image_size
        self.out_channels = width
        self.class_token = vit.class_token
        self.conv_proj = vit.conv_proj
        self.encoder = vit.encoder

    def forward(self, images: Tensor) -> Tensor:
        class_tokens, patches = self.embed(images)
        # Adds the position embeddings; B, 1 + patches, width.
        tokens = self.encoder(torch.cat([class_tokens, patches.flatten(2).transpose(1, 2)], dim=1))
        return tokens[:, 1:].transpose(1, 2).reshape(patches.shape)

    def encode_visible(self, images: Tensor, visible: Tensor) -> Tensor:
        """Tokens of some patches that see each other alone, the class token first.

        Args:
            images: (B, 3, H, W).
            visible: (B, K) int64, the patches' places in raster order.

        Returns:
            (B, 1 + K, width), after the last layer norm.

        Source: MAE (He et al., CVPR 2022), section 3.
        """
        class_tokens, patches = self.embed(images)
        positions = self.encoder.pos_embedding
        patches = patches.flatten(2).transpose(1, 2) + positions[:, 1:]
        patches = patches.gather(1, visible.unsqueeze(2).expand(-1, -1, patches.shape[2]))
        tokens = torch.cat([class_tokens + positions[:, :1], patches], dim=1)
        return self.encoder.ln(self.encoder.layers(tokens))

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class tokens (B, 1, width) and patches (B, width, H/16, W/16), without position embeddings."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            found = " x ".join(map(str, images.shape[-2:]))
            raise ValueError(
                f"found images of {found} pixels, expected {self.image_size} x {self.image_size}, for which this ViT "
                "has position embeddings; resize the images or choose another modelname."
            )
        # Not len(images): an export would make it a constant.
        return self.class_token.expand(images.shape[0], -1, -1), self.conv_proj(images)


swin_tiny = partial(SwinBackbone, width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24))
vit_tiny = partial(VisionTransformerBackbone, width=192, heads=3)


def transformer_of(weights: Mapping[str, Tensor], image_size: int) -> partial:
    """What builds the Swin or ViT that a file's weights are of.

    Args:
        weights: by torchvision's names, of `Stage1.weights.backbones.backbone_weights`.
        image_size: side of the images that a ViT is to take.

    Raises:
        ValueError: a ViT whose width does not tell its attention heads.
    """
    depths = swin_depths(weights)
    if depths:
        tables = [weights[f"features.{2 * stage + 1}.0.attn.{BIAS_TABLE}"] for stage in range(len(depths))]
        window = (math.isqrt(len(tables[0])) + 1) // 2
        heads = tuple(table.shape[1] for table in tables)
        return partial(SwinBackbone, len(weights["features.0.0.weight"]), depths, heads, window)
    width = len(weights["conv_proj.weight"])
    if width % HEAD_CHANNELS:
        raise ValueError(
            f"found a ViT of {width} channels, expected a multiple of {HEAD_CHANNELS}, the channels of a head"
        )
    return partial(VisionTransformerBackbone, width, vit_depth(weights), width // HEAD_CHANNELS, image_size)
