"""SimMIM: a Swin Transformer rebuilds the pixels of masked squares by a single 1x1 convolution."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from Stage1.models.contrast import feature_spread
from Stage1.models.masking import grid_masks, hidden_pixel_loss, random_masks
from Stage1.models.pretext import PretextTask
from Stage1.models.transformers import SWIN_PATCH, SwinBackbone

SQUARE = 32  # pixels along a side of what is masked together: a cell of the last stage


@MODELS.register_module()
class SimMIM(PretextTask):
    """Masked image modelling with a Swin Transformer.

    Args:
        width, depths, heads, window: of :class:`Stage1.models.transformers.SwinBackbone`, Swin-B by default.
        masked_share: of the squares.
        common: as of :class:`Stage1.models.pretext.PretextTask`.

    Source: Xie et al., CVPR 2022.
    """

    views = 1

    def __init__(
        self,
        width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 7,
        masked_share: float = 0.75,
        **common,
    ) -> None:
        super().__init__(**common)
        self.masked_share = masked_share
        self.backbone = SwinBackbone(width, depths, heads, window)
        self.mask_token = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.decoder = nn.Sequential(nn.Conv2d(self.backbone.out_channels, 3 * SQUARE**2, 1), nn.PixelShuffle(SQUARE))
        self.prepare(*self.backbone.features, self.decoder)

    def noted(self, data_samples: dict) -> dict[str, Tensor]:
        return {"seeds": data_samples["seed"]}

    def loss(self, images: Tensor, seeds: Tensor) -> dict[str, Tensor]:
        """Absolute error of the hidden pixels of images (N, 3, H, W), hidden by seeds (N,)."""
        masks, rebuilt, features = self.rebuild(images, seeds)
        with torch.autocast(images.device.type, enabled=False):
            return {
                "loss_hidden_pixels": hidden_pixel_loss(rebuilt.float(), images, masks),
                "std_features": feature_spread(F.normalize(features.float().mean(dim=(2, 3)))),
            }

    def rebuild(self, images: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks (N, H, W) bool of pixels, rebuilt images (N, 3, H, W), features (N, C, H / 32, W / 32)."""
        side = images.shape[-1] // SQUARE
        squares = random_masks(seeds, side * side, self.masked_share).to(images.device, non_blocking=True)
        with self.autocast(images.device):
            tokens = grid_masks(squares, SQUARE // SWIN_PATCH)  # N, H / 4, W / 4
            features = self.backbone.encode_masked(self.laid_out(images), tokens, self.mask_token)
            rebuilt = self.decoder(features)
        return grid_masks(squares, SQUARE), rebuilt, features

    @torch.no_grad()
    def picture(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Images, what is visible of them, and that with the rebuilt squares: (N, 3, 3, H, W)."""
        masks, rebuilt, _ = self.rebuild(images, seeds)
        masks = masks.unsqueeze(1)
        return torch.stack([images, images.masked_fill(masks, 0), torch.where(masks, rebuilt.float(), images)], dim=1)

    @classmethod
    def check_settings(cls, model: Mapping[str, Any], view: Mapping[str, Any], batch: int) -> None:
        """Raises a ValueError where the views are not a whole number, above 1, of masked squares wide."""
        side = view.get("image_size", 224)
        if side % SQUARE or side == SQUARE:
            fitting = max(side // SQUARE, 2) * SQUARE
            raise ValueError(
                f"found views of {side} pixels, expected a multiple of {SQUARE} above it, the side of a masked square; "
                f"set image_size={fitting}"
            )
