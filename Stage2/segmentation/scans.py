"""Segmenting prepared slices with prepared supports, and asking the result back: no label of the query anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from Stage2.datasets.folds import support_slices
from Stage2.evaluation.clean_protocol import Extent, nearest_parts
from Stage2.evaluation.metrics import overlap_counts
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter, Prototypes, upsample
from Stage2.segmentation.matching import place_slices, within_organ


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

    def slices_with(self, label: int) -> list[int]:
        """Slices that show a label, ascending."""
        return np.flatnonzero(self.masks[label].any(axis=(1, 2))).tolist()


@dataclass(frozen=True)
class Method:
    """How a query is segmented.

    Attributes:
        matching: how slices find their support, "similarity" or "position".
        parts: support slices of an organ in a support scan.
        window: pooling window of local prototypes, in feature pixels.
        margin: slices beyond the organ's range in the support in which it is looked for; None: it is looked for in
            all slices.
        slices_at_once: bound on the slices that the encoder, and the scores, hold in memory.
    """

    matching: str = "similarity"
    parts: int = 3
    window: int = 2
    margin: int | None = 0
    slices_at_once: int = 8


def organ_prototypes(
    model: FewShotSegmenter, supports: Sequence[PreparedScan], label: int, method: Method
) -> list[Prototypes]:
    """Prototypes of every part of an organ, from the support scans' slices of that part.

    Raises:
        DegenerateEpisodeError: a support slice is nothing but organ.
    """
    slices = [support_slices(scan.slices_with(label), method.parts) for scan in supports]
    prototypes = []
    for part in range(method.parts):
        places = [(scan, own[part]) for scan, own in zip(supports, slices, strict=True)]
        features = torch.stack([scan.features[z] for scan, z in places])
        masks = torch.from_numpy(np.stack([scan.masks[label][z] for scan, z in places]))
        masks = masks.to(features.device, torch.float32)
        prototypes.append(model.prototypes(features, masks, 1 - masks, method.window))
    return prototypes


def organ_probability(
    model: FewShotSegmenter,
    query: PreparedScan,
    supports: Sequence[PreparedScan],
    label: int,
    method: Method,
    size: tuple[int, int],
) -> np.ndarray:
    """Probability of one organ in every voxel of a query, (Z, *size) float32: above 0.5 is organ.

    A slice takes the part that lies nearest to its place in the support; of several supports, their mean, rounded. It
    is left empty where no support has the organ within `method.margin` slices of that place.

    Raises:
        DegenerateEpisodeError: a support slice is nothing but organ.
    """
    prototypes = organ_prototypes(model, supports, label, method)
    parts, near = [], np.zeros(len(query.features), dtype=bool)
    for support in supports:
        positions = place_slices(method.matching, query.features, support.features, query.extent, support.extent)
        own = support.slices_with(label)
        parts.append(nearest_parts(positions, support_slices(own, method.parts)))
        near |= True if method.margin is None else within_organ(positions, own, method.margin)
    part_of = np.floor(np.mean(parts, axis=0) + 0.5).astype(int)
    probability = np.zeros((len(query.features), *size), dtype=np.float32)
    for part in range(method.parts):
        places = np.flatnonzero(near & (part_of == part))
        for first in range(0, len(places), method.slices_at_once):
            chosen = places[first : first + method.slices_at_once]
            logits = upsample(model.scores(query.features[torch.from_numpy(chosen)], prototypes[part]), size)
            probability[chosen] = torch.sigmoid(logits[:, 1] - logits[:, 0]).cpu().numpy()
    return probability


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
    size: tuple[int, int],
) -> float:
    """Confidence in the mask of a query: Dice of the support's mask with what the query's mask says of the support.

    The query, with its predicted mask, takes the place of the support. What went wrong on the way there seldom comes
    back right. 0 where nothing was predicted; the mean over several supports.
    """
    if not query.masks[label].any():
        return 0.0
    try:
        answers = [organ_probability(model, support, [query], label, method, size) > 0.5 for support in supports]
    except DegenerateEpisodeError:
        return 0.0
    scores = [
        overlap_counts(answer, support.masks[label]).dice for answer, support in zip(answers, supports, strict=True)
    ]
    return float(np.mean(scores))
