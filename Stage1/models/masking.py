"""Masks of image patches, and the losses of what is rebuilt behind them: pure functions of tensors.

Masks are drawn here and not by lightly, which draws them for a whole batch from torch's global generator: ours follow
from a seed of each image, so that they do not depend on processes, on workers, or on where a run was resumed.
"""

import torch
from torch import Tensor


def random_masks(seeds: Tensor, patches: int, share: float) -> Tensor:
    """Which patches of every image are hidden: the same number in each, all subsets of that size equally likely.

    Args:
        seeds: (N,) int64, of each image.
        patches: S, of an image.
        share: of the patches that are hidden, at least; one patch stays visible, and one is hidden.

    Returns:
        (N, S) bool on the CPU, True where hidden.

    Source: MAE (He et al., CVPR 2022), section 3; SimMIM (Xie et al., CVPR 2022), section 3.2.
    """
    hidden = min(max(patches - int(patches * (1 - share)), 1), patches - 1)
    generator = torch.Generator()
    orders = [torch.randperm(patches, generator=generator.manual_seed(seed)) for seed in seeds.tolist()]
    return torch.stack(orders) < hidden if orders else torch.zeros(0, patches, dtype=torch.bool)


def visible_patches(masks: Tensor) -> Tensor:
    """Indices of the visible patches, in raster order: (N, S) bool, as many in each row -> (N, K) int64."""
    return (~masks).nonzero()[:, 1].view(len(masks), -1)


def grid_masks(masks: Tensor, times: int) -> Tensor:
    """Masks of a square grid of patches, each patch as a square of cells: (N, n * n) -> (N, n * times, n * times)."""
    side = round(masks.shape[1] ** 0.5)
    return masks.view(-1, side, side).repeat_interleave(times, 1).repeat_interleave(times, 2)


def hidden_patch_loss(rebuilt: Tensor, patches: Tensor, masks: Tensor) -> Tensor:
    """Mean squared error of the hidden patches.

    Args:
        rebuilt, patches: (N, S, P), P values in each patch.
        masks: (N, S) bool, True where hidden; a visible patch has no part in the loss and no gradient.

    Returns:
        A scalar.

    Source: MAE (He et al., CVPR 2022), section 3, pixels not normalised by their patch.
    """
    return (rebuilt[masks] - patches[masks]).square().mean()


def hidden_pixel_loss(rebuilt: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute error of the hidden pixels.

    Args:
        rebuilt, images: (N, C, H, W).
        masks: (N, H, W) bool, True where hidden; a visible pixel has no part in the loss and no gradient.

    Returns:
        A scalar.

    Source: SimMIM (Xie et al., CVPR 2022), section 3.4.
    """
    shown = masks.unsqueeze(1)
    return ((rebuilt - images).abs() * shown).sum() / (shown.sum() * images.shape[1])
