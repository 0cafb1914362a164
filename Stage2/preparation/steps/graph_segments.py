"""Graph-based segments of a volume: Felzenszwalb's method on the grid of voxels in three dimensions.

Neighbours in a row, a column and across slices are joined by edges, whose weight is their difference. Edges are taken
by weight, the lightest first: they merge segments that differ little against what they hold, and then those too small.

Source: Felzenszwalb and Huttenlocher, IJCV 2004; supervoxels for episodes: Hansen et al., Medical Image Analysis 2022.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

SCALE_UNIT = 1 / 255  # of the observation scale, as scikit-image has it for slices
CHUNK = 1 << 16  # edges that are looked at together


def felzenszwalb_volume(
    volume: np.ndarray, mask: np.ndarray, spacing: Sequence[float], *, scale: float, sigma: float, min_size: int
) -> np.ndarray:
    """Connected segments of the voxels in a mask.

    Where no two differences between neighbours are equal, a volume turned round along any axis has the same segments.

    Args:
        volume: (Z, H, W), any numeric type.
        mask: voxels to segment, (Z, H, W) bool; others belong to no segment, and no edge leads there.
        spacing: mm along Z, H, W. The smoothing is as wide in mm along all three.
        scale: the larger, the more segments merge by contrast.
        sigma: of the Gaussian smoothing, in voxels along the axis with the shortest ones.
        min_size: voxels; smaller segments are merged with a neighbour, if they have one.

    Returns:
        (Z, H, W) int32: 0 outside the mask, inside it 1..n without gaps.
    """
    smooth = gaussian_filter(volume.astype(np.float64), sigma * min(spacing) / np.asarray(spacing, dtype=np.float64))
    edges, weights = grid_edges(smooth, mask)
    order = np.argsort(weights, kind="stable")
    edges, n_nodes = edges[:, order], int(np.count_nonzero(mask))
    roots = merge_by_contrast(edges, weights[order], n_nodes, scale * SCALE_UNIT)
    roots = merge_small(spanning_edges(edges, n_nodes), roots, min_size)
    numbers = np.zeros(mask.shape, dtype=np.int32)
    numbers[mask] = np.cumsum(roots == np.arange(n_nodes))[roots]
    return numbers


def grid_edges(volume: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges between neighbouring voxels that both lie in a mask.

    Args:
        volume: (Z, H, W) float.
        mask: (Z, H, W) bool, with n voxels.

    Returns:
        (2, E) int32, numbers of voxels in 0..n-1, counted in the order of the array; (E,) float64, their differences.
    """
    nodes = np.full(mask.shape, -1, dtype=np.int32)
    nodes[mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    pairs, weights = [], []
    for axis in range(3):
        near, far = ([slice(None)] * axis + [part] for part in (slice(None, -1), slice(1, None)))
        near, far = tuple(near), tuple(far)
        joined = mask[near] & mask[far]
        pairs.append(np.stack([nodes[near][joined], nodes[far][joined]]))
        weights.append(np.abs(volume[near][joined] - volume[far][joined]))
    return np.concatenate(pairs, axis=1), np.concatenate(weights)


def merge_by_contrast(edges: np.ndarray, weights: np.ndarray, n_nodes: int, k: float) -> np.ndarray:
    """Merge two segments where the edge between them is no heavier than what each of them allows.

    A segment C allows the weight of its last merge plus k / |C|. Once an edge is heavier than that, no later one can
    merge it, which rules out most edges before they are looked at one by one.

    Args:
        edges: (2, E) integers, by weight.
        weights: (E,), ascending.
        n_nodes: n.
        k: observation scale.

    Returns:
        (n,) int64: a node that stands for the segment of every node.
    """
    parent, size, allowed = np.arange(n_nodes), np.ones(n_nodes, dtype=np.int64), np.full(n_nodes, float(k))
    for start in range(0, edges.shape[1], CHUNK):
        chunk, lightest = slice(start, start + CHUNK), weights[start]
        if allowed.max() < lightest:
            break
        first, second = (_roots(parent, ends) for ends in edges[:, chunk])
        possible = (first != second) & (np.minimum(allowed[first], allowed[second]) >= lightest)
        for u, v, weight in zip(first[possible], second[possible], weights[chunk][possible], strict=True):
            u, v = _root(parent, u), _root(parent, v)
            if u != v and weight <= min(allowed[u], allowed[v]):
                u, v = (u, v) if size[u] >= size[v] else (v, u)
                parent[v] = u
                size[u] += size[v]
                allowed[u], allowed[v] = weight + k / size[u], -1
    return _roots(parent, np.arange(n_nodes))


def spanning_edges(edges: np.ndarray, n_nodes: int) -> np.ndarray:
    """The edges of a minimum spanning tree (of every part of the graph), where equal weights count in the given order.

    Args:
        edges: (2, E) integers, by weight, each pair of nodes once.
        n_nodes: n.

    Returns:
        (2, n - parts) integers, by weight.
    """
    ranks = np.arange(1.0, edges.shape[1] + 1)  # 0 would be no edge, and equal weights no order
    tree = minimum_spanning_tree(csr_array((ranks, tuple(edges)), shape=(n_nodes, n_nodes)))
    return edges[:, np.sort(tree.data).astype(np.int64) - 1]


def merge_small(edges: np.ndarray, roots: np.ndarray, min_size: int) -> np.ndarray:
    """Merge two segments by the edge between them where one is smaller than `min_size`.

    The edges of a minimum spanning tree are enough. Any other edge closes a circle with lighter ones. If its ends still
    lie in two segments, the circle leaves either by an edge that was refused. So both are large enough, and stay so.

    Args:
        edges: (2, E) integers, by weight; of a minimum spanning tree, or all.
        roots: (n,) a node that stands for the segment of every node, and for itself.
        min_size: nodes.

    Returns:
        (n,) int64, as `roots`.
    """
    parent, size = roots.tolist(), np.bincount(roots, minlength=len(roots)).tolist()
    for u, v in zip(*edges.tolist(), strict=True):
        u, v = _root(parent, u), _root(parent, v)
        if u != v and (size[u] < min_size or size[v] < min_size):
            u, v = (u, v) if size[u] >= size[v] else (v, u)
            parent[v] = u
            size[u] += size[v]
    parent = np.array(parent, dtype=np.int64)
    return _roots(parent, np.arange(len(parent)))


def _root(parent: np.ndarray | list[int], node: int) -> int:
    """The node that stands for the segment of a node; the way there is halved."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The same for many nodes at once."""
    found = parent[nodes]
    while not np.array_equal(above := parent[found], found):
        found = above
    return found
