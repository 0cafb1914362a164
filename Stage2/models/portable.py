"""Heads as graphs of fixed shape, for runtimes without data-dependent control flow (ONNX).

The heads gather the cells that are prototypes and branch on the size of the foreground. Here every cell stays, and
those that are no prototypes get no weight in the softmax: the same scores.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from Stage2.models.alp import BRANCH_WINDOW, COSINE_SCALE, PURE_CELL, global_prototypes, unit_length


class PortableHead(nn.Module):
    """Segments query features by a support.

    Attributes:
        without_background: what a support without any background cell gives, in words.
    """

    without_background = "allowed"

    def forward(self, support_features: Tensor, support_mask: Tensor, query_features: Tensor) -> Tensor:
        """Logits of background and foreground.

        Args:
            support_features: (S, C, h, w).
            support_mask: float, 1 on the class and 0 elsewhere, (S, H, W).
            query_features: (B, C, h, w).

        Returns:
            (B, 2, H, W).
        """
        raise NotImplementedError


class PortablePrototypes(PortableHead):
    """Segments by prototypes of both classes, without parameters.

    Args:
        window: side of a pooling cell in feature pixels.
    """

    def __init__(self, window: int):
        super().__init__()
        self.window = window

    def forward(self, support_features: Tensor, support_mask: Tensor, query_features: Tensor) -> Tensor:
        size = support_features.shape[-2:]
        foreground = functional.interpolate(support_mask[:, None], size, mode="bilinear")
        background = functional.interpolate(1 - support_mask[:, None], size, mode="bilinear")
        scores = self.scores(support_features, foreground, background, query_features)
        return functional.interpolate(scores, support_mask.shape[-2:], mode="bilinear")

    def scores(self, features: Tensor, foreground: Tensor, background: Tensor, query: Tensor) -> Tensor:
        """(B, 2, h, w) from masks (S, 1, h, w) on the grid of the features."""
        raise NotImplementedError


class PortableGlobalPrototypes(PortablePrototypes):
    """PA-Net's."""

    def scores(self, features: Tensor, foreground: Tensor, background: Tensor, query: Tensor) -> Tensor:
        averages = [
            global_prototypes(features, mask).mean(dim=0, keepdim=True) for mask in (background, foreground)
        ]  # each 1, C
        return cosine_similarity(query, torch.cat(averages))


class PortableLocalPrototypes(PortablePrototypes):
    """ALPNet's.

    A support without any background cell, where the head raises `DegenerateEpisodeError`, gives logits that are all
    NaN. An empty mask gives foreground scores of 0, as there.
    """

    without_background = "NaN logits"

    def scores(self, features: Tensor, foreground: Tensor, background: Tensor, query: Tensor) -> Tensor:
        averages = global_prototypes(features, foreground)  # S, C
        average = averages.mean(dim=0, keepdim=True)  # 1, C
        cells = functional.avg_pool2d(features, self.window).permute(0, 2, 3, 1).flatten(0, 2)  # S h' w', C
        similarity = cosine_similarity(query, torch.cat([cells, averages, average]))  # B, S h' w' + S + 1, h, w

        is_background = functional.avg_pool2d(background, self.window).flatten() > PURE_CELL
        is_foreground = functional.avg_pool2d(foreground, self.window).flatten() > PURE_CELL
        large = functional.avg_pool2d(foreground, BRANCH_WINDOW).max() >= PURE_CELL
        of_each_shot = torch.ones_like(averages[:, 0], dtype=torch.bool)
        of_all_shots = torch.ones_like(average[:, 0], dtype=torch.bool)
        background_used = torch.cat([is_background, ~of_each_shot, ~of_all_shots])
        foreground_used = torch.cat([is_foreground & large, of_each_shot & large, of_all_shots & ~large])
        scores = torch.cat([masked_score(similarity, used) for used in (background_used, foreground_used)], dim=1)
        # Said here, because runtimes differ in what their softmax makes of nothing but -inf.
        return torch.where(background_used.any(), scores, torch.nan)


def cosine_similarity(query: Tensor, prototypes: Tensor) -> Tensor:
    """Scaled cosine similarities, (B, C, h, w) and (P, C) -> (B, P, h, w)."""
    columns = unit_length(query).flatten(2)  # B, C, h w
    return COSINE_SCALE * (unit_length(prototypes) @ columns).unflatten(2, query.shape[-2:])


def masked_score(similarity: Tensor, used: Tensor) -> Tensor:
    """`similarity_score` over some of the prototypes only.

    Args:
        similarity: (B, P, h, w).
        used: which prototypes count, (P,) bool, at least one.

    Returns:
        (B, 1, h, w).
    """
    used = used[None, :, None, None]
    weights = torch.where(used, similarity, -torch.inf).softmax(dim=1)
    return (weights * similarity).sum(dim=1, keepdim=True)
