"""The contrastive parts of DenseCL as functions of tensors: InfoNCE, dense matching, the queue."""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(queries: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """InfoNCE loss: every query must single out its positive among the negatives.

    Args:
        queries: (M, D), L2-normalised over D.
        positives: (M, D), L2-normalised over D; row i belongs to query i.
        negatives: (D, K), columns L2-normalised; shared by all queries.
        temperature: divides the cosine similarities, > 0.

    Returns:
        Scalar, the mean over the M queries.

    Source: van den Oord et al., 2018; MoCo (He et al., CVPR 2020), equation 1.
    """
    positive_logits = (queries * positives).sum(dim=1, keepdim=True)  # (M, 1)
    negative_logits = queries @ negatives  # (M, K)
    logits = torch.cat([positive_logits, negative_logits], dim=1) / temperature
    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, target)


def match_dense_keys(query_grid: Tensor, key_grid: Tensor) -> Tensor:
    """Index of the most similar key cell for every query cell.

    Args:
        query_grid: backbone features of view q, (N, C, S_q), L2-normalised over C.
        key_grid: backbone features of view k, (N, C, S_k), L2-normalised over C.

    Returns:
        (N, S_q) int64, values in [0, S_k).

    Source: DenseCL (Wang et al., CVPR 2021), section 3.3.
    """
    similarity = torch.einsum("ncq,nck->nqk", query_grid, key_grid)
    return similarity.argmax(dim=2)


def gather_cells(grid: Tensor, cells: Tensor) -> Tensor:
    """Picks cells of a grid: (N, D, S_k) and indices (N, S_q) -> (N, D, S_q)."""
    return grid.gather(2, cells.unsqueeze(1).expand(-1, grid.shape[1], -1))


@torch.no_grad()
def enqueue(queue: Tensor, pointer: Tensor, keys: Tensor) -> None:
    """Replaces the oldest keys of a first-in-first-out queue, in place.

    Args:
        queue: (D, K).
        pointer: (1,) int64, the column to write next; moves on by B, modulo K.
        keys: (B, D).

    Raises:
        ValueError: the batch B does not divide the queue length K, so a batch would not fit at the end.
    """
    batch, length = len(keys), queue.shape[1]
    check_queue_length(length, batch)
    start = int(pointer)
    queue[:, start : start + batch] = keys.T.to(queue.dtype)
    pointer[0] = (start + batch) % length


def check_queue_length(length: int, batch: int) -> None:
    """Raises a ValueError unless batches of this size fill a queue of this length exactly."""
    if length % batch:
        fitting = max(1, length // batch) * batch
        raise ValueError(
            f"found a queue of {length} keys and {batch} images per step over all processes, expected a batch that "
            f"divides the queue; set queue_length to a multiple of {batch}, for example {fitting}"
        )
