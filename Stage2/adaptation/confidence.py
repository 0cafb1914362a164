"""How far to trust a mask that nobody checks: an estimate of its Dice from the network alone.

Five signs are combined: how sure the network is of its own mask, whether it finds the same again in a changed image,
how much of it is one piece, and how near its volume and its extent along each axis are to those of the examples. The
weights were fitted on phantom scans (`tools/fit_confidence.py`), never on scans that anything is reported on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from Stage2.adaptation.inference import organ_shares
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.io.grid import MM3_PER_ML
from Stage2.io.text import plain
from Stage2.segmentation.clean_up import largest_component

SIGNS = ("sureness", "agreement", "piece", "volume", "shape")
# Of the signs in this order, after the constant: the logit of the expected Dice.
CONSTANT, WEIGHTS = -1.45, (2.02, 0.95, 0.77, -0.16, -0.87)
SMALLER = 0.7  # side of the changed image, as a share of the working grid's
GAMMA = 0.8  # its exponent
LEVEL = 0.2  # share of scans that may fall below the lower bound
FURTHEST = 3.0  # beyond the examples that a sign tells, as a logarithm

Range = tuple[float, float]  # smallest and largest


@dataclass(frozen=True)
class Reference:
    """What confidence goes by.

    Attributes:
        volumes: of every organ in the examples, in ml.
        errors: of every organ: by how much the estimate was above the Dice of scans left out, ascending; empty where
            there were too few examples.
        spreads: of every organ in the examples, along slices, rows and columns, as `spread_of` has it; empty where they
            are not known.
    """

    volumes: tuple[Range, ...]
    errors: tuple[tuple[float, ...], ...] = ()
    spreads: tuple[tuple[Range, ...], ...] = ()

    def as_plain(self) -> dict[str, Any]:
        return plain(asdict(self))

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Reference":
        """From plain values.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(
            tuple(_range_of(own) for own in content["volumes"]),
            tuple(tuple(float(error) for error in own) for own in content["errors"]),
            tuple(tuple(_range_of(axis) for axis in own) for own in content.get("spreads", ())),
        )


def _range_of(content: Sequence[float]) -> Range:
    least, most = content
    return float(least), float(most)


def spread_of(mask: np.ndarray, spacing: Sequence[float]) -> tuple[float, ...]:
    """Standard deviation of the places of a mask's voxels along slices, rows and columns, in mm; never 0.

    Args:
        mask: (Z, S, S) bool, not empty.
        spacing: of its voxels along Z, rows and columns, in mm.
    """
    spreads = []
    for axis, step in enumerate(spacing):
        counts = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
        places = np.arange(len(counts))
        variance = np.average((places - np.average(places, weights=counts)) ** 2, weights=counts)
        spreads.append(step * math.sqrt(variance + 1 / 12))  # that of a single voxel is not 0
    return tuple(spreads)


def beyond(value: float, least: float, most: float) -> float:
    """How far a positive value lies outside a range, as the logarithm of a ratio."""
    return max(math.log(max(least, 1e-3) / value), math.log(value / max(most, 1e-3)), 0.0)


def confidence_of(
    network: AdaptedNetwork, images: Tensor, shares: Tensor, reference: Reference, spacing: Sequence[float]
) -> list[float]:
    """Expected Dice of every organ, 0 to 1; 0 where nothing was found.

    Args:
        network: in evaluation mode.
        images: (Z, S, S), what was segmented.
        shares: (Z, classes, S, S) probabilities that the network gave.
        reference: of the examples.
        spacing: of the voxels along Z, rows and columns, in mm.
    """
    return [combine(signs) for signs in signs_of(network, images, shares, reference, spacing)]


def combine(signs: Mapping[str, float] | None) -> float:
    """Expected Dice by the signs of an organ; 0 for none."""
    if signs is None:
        return 0.0
    total = CONSTANT + sum(weight * signs[name] for weight, name in zip(WEIGHTS, SIGNS, strict=True))
    return 1 / (1 + math.exp(-total))


def signs_of(
    network: AdaptedNetwork, images: Tensor, shares: Tensor, reference: Reference, spacing: Sequence[float]
) -> list[dict[str, float] | None]:
    """The signs of every organ; None where nothing was found. Arguments as `confidence_of`."""
    labels = shares.max(dim=1).indices
    shown = torch.nonzero((labels > 0).flatten(1).any(dim=1))[:, 0]
    again = _found_again(network, images, shown)
    millilitres = math.prod(spacing) / MM3_PER_ML
    found = []
    for organ, volumes in enumerate(reference.volumes, start=1):
        mask = labels == organ
        count = int(mask.sum())
        if count == 0:
            found.append(None)
            continue
        share = shares[:, organ].float()
        sureness = 2 * float(share[mask].sum()) / (float(share.sum()) + count)
        small = functional.interpolate(mask[shown][:, None].float(), size=again.shape[-2:], mode="area")[:, 0] >= 0.5
        both = int((small & (again == organ)).sum())
        agreement = 2 * both / max(1, int(small.sum()) + int((again == organ).sum()))
        largest = largest_component(mask.numpy())
        piece = int(np.count_nonzero(largest)) / count
        volume = beyond(max(count * millilitres, 1e-3), *volumes)
        known = reference.spreads[organ - 1] if reference.spreads else ()
        shape = sum(beyond(own, *limits) for own, limits in zip(spread_of(largest, spacing), known, strict=False))
        found.append(
            {
                "sureness": sureness,
                "agreement": agreement,
                "piece": piece,
                "volume": min(volume, FURTHEST),
                "shape": min(shape, FURTHEST),
            }
        )
    return found


def _found_again(network: AdaptedNetwork, images: Tensor, shown: Tensor) -> Tensor:
    """Labels that the network finds in smaller slices of another contrast, (shown, s, s)."""
    if not len(shown):
        return torch.zeros(0, 32, 32, dtype=torch.int64)
    side = images.shape[-1] if network.image_size else max(32, round(SMALLER * images.shape[-1] / 32) * 32)
    low, high = images.amin(), images.amax()
    changed = ((images - low) / (high - low).clamp(min=1e-5)).pow(GAMMA)
    changed = (changed - changed.mean()) / changed.std().clamp(min=1e-5) * images.std() + images.mean()
    smaller = functional.interpolate(changed[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0]
    return organ_shares(network, smaller, places=shown).max(dim=1).indices  # faster than argmax


def lower_bound(confidence: float, errors: Sequence[float], level: float = LEVEL) -> float | None:
    """A Dice that a mask reaches but for a share `level` of scans; None where too few examples were left out in turn.

    Split conformal prediction: the error that ranks ceil((n + 1) (1 - level)) among n.

    Args:
        confidence: expected Dice.
        errors: of the estimate in scans that were left out: estimate minus Dice.
        level: share of scans that may fall below.
    """
    rank = math.ceil((len(errors) + 1) * (1 - level))
    if not errors or rank > len(errors):
        return None
    return max(0.0, confidence - sorted(errors)[rank - 1])
