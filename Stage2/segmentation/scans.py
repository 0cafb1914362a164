"""Segmenting a scan from supports: the one way of tests by every protocol and of users.

Slices are encoded, support slices give the prototypes of an organ's parts, and every query slice is segmented by the
prototypes of its part. Which part that is, the caller says (`segment_slices`: the published protocols know it from the
query's label), or it is found without any label of the query (`organ_probability`: the clean protocol and users).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from Stage2.datasets.episodes import three_channels
from Stage2.datasets.folds import support_slices
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.heads import Prototypes
from Stage2.segmentation.matching import NOWHERE, Extent, nearest_parts, place_slices, within_organ
from Stage2.segmentation.method import SLICES_AT_ONCE, Method
from Stage2.segmentation.query_cells import certain_cells, neighbours

ABOVE_HALF = 0.5 + 2**-24  # the smallest float32 above 0.5
ROUNDS = 2  # at most, of taking prototypes from the query
REVERSE_SLICES = 3  # at most, of a part of the query that take the place of its support


@dataclass(frozen=True)
class PreparedScan:
    """A scan as the network sees it.

    Attributes:
        name: for messages.
        features: of all slices, (Z, C, h, w).
        extent: first and last slice of the body.
        masks: label -> (Z, H, W) bool; of a support.
    """

    name: str
    features: Tensor
    extent: Extent
    masks: Mapping[int, np.ndarray] = field(default_factory=dict)

    def slices_with(self, label: int, least_pixels: int = 1) -> list[int]:
        """Slices that show a label in at least so many pixels, ascending."""
        return np.flatnonzero(self.masks[label].sum(axis=(1, 2)) >= least_pixels).tolist()


@torch.inference_mode()
def encode_slices(
    model: FewShotSegmenter,
    slices: np.ndarray,
    at_once: int = SLICES_AT_ONCE,
    layout: torch.memory_format = torch.channels_last,
) -> Tensor:
    """Features of slices, (Z, H, W) float32 -> (Z, C, h, w), a few slices at a time.

    Args:
        model: the segmenter.
        slices: normalised.
        at_once: slices in a batch.
        layout: of the images in memory: channels-last is faster, and differs by rounding.
    """
    device = next(model.parameters()).device
    batches = [slices[first : first + at_once] for first in range(0, len(slices), at_once)]
    return torch.cat([model.encode(three_channels(batch).to(device, memory_format=layout)) for batch in batches])


@torch.inference_mode()
def prototypes_of_slices(
    model: FewShotSegmenter, features: Tensor, masks: Sequence[np.ndarray], window: int
) -> Prototypes:
    """Prototypes of an organ from some support slices.

    Args:
        model: the segmenter.
        features: of the slices, (S, C, h, w).
        masks: of the organ, S of (H, W) bool.
        window: pooling window of local prototypes, in feature pixels.

    Raises:
        DegenerateEpisodeError: they show nothing but organ.
    """
    foreground = torch.from_numpy(np.stack(masks)).to(features.device, torch.float32)
    return model.prototypes(features, foreground, 1 - foreground, window)


@torch.inference_mode()
def segment_slices(
    model: FewShotSegmenter,
    features: Tensor,
    prototypes: Sequence[Prototypes],
    parts: np.ndarray,
    size: Sequence[int],
    at_once: int = SLICES_AT_ONCE,
) -> np.ndarray:
    """Probability of an organ in every voxel of a scan: above 0.5 exactly where organ scores higher than background.

    Args:
        model: the segmenter.
        features: of the slices, (Z, C, h, w).
        prototypes: of every part.
        parts: the part of every slice, (Z,); NOWHERE: it is left empty.
        size: (H, W) of the slices.
        at_once: slices whose scores are held in memory.

    Returns:
        (Z, H, W) float32.
    """
    probability = np.zeros((len(features), *size), dtype=np.float32)
    for part, own in enumerate(prototypes):
        places = np.flatnonzero(parts == part)
        for first in range(0, len(places), at_once):
            chosen = places[first : first + at_once]
            logits = model.logits(features[torch.from_numpy(chosen)], own, size)
            log_odds = logits[:, 1] - logits[:, 0]
            found = torch.sigmoid(log_odds)
            found = torch.where(log_odds > 0, found.clamp(min=ABOVE_HALF), found)  # the sigmoid of 1e-8 is 0.5
            probability[chosen] = found.cpu().numpy()
    return probability


@dataclass(frozen=True)
class SupportSlices:
    """Annotated slices of one part of an organ: features (S, C, h, w), and S masks (H, W) bool, none of them empty."""

    features: Tensor
    masks: Sequence[np.ndarray]


@torch.inference_mode()
def segment_with_query(
    model: FewShotSegmenter, features: Tensor, prototypes: Sequence[Any], parts: np.ndarray, size: Sequence[int],
    at_once: int = SLICES_AT_ONCE, *, supports: Sequence[SupportSlices], window: int, most: int,
) -> np.ndarray:  # fmt: skip
    """As `segment_slices`, with prototypes of the query's own confident cells, in up to `ROUNDS` rounds.

    A round takes the confident cells of a slice and of its neighbours, and segments the slice anew by them and the
    support's prototypes together, see `Stage2.segmentation.query_cells` and `Head.joined`. A part keeps what is new
    where the query's mask, as a support, segments the part's annotated slices no worse than the mask before did.

    Args:
        supports: the annotated slices of every part.
        window: pooling window of local prototypes, in feature pixels.
        most: prototypes that a class of a slice may get.
    """
    grid, looked_at = features.shape[-2:], parts != NOWHERE
    found = segment_slices(model, features, prototypes, parts, size, at_once)
    cells = torch.from_numpy(segment_slices(model, features, prototypes, parts, grid, at_once)).to(features.device)
    trust = {
        part: _dice_on_support(model, features, found, parts == part, supports[part], window)
        for part in np.unique(parts[looked_at]).tolist()
    }
    for _ in range(ROUNDS):
        joined, own = [], np.full_like(parts, NOWHERE)
        for z in np.flatnonzero(np.isin(parts, list(trust))):
            near = torch.from_numpy(neighbours(z, looked_at))
            certain = certain_cells(features[near], cells[near])
            if certain is not None:
                own[z] = len(joined)
                joined.append(model.head.joined(prototypes[parts[z]], certain, most))
        if not joined:
            break
        tried = np.where((own == NOWHERE)[:, None, None], found, segment_slices(model, features, joined, own, size))
        for part, before in list(trust.items()):
            of_part = parts == part
            after = _dice_on_support(model, features, tried, of_part, supports[part], window)
            if after < before or not (own[of_part] != NOWHERE).any():
                own[of_part] = NOWHERE
                del trust[part]
            else:
                trust[part] = after
        kept = torch.from_numpy(own != NOWHERE)
        found[kept.numpy()] = tried[kept.numpy()]
        cells[kept] = torch.from_numpy(segment_slices(model, features, joined, own, grid)).to(cells)[kept]
    return found


def _dice_on_support(
    model: FewShotSegmenter, features: Tensor, probability: np.ndarray, of_part: np.ndarray, support: SupportSlices,
    window: int,
) -> float:  # fmt: skip
    """Dice of a part's annotated slices with what the query's mask says of them as their support; 0 where it is empty.

    Args:
        features: of the query, (Z, C, h, w).
        probability: of the organ in the query, (Z, H, W).
        of_part: the query's slices of the part, (Z,) bool; of those with a mask, `REVERSE_SLICES` are taken.
    """
    shown = np.flatnonzero(of_part & (probability > 0.5).any(axis=(1, 2))).tolist()
    if not shown:
        return 0.0
    chosen = sorted(set(support_slices(shown, REVERSE_SLICES)))
    try:
        prototypes = prototypes_of_slices(model, features[chosen], [probability[z] > 0.5 for z in chosen], window)
    except DegenerateEpisodeError:
        return 0.0
    masks = np.stack(support.masks)
    parts = np.zeros(len(masks), dtype=int)
    return dice(segment_slices(model, support.features, [prototypes], parts, masks.shape[1:]) > 0.5, masks)


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks of one shape that are not both empty."""
    return float(2 * np.count_nonzero(mask & other) / (mask.sum() + other.sum()))


