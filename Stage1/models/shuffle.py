"""What DenseCL needs of other processes: gathered keys and batch-norm shuffling.

Everything here leaves its input as it is where there is one process, with or without a process group.
"""

import torch
from mmengine import dist
from torch import Tensor


@torch.no_grad()
def gather_ranks(x: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks: (N, ...) -> (ranks * N, ...), without gradient."""
    return torch.cat(dist.all_gather(x.contiguous())) if dist.get_world_size() > 1 else x


@torch.no_grad()
def shuffle_ranks(images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Deals the images of all processes out anew, so that batch-norm statistics cannot give the positive away.

    Args:
        images: (N, ...), the same N on every process.

    Returns:
        This process's share (N, ...) after shuffling, and the order that :func:`unshuffle_ranks` needs.

    Source: MoCo (He et al., CVPR 2020), section 3.3.
    """
    if dist.get_world_size() == 1:
        return images, None
    gathered = gather_ranks(images)
    order = torch.randperm(len(gathered)).to(images.device)
    dist.broadcast(order, src=0)
    return gathered[_own_rows(order, len(images))], order


@torch.no_grad()
def unshuffle_ranks(x: Tensor, order: Tensor | None) -> Tensor:
    """Brings rows computed from shuffled images back to the process and place their images came from."""
    if order is None:
        return x
    return gather_ranks(x)[_own_rows(order.argsort(), len(x))]


def _own_rows(order: Tensor, rows: int) -> Tensor:
    return order.view(-1, rows)[dist.get_rank()]
