"""The contrastive parts of DenseCL as functions of tensors: InfoNCE, dense matching, the queue."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits held at a time, 64 MB in float32: all of them would be 0.4 GB for the dense loss of 32 published images.
LOGITS_AT_ONCE = 2**24


def info_nce(queries: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """InfoNCE loss: every query must single out its positive among the negatives.

    Args:
        queries: (M, D), L2-normalised over D; the only argument that gets a gradient.
        positives: (M, D), L2-normalised over D; row i belongs to query i.
        negatives: (D, K), columns L2-normalised; shared by all queries. May be changed before the backward pass.
        temperature: divides the cosine similarities, > 0.

    Returns:
        The loss, a scalar, the mean over the M queries; and the share of queries, a scalar without gradient, whose
        positive is more similar than every negative (contrastive accuracy).

    Source: van den Oord et al., 2018; MoCo (He et al., CVPR 2020), equation 1.
    """
    return _InfoNCE.apply(queries, positives, negatives, temperature)


class _InfoNCE(torch.autograd.Function):
    """Finds the gradient together with the loss, a block of queries at a time.

    Only the gradient (M, D) is kept for the backward pass, and neither the logits (M, K) nor the negatives: these can
    be the queue itself, which takes in new keys before the backward pass.
    """

    @staticmethod
    def forward(ctx, queries: Tensor, positives: Tensor, negatives: Tensor, temperature: float):
        loss, correct = queries.new_zeros(()), queries.new_zeros(())
        gradient = torch.empty_like(queries) if ctx.needs_input_grad[0] else None
        rows = max(1, LOGITS_AT_ONCE // negatives.shape[1])
        for start in range(0, len(queries), rows):
            block = slice(start, start + rows)
            query, positive = queries[block], positives[block]
            positive_logits = (query * positive).sum(dim=1, keepdim=True) / temperature  # (rows, 1)
            logits = (query @ negatives).div_(temperature)  # (rows, K)
            hardest = logits.amax(dim=1, keepdim=True)
            largest = torch.maximum(positive_logits, hardest)
            logits.sub_(largest).exp_()
            positive_share = (positive_logits - largest).exp()
            total = logits.sum(dim=1, keepdim=True) + positive_share
            loss += (total.log() + largest - positive_logits).sum()
            correct += (positive_logits > hardest).sum()
            if gradient is not None:
                softmax = logits.div_(total)
                torch.addcmul(softmax @ negatives.T, positive_share / total - 1, positive, out=gradient[block])
        count = len(queries)
        ctx.gradient = None if gradient is None else gradient.div_(temperature * count)
        correct /= count
        ctx.mark_non_differentiable(correct)
        return loss / count, correct

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient: Tensor, _: Tensor):
        return loss_gradient * ctx.gradient, None, None, None


def feature_spread(rows: Tensor) -> Tensor:
    """Standard deviation of L2-normalised features (M, D) over the rows, mean over D: a scalar without gradient.

    About 1 / sqrt(D) where features differ as they should; near 0 where they have collapsed to one point.

    Source: SimSiam (Chen and He, CVPR 2021), section 4.1.
    """
    return rows.detach().std(dim=0, correction=0).mean()


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
    """Raises a ValueError unless batches of this size, one at least, fill a queue of this length exactly."""
    if length < batch or length % batch:
        fitting = max(1, length // batch) * batch
        raise ValueError(
            f"found a queue of {length} keys and {batch} images per step over all processes, expected a batch that "
            f"divides the queue; set queue_length to a multiple of {batch}, for example {fitting}"
        )
