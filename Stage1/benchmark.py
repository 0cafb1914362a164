"""What Stage 1's benchmark compares with: the published view pipeline and a plain training step."""

import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from Stage1.datasets.colour import IMAGENET_MEAN, IMAGENET_STD
from Stage1.models.contrast import gather_cells, match_dense_keys
from Stage1.models.densecl import DenseCL, cells_as_rows


class PillowBlur(torch.nn.Module):
    """Pillow's Gaussian blur with a standard deviation in pixels drawn from U(0.1, 2.0)."""

    def forward(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(0.1 + 1.9 * torch.rand(()).item()))


def published_view(image_size: int = 224) -> v2.Compose:
    """The published pipeline: torchvision's transforms on RGB Pillow images, to (3, image_size, image_size) float32.

    Source: the view list of facts: MoCo v2 (Chen et al., 2020), as used by DenseCL (Wang et al., CVPR 2021).
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(image_size, scale=(0.2, 1.0)),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([PillowBlur()], p=0.5),
            v2.RandomHorizontalFlip(p=0.5),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def plain_losses(model: DenseCL, query_images: Tensor, key_images: Tensor) -> Tensor:
    """The loss of :meth:`DenseCL.loss` written plainly: queues copied, all logits held, cross-entropy."""
    features_q, global_q, dense_q, _ = model.encode(model.encoder_q, query_images)
    features_k, global_k, dense_k, pooled_k = model.encode_keys(key_images)
    cells = match_dense_keys(F.normalize(features_q.detach(), dim=1), F.normalize(features_k, dim=1))
    pairs = (
        (global_q, global_k, model.queue.clone()),
        (cells_as_rows(dense_q), cells_as_rows(gather_cells(dense_k, cells)), model.queue2.clone()),
    )
    total = 0
    for queries, positives, negatives in pairs:
        logits = torch.cat([(queries * positives).sum(dim=1, keepdim=True), queries @ negatives], dim=1)
        total += 0.5 * F.cross_entropy(logits / model.temperature, torch.zeros(len(queries), dtype=torch.long))
    model.queue[:, : len(global_k)] = global_k.T
    model.queue2[:, : len(pooled_k)] = pooled_k.T
    return total