def support_slices_of(scan: PreparedScan, label: int, method: Method) -> list[int]:
    """The support slice of every part of an organ in a support scan, which shows it.

    They are taken from the slices with at least `method.least_pixels` of it, or from all that show it where none has.
    """
    return support_slices(scan.slices_with(label, method.least_pixels) or scan.slices_with(label), method.parts)


def organ_probability(
    model: FewShotSegmenter,
    query: PreparedScan,
    supports: Sequence[PreparedScan],
    label: int,
    method: Method,
    size: Sequence[int],
) -> np.ndarray:
    """Probability of one organ in every voxel of a query, (Z, *size) float32: above 0.5 is organ.

    A slice takes the part that lies nearest to its place in the support; of several supports, their mean, rounded. It
    is left empty where no support has the organ within `method.margin` slices of that place.

    Raises:
        DegenerateEpisodeError: a support slice is nothing but organ.
    """
    chosen = [support_slices_of(support, label, method) for support in supports]
    annotated = []
    for part in range(method.parts):
        places = [(support, own[part]) for support, own in zip(supports, chosen, strict=True)]
        features = torch.stack([support.features[z] for support, z in places])
        annotated.append(SupportSlices(features, [support.masks[label][z] for support, z in places]))
    prototypes = [prototypes_of_slices(model, own.features, own.masks, method.window) for own in annotated]
    parts, near = [], np.zeros(len(query.features), dtype=bool)
    for support, own in zip(supports, chosen, strict=True):
        positions = place_slices(method.matching, query.features, support.features, query.extent, support.extent)
        parts.append(nearest_parts(positions, own))
        near |= method.margin is None or within_organ(positions, support.slices_with(label), method.margin)
    part_of = np.where(near, np.floor(np.mean(parts, axis=0) + 0.5).astype(int), NOWHERE)
    given = (model, query.features, prototypes, part_of, size, method.slices_at_once)
    if method.query_prototypes:
        return segment_with_query(*given, supports=annotated, window=method.window, most=method.query_prototypes)
    return segment_slices(*given)


