"""Files and weights of the golden numbers: where they lie, how they are read, and the filling both sides use.

A part of the published implementation's numbers comes with the repository, below data/. Where the full set is there
(../shared/golden beside the repository), it is used, and more cases run.
"""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SUBSET = Path(__file__).resolve().parent / "data"
FULL = Path(__file__).resolve().parents[3] / "shared" / "golden"
GOLDEN = FULL if (FULL / "README.md").is_file() else SUBSET


def stored(names: list[str], file: str) -> list[str]:
    """Those of some cases whose file, ``file.format(case)``, is there."""
    return [name for name in names if (GOLDEN / file.format(name)).is_file()]


def load_golden(name: str, folder: Path = GOLDEN) -> dict[str, np.ndarray]:
    """Arrays of a golden file.

    A file of the subset can have another one as its ``base``: arrays it lacks are those of the base, and an array
    ``xor/<key>`` holds the bits in which a float16 one differs from the base's.
    """
    with np.load(folder / name) as file:
        arrays = {key: file[key] for key in file.files}
    if "base" in arrays:
        base = load_golden(str(arrays.pop("base")), folder)
        for key in [key for key in arrays if key.startswith("xor/")]:
            bits, own = arrays.pop(key), key.removeprefix("xor/")
            arrays[own] = (base[own].view(np.uint16) ^ bits).view(np.float16)
        arrays = base | arrays
    return arrays


def sampled(ours: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """Every n-th row and column of our array (..., H, W), where the golden one was stored in such steps."""
    step = -(-ours.shape[-1] // golden.shape[-1])
    ours = ours[..., ::step, ::step]
    assert ours.shape == golden.shape
    return ours


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
