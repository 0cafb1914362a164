"""Running an adapted network over the slices of a scan."""

import torch
from torch import Tensor

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.working_grid import with_neighbours

AT_ONCE = 8  # slices


@torch.inference_mode()
def organ_shares(
    network: AdaptedNetwork, images: Tensor, at_once: int = AT_ONCE, places: Tensor | None = None
) -> Tensor:
    """Probabilities of background and organs in every pixel, (Z, S, S) -> (Z, classes, S, S) float32 on the CPU.

    Args:
        network: in evaluation mode.
        images: normalised slices on the working grid.
        at_once: slices in memory.
        places: of the slices to look at, between their neighbours; None: all.
    """
    device = next(network.parameters()).device
    places = torch.arange(len(images)) if places is None else places
    shares = torch.empty(len(places), len(network.head.members), *images.shape[-2:])
    for first in range(0, len(places), at_once):
        slices = with_neighbours(images, places[first : first + at_once])
        scores = network(slices.to(device, memory_format=torch.channels_last))
        shares[first : first + at_once] = scores.softmax(dim=1).cpu()
    return shares
