"""Running an adapted network over the slices of a scan."""

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.working_grid import with_neighbours, working_geometry
from Stage2.segmentation.clean_up import largest_component
from Stage2.segmentation.method import SLICES_AT_ONCE


@torch.inference_mode()
def organ_shares(
    network: AdaptedNetwork, images: Tensor, at_once: int = SLICES_AT_ONCE, places: Tensor | None = None
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


@torch.inference_mode()
def keep_largest_pieces(shares: Tensor) -> None:
    """Set the probability of an organ to 0 in its pieces apart from the largest, in place; (Z, classes, S, S)."""
    labels = shares.max(dim=1).indices
    apart = apart_from_largest(labels, shares.shape[1] - 1)
    shares.movedim(1, -1)[apart, labels[apart]] = 0


def apart_from_largest(labels: Tensor, organs: int) -> Tensor:
    """Where an organ lies apart from its largest piece, (Z, S, S) bool.

    Args:
        labels: (Z, S, S), 1 to `organs` for these; other values are not looked at.
        organs: how many there are.
    """
    apart = torch.zeros(labels.shape, dtype=torch.bool)
    for organ in range(1, organs + 1):
        mask = (labels == organ).numpy()
        if mask.any():
            apart |= torch.from_numpy(mask & ~largest_component(mask))
    return apart


def on_slices(share: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A probability on the working grid, (Z, S, S), on the slices that came in, (Z, H, W) float32; linear.

    It is what a scan with these voxels gets from its headers (`Stage2.inference.transform.back_to_scan`).
    """
    slices = sitk.Image([size[1], size[0], len(share)], sitk.sitkUInt8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(share, dtype=np.float32))
    image.CopyInformation(working_geometry(slices, share.shape[-1]))
    return sitk.GetArrayFromImage(sitk.Resample(image, slices, sitk.Transform(), sitk.sitkLinear, 0.0))
