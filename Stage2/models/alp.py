"""Adaptive local prototype pooling: prototypes from a support, scores of a query.

Source: SSL-ALPNet (Ouyang et al., ECCV 2020), section 3.3; PANet (Wang et al., ICCV 2019) for the global prototype.
Masks are soft: they come from bilinear interpolation to the feature grid.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

COSINE_SCALE = 20.0  # "alpha" of the papers: turns cosine similarities into logits
NORM_FLOOR = 1e-4  # norms are clamped here, so that a zero prototype scores 0 instead of NaN
MASK_SUM_FLOOR = 1e-5  # keeps the masked average of an empty mask at 0
PURE_CELL = 0.95  # a pooled cell belongs to a class when more than this share of it does
BRANCH_WINDOW = 4  # pooling window that decides whether a foreground is large enough for local prototypes
QUERY_WEIGHT = 0.5  # of a prototype that comes from the query itself, where one of the support has 1


class DegenerateEpisodeError(ValueError):
    """A support offers no local prototype where the method needs at least one."""


class WeightedPrototypes(NamedTuple):
    """Prototypes that do not all count the same: vectors (P, C), and what is added to their logits, (P,)."""

    vectors: Tensor
    log_weights: Tensor


def local_prototypes(features: Tensor, mask: Tensor, window: int) -> Tensor:
    """Average-pooled features of the cells that lie (almost) wholly inside the mask.

    Args:
        features: support features, (S, C, h, w).
        mask: soft masks of the class, (S, 1, h, w).
        window: side of a pooling cell in feature pixels.

    Returns:
        (P, C), P >= 0 prototypes, shot after shot, each in raster order.
    """
    cells = functional.avg_pool2d(features, window).permute(0, 2, 3, 1)  # S, h', w', C
    inside = functional.avg_pool2d(mask, window).squeeze(1) > PURE_CELL  # S, h', w'
    return cells[inside]


def global_prototypes(features: Tensor, mask: Tensor) -> Tensor:
    """Masked average of the features of every shot.

    Args:
        features: (S, C, h, w).
        mask: soft masks of the class, (S, 1, h, w).

    Returns:
        (S, C); zeros for a shot with an empty mask.
    """
    return (features * mask).sum(dim=(2, 3)) / (mask.sum(dim=(2, 3)) + MASK_SUM_FLOOR)


def has_pure_cell(mask: Tensor) -> bool:
    """Whether a soft mask (S, 1, h, w) is large enough somewhere for local prototypes."""
    return bool(functional.avg_pool2d(mask, BRANCH_WINDOW).max() >= PURE_CELL)


def background_prototypes(features: Tensor, mask: Tensor, window: int) -> Tensor:
    """Local prototypes of the background, (P, C) with P >= 1; shapes as in `local_prototypes`.

    Raises:
        DegenerateEpisodeError: no cell lies inside the background.
    """
    prototypes = local_prototypes(features, mask, window)
    if len(prototypes) == 0:
        raise DegenerateEpisodeError(
            f"no {window} x {window} cell of the support is background: the foreground covers the whole image."
        )
    return prototypes


def foreground_prototypes(features: Tensor, mask: Tensor, window: int) -> Tensor:
    """Local prototypes and every shot's global one; for a small foreground only the global one, averaged over shots.

    Returns:
        (P, C), P >= 1; shapes as in `local_prototypes`.
    """
    averages = global_prototypes(features, mask)
    if not has_pure_cell(mask):
        return averages.mean(dim=0, keepdim=True)
    return torch.cat([local_prototypes(features, mask, window), averages])


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (N, C, ...) divided by their length over C, which is clamped from below."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=NORM_FLOOR)


def extended(prototypes: Tensor, cells: Tensor, most: int) -> Tensor | WeightedPrototypes:
    """Prototypes of a class in the support, and further ones of confident cells in the query.

    As many are added as the support has, and no more than `most` or than there are cells. One is the mean of all cells,
    as a global prototype is. Several are single cells, evenly spaced in the given order, as local prototypes are. Their
    logits in the softmax over prototypes get log `QUERY_WEIGHT` added, and those of the support stay as they are.

    Args:
        prototypes: of the support, (P, C), P >= 1.
        cells: features of the query's cells, (N, C), N >= 0.
        most: prototypes to add.

    Returns:
        the support's alone where nothing is added, else (P + min(P, most, N), C) with their log-weights.
    """
    count = min(len(prototypes), most, len(cells))
    if count < 1:
        return prototypes
    if count == 1:
        further = cells.mean(dim=0, keepdim=True)
    else:
        further = cells[[place * (len(cells) - 1) // (count - 1) for place in range(count)]]
    log_weights = prototypes.new_zeros(len(prototypes) + count)
    log_weights[len(prototypes) :] = math.log(QUERY_WEIGHT)
    return WeightedPrototypes(torch.cat([prototypes, further]), log_weights)


def similarity_score(query: Tensor, prototypes: Tensor | WeightedPrototypes) -> tuple[Tensor, Tensor]:
    """Score of a class at every query position: its scaled cosine similarities, averaged with their own softmax.

    Args:
        query: query features, (B, C, h, w).
        prototypes: prototypes of the class, (P, C), P >= 1; with weights w, the softmax is over similarity + log w.

    Returns:
        scores (B, 1, h, w), and the most similar prototype (B, h, w) int64. One prototype: the similarity itself.
    """
    weighted = isinstance(prototypes, WeightedPrototypes)
    kernels = unit_length(prototypes.vectors if weighted else prototypes)[:, :, None, None]
    similarity = COSINE_SCALE * functional.conv2d(unit_length(query), kernels)  # B, P, h, w
    logits = similarity + prototypes.log_weights[:, None, None] if weighted else similarity
    scores = (logits.softmax(dim=1) * similarity).sum(dim=1, keepdim=True)
    return scores, similarity.argmax(dim=1)
