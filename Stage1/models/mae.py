"""MAE: a Vision Transformer sees a quarter of the patches, and a small one rebuilds the others from its tokens."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from Stage1.models.contrast import feature_spread
from Stage1.models.extras import from_library
from Stage1.models.masking import hidden_patch_loss, random_masks, visible_patches
from Stage1.models.pretext import PretextTask
from Stage1.models.transformers import VIT_PATCH, VisionTransformerBackbone


@MODELS.register_module()
class MAE(PretextTask):
    """Masked autoencoder of a ViT with patches of 16 pixels.

    Args:
        image_size: side of the images in pixels, a multiple of 16.
        width, depth, heads: of the encoder, ViT-B by default.
        decoder_width, decoder_depth, decoder_heads: of the decoder.
        masked_share: of the patches.
        common: as of :class:`Stage1.models.pretext.PretextTask`.

    The decoder and the fixed position embeddings are lightly's.

    Source: He et al., CVPR 2022.
    """

    views = 1

    def __init__(
        self,
        image_size: int = 256,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        masked_share: float = 0.75,
        **common,
    ) -> None:
        super().__init__(**common)
        decoder = from_library(
            "lightly.models.modules.masked_vision_transformer_decoder_timm", "MaskedVisionTransformerDecoderTIMM"
        )
        fixed_positions, self.patchify, self.unpatchify = from_library(
            "lightly.models.utils", "initialize_2d_sine_cosine_positional_embedding", "patchify", "unpatchify"
        )
        self.masked_share = masked_share
        self.backbone = VisionTransformerBackbone(width, depth, heads, image_size)
        self.embed = nn.Linear(width, decoder_width)
        self.decoder = decoder((image_size // VIT_PATCH) ** 2, decoder_width, decoder_depth, decoder_heads)
        self.predict = nn.Linear(decoder_width, 3 * VIT_PATCH**2)
        fixed_positions(self.backbone.encoder.pos_embedding)
        for part in (self.backbone, self.embed, self.predict):
            part.apply(_initialise)
        weights = self.backbone.conv_proj.weight
        nn.init.xavier_uniform_(weights.view(len(weights), -1))  # the patches' convolution is a linear layer of each
        nn.init.normal_(self.backbone.class_token, std=0.02)
        self.prepare(self.backbone.encoder.layers, self.decoder)

    def noted(self, data_samples: dict) -> dict[str, Tensor]:
        return {"seeds": data_samples["seed"]}

    def loss(self, images: Tensor, seeds: Tensor) -> dict[str, Tensor]:
        """Squared error of the hidden patches of images (N, 3, H, W), hidden by seeds (N,)."""
        masks, rebuilt, tokens = self.rebuild(images, seeds)
        patches = self.patchify(images, VIT_PATCH)
        with torch.autocast(images.device.type, enabled=False):
            return {
                "loss_hidden_patches": hidden_patch_loss(rebuilt.float(), patches, masks),
                "std_features": feature_spread(F.normalize(tokens.float().mean(dim=1))),
            }

    def rebuild(self, images: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks (N, S) bool, all patches as the decoder sees them (N, S, P), tokens of the visible ones (N, K, C)."""
        masks = random_masks(seeds, self.decoder.num_patches, self.masked_share)
        visible = visible_patches(masks).to(images.device, non_blocking=True)
        masks = masks.to(images.device, non_blocking=True)
        with self.autocast(images.device):
            tokens = self.backbone.encode_visible(self.laid_out(images), visible)  # N, 1 + K, width
            embedded = self.embed(tokens)
            hidden = self.decoder.mask_token.to(embedded.dtype).expand(*masks.shape, -1)  # N, S, decoder_width
            places = visible.unsqueeze(2).expand(-1, -1, embedded.shape[2])
            whole = torch.cat([embedded[:, :1], hidden.scatter(1, places, embedded[:, 1:])], dim=1)
            rebuilt = self.predict(self.decoder(whole))[:, 1:]
        return masks, rebuilt, tokens[:, 1:]

    @torch.no_grad()
    def picture(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Images, what is visible of them, and that with the rebuilt patches: (N, 3, 3, H, W)."""
        masks, rebuilt, _ = self.rebuild(images, seeds)
        patches, masks = self.patchify(images, VIT_PATCH), masks.unsqueeze(2)
        shown = (patches, patches.masked_fill(masks, 0), torch.where(masks, rebuilt.float(), patches))
        return torch.stack([self.unpatchify(one, VIT_PATCH) for one in shown], dim=1)

    @classmethod
    def check_settings(cls, model: Mapping[str, Any], view: Mapping[str, Any], batch: int) -> None:
        """Raises a ValueError where views and position embeddings are of different sizes, or no whole patches."""
        own, seen = model.get("image_size", 256), view.get("image_size", 224)
        if own != seen or own % VIT_PATCH or own < 2 * VIT_PATCH:
            raise ValueError(
                f"found views of {seen} pixels and a network for {own}, expected the same multiple of {VIT_PATCH} "
                f"above it; set image_size={max(seen // VIT_PATCH, 2) * VIT_PATCH}"
            )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.xavier_uniform_(module.in_proj_weight)
