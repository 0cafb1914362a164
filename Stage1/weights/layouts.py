"""Layouts of weight files: under which names, in which order and size the tensors of a backbone lie in them.

torchvision's layout is our own. MMPretrain's (also MMSelfSup's) names every layer of Swin and ViT otherwise, and orders
the inputs of Swin's patch merging otherwise. Its ResNets have torchvision's names.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Depth -> blocks of layer1 to layer4, and whether these have a third convolution.
RESNETS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
BUILT_DEPTHS = (18, 50, 101)  # of the backbones that both stages have
RESNET_KEY = re.compile(r"layer([1-4])\.(\d+)\.")
SWIN_KEY = re.compile(r"features\.(\d+)\.(\d+)\.attn\.")
VIT_KEY = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.")
BIAS_TABLE = "relative_position_bias_table"
POSITIONS = "encoder.pos_embedding"
DERIVED = "relative_position_index"  # follows from the window, so that no file's is read

# Layers of a block: torchvision's name -> MMPretrain's.
SWIN_BLOCK = {  # attn holds the relative position bias table
    "norm1": "norm1", "attn": "attn.w_msa", "attn.qkv": "attn.w_msa.qkv", "attn.proj": "attn.w_msa.proj",
    "norm2": "norm2", "mlp.0": "ffn.layers.0.0", "mlp.3": "ffn.layers.1",
}  # fmt: skip
VIT_BLOCK = {
    "ln_1": "ln1", "self_attention.in_proj": "attn.qkv", "self_attention.out_proj": "attn.proj",
    "ln_2": "ln2", "mlp.0": "ffn.layers.0.0", "mlp.3": "ffn.layers.1",
}  # fmt: skip
MERGING_LAYERS = ("norm", "reduction")  # of Swin's patch merging, by both
# Offsets (row, column) of the four merged cells: torchvision concatenates their channels in this order.
MERGED_CELLS = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass(frozen=True)
class Layout:
    """How one kind of file holds a backbone.

    Attributes:
        name: whose layout it is, for messages.
        keys: name in the file -> our name, of every tensor.
        unfolded: our names of the tensors whose last axis runs over merged cells inside channels (`nn.Unfold`).
        no_part: beginnings of names that are no part of the backbone: classifiers, mask tokens.
    """

    name: str
    keys: Mapping[str, str]
    unfolded: frozenset[str] = frozenset()
    no_part: tuple[str, ...] = ()


def layouts_of(own: Iterable[str]) -> list[Layout]:
    """The layouts in which files may hold a backbone with these parameter names; ours, torchvision's, first."""
    own = [key for key in own if not key.endswith(DERIVED)]
    layouts = [Layout("torchvision", {key: key for key in own}, no_part=("fc.", "head.", "heads."))]
    swin = [(int(match[1]), int(match[2])) for match in map(SWIN_KEY.match, own) if match]
    vit = [int(match[1]) for match in map(VIT_KEY.match, own) if match]
    if swin:
        stages = Counter(layer for layer, _ in set(swin))  # blocks of every stage
        layers = swin_layers(tuple(stages[layer] for layer in sorted(stages)))
    elif vit:
        layers = vit_layers(1 + max(vit))
    else:
        return layouts
    keys = {_key_in(layers, key): key for key in own}
    merging = frozenset(ours for theirs, ours in keys.items() if ".downsample." in theirs)
    return [*layouts, Layout("MMPretrain", keys, merging, no_part=("mask_token",))]


def resnet_depth(keys: Iterable[str]) -> int | None:
    """Depth of the ResNet with these parameter names, by its blocks per stage; None if it is no ResNet we know."""
    keys = list(keys)
    blocks = {(match[1], match[2]) for match in map(RESNET_KEY.match, keys) if match}
    counts = tuple(sum(stage == found for found, _ in blocks) for stage in "1234")
    shape = (counts, "layer1.0.conv3.weight" in keys)
    return next((depth for depth, known in RESNETS.items() if known == shape), None)


def swin_layers(depths: tuple[int, ...]) -> dict[str, str]:
    """Layers of a Swin with these blocks per stage: torchvision's name -> MMPretrain's."""
    layers = {"features.0.0": "patch_embed.projection", "features.0.2": "patch_embed.norm"}
    layers["norm"] = f"norm{len(depths) - 1}"
    for stage, depth in enumerate(depths):
        ours, theirs = f"features.{2 * stage + 1}", f"stages.{stage}"
        for block in range(depth):
            layers |= {f"{ours}.{block}.{our}": f"{theirs}.blocks.{block}.{their}" for our, their in SWIN_BLOCK.items()}
        if stage < len(depths) - 1:
            layers |= {f"features.{2 * stage + 2}.{part}": f"{theirs}.downsample.{part}" for part in MERGING_LAYERS}
    return layers


def vit_layers(depth: int) -> dict[str, str]:
    """Layers of a ViT with this many blocks, and its two embeddings: torchvision's name -> MMPretrain's."""
    layers = {"class_token": "cls_token", POSITIONS: "pos_embed", "conv_proj": "patch_embed.projection"}
    layers["encoder.ln"] = "ln1"
    for block in range(depth):
        ours, theirs = f"encoder.layers.encoder_layer_{block}", f"layers.{block}"
        layers |= {f"{ours}.{our}": f"{theirs}.{their}" for our, their in VIT_BLOCK.items()}
    return layers


def _key_in(layers: Mapping[str, str], key: str) -> str:
    """Another layout's name of one of our tensors, by the names of its layers."""
    if key in layers:
        return layers[key]
    layer, _, tensor = key.replace("in_proj_", "in_proj.").rpartition(".")  # torch calls them in_proj_weight, _bias
    return f"{layers[layer]}.{tensor}"


def fit(tensor: Tensor, key: str, like: Tensor, layout: Layout) -> Tensor:
    """A tensor of a file in our order, and resized if it belongs to another window or image size.

    Args:
        tensor: as it lies in the file.
        key: our name of it.
        like: our tensor; another shape than its is left alone where resizing is no remedy.
        layout: the file's.
    """
    if key in layout.unfolded and tensor.shape == like.shape:
        return from_unfold_order(tensor)
    if tensor.shape != like.shape and tensor.ndim == like.ndim and tensor.shape[-1] == like.shape[-1]:
        if key.endswith(BIAS_TABLE) and _is_square(len(tensor)):
            return resize_grid(tensor, math.isqrt(len(like)))
        if key == POSITIONS and len(tensor) == 1 and _is_square(tensor.shape[1] - 1):
            grid = resize_grid(tensor[0, 1:], math.isqrt(like.shape[1] - 1))
            return torch.cat([tensor[:, :1], grid[None]], dim=1)  # the class token has no place in the grid
    return tensor


def from_unfold_order(tensor: Tensor) -> Tensor:
    """Last axis from `nn.Unfold`'s order (channel by channel, its four cells in raster order) to torchvision's.

    Args:
        tensor: (..., 4 C).

    Returns:
        (..., 4 C), cell by cell in the order of `MERGED_CELLS`, each with its C channels.
    """
    by_channel = tensor.unflatten(-1, (-1, 2, 2))  # ..., C, row, column
    return torch.cat([by_channel[..., row, column] for row, column in MERGED_CELLS], dim=-1)


def resize_grid(grid: Tensor, side: int) -> Tensor:
    """Bicubic interpolation of a square grid of vectors, corners not aligned: (n * n, C) -> (side * side, C)."""
    old = math.isqrt(len(grid))
    image = grid.float().T.reshape(1, -1, old, old)
    resized = functional.interpolate(image, (side, side), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T.to(grid.dtype)


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count
