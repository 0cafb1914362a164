"""Pseudo-labels: what the network is sure of in scans that nobody labelled."""

from collections.abc import Sequence

import torch
from torch import Tensor

from Stage2.adaptation.inference import apart_from_largest, organ_shares
from Stage2.adaptation.learner import IGNORED
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.working_grid import AnnotatedSlices

SURE = 0.8  # probability from which a pixel gets a pseudo-label
SHARE = 0.3  # slices to label, for each slice that the network learns from: it costs about a tenth of the budget


def pseudo_labels(
    network: AdaptedNetwork, scans: Sequence[Tensor], budget: int, generator: torch.Generator
) -> list[AnnotatedSlices]:
    """Scans with labels where the network is sure; pieces of an organ that lie apart from its largest are unknown.

    Args:
        network: in any mode; it is left in evaluation mode.
        scans: (Z, S, S) each.
        budget: slices that the network learns from in all; of more than a share of it, some scans are left out.
        generator: chooses these.
    """
    network.eval()
    left = max(1, round(SHARE * budget))
    found = []
    for place in torch.randperm(len(scans), generator=generator).tolist():
        images = scans[place]
        if found and len(images) > left:
            continue
        left -= len(images)
        shares = organ_shares(network, images)
        largest, labels = shares.max(dim=1)
        labels[largest < SURE] = IGNORED
        labels[apart_from_largest(labels, shares.shape[1] - 1)] = IGNORED
        known = torch.ones(len(images), shares.shape[1] - 1, dtype=torch.bool)
        found.append(AnnotatedSlices(f"unlabelled scan {place}", images, labels, known))
    return [scan for scan in found if len(scan.showing)]