def label_map(probabilities: Mapping[int, np.ndarray]) -> np.ndarray:
    """The most probable label of every voxel, 0 where none is above 0.5; the type is the smallest that holds them."""
    labels = list(probabilities)
    shape = probabilities[labels[0]].shape
    largest, result = np.full(shape, 0.5, dtype=np.float32), np.zeros(shape, dtype=np.min_scalar_type(max(labels)))
    for label, probability in probabilities.items():
        more = probability > largest
        result[more] = label
        largest[more] = probability[more]
    return result


def reverse_dice(
    model: FewShotSegmenter,
    query: PreparedScan,
    supports: Sequence[PreparedScan],
    label: int,
    method: Method,
    size: Sequence[int],
) -> float:
    """Confidence in the mask of a query: Dice of the support's mask with what the query's mask says of the support.

    The query, with its predicted mask, takes the place of the support. What went wrong on the way there seldom comes
    back right. 0 where nothing was predicted; the mean over several supports. No prototypes are taken from the support.
    """
    method = replace(method, query_prototypes=0)
    if not query.masks[label].any():
        return 0.0
    try:
        answers = [organ_probability(model, support, [query], label, method, size) > 0.5 for support in supports]
    except DegenerateEpisodeError:
        return 0.0
    return float(np.mean([dice(*pair) for pair in zip(answers, (one.masks[label] for one in supports), strict=True)]))
