"""Running an adapted network over the slices of a scan."""

import torch
from torch import Tensor

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.working_grid import with_neighbours

AT_ONCE = 8  # slices


@torch.inference_mode()
def organ_shares(network: AdaptedNetwork, images: Tensor, at_once: int = AT_ONCE) -> Tensor:
    """Probabilities of background and organs in every pixel, (Z, S, S) -> (Z, classes, S, S) float32 on the CPU.

    Args:
        network: in evaluation mode.
        images: normalised slices on the working grid.
        at_once: slices in memory.
    """
    device = next(network.parameters()).device
    found = []
    for places in torch.arange(len(images)).split(at_once):
        slices = with_neighbours(images, places).to(device, memory_format=torch.channels_last)
        found.append(network(slices).softmax(dim=1).cpu())
    return torch.cat(found)
