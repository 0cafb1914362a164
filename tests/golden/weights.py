"""Weights and files of the golden numbers: the deterministic filling both sides of a comparison use."""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
needs_golden = pytest.mark.skipif(
    not (GOLDEN / "README.md").is_file(), reason=f"golden numbers not found: expected the folder {GOLDEN}"
)


def fill_weights(state_dict: Mapping[str, Tensor], bn3_weight: float) -> dict[str, Tensor]:
    """New tensors for every key of a state dict, each a function of its key and shape only.

    Args:
        state_dict: key -> tensor; gives keys, shapes and dtypes, its values are not read or changed.
        bn3_weight: value of the weights whose key ends in ``bn3.weight`` (1.0 or 0.1, see the golden README).

    Returns:
        Key -> tensor on the CPU. Keys that share one tensor (aliases) get the filling of the last key in sorted order.
    """
    last_alias = {_storage(key, state_dict[key]): key for key in sorted(state_dict)}
    filled = {key: _fill_one(key, state_dict[key], bn3_weight) for key in last_alias.values()}
    return {key: filled[last_alias[_storage(key, state_dict[key])]] for key in sorted(state_dict)}


def _storage(key: str, tensor: Tensor) -> tuple:
    if tensor.data_ptr() == 0:  # a meta tensor has no storage to share
        return (key,)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.dtype


def _fill_one(key: str, like: Tensor, bn3_weight: float) -> Tensor:
    shape = tuple(like.shape)
    if not like.is_floating_point() or key.endswith("running_mean") or (like.ndim < 2 and key.endswith("bias")):
        return torch.zeros(shape, dtype=like.dtype)
    if like.ndim >= 2:
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) % 2**31)
        return (torch.randn(shape, generator=generator) / math.prod(shape[1:]) ** 0.5).to(like.dtype)
    return torch.full(shape, bn3_weight if key.endswith("bn3.weight") else 1.0, dtype=like.dtype)
