"""Layouts of weight files: under which names, in which order and size the tensors of a backbone lie in them.

torchvision's layout is our own. MMPretrain's (also MMSelfSup's) names every layer of Swin and ViT otherwise, and orders
the inputs of Swin's patch merging otherwise. timm's has other names alone, and so have the files of the authors of
Swin and MAE, but for the place of patch merging. The ResNets of all have torchvision's names.
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
# Where the place of a block is told, in torchvision's names, MMPretrain's and timm's: of Swin (stage, block), of ViT.
SWIN_KEYS = [
    re.compile(rf"{stages}\.(\d+)\.{blocks}(\d+)\.attn\.")
    for stages, blocks in (("features", ""), ("stages", r"blocks\."), ("layers", r"blocks\."))
]
VIT_KEYS = [
    re.compile(rf"{blocks}(\d+)\.{attention}\.")
    for blocks, attention in (
        (r"encoder\.layers\.encoder_layer_", "self_attention"), (r"layers\.", "attn"), (r"blocks\.", "attn")
    )
]  # fmt: skip
BIAS_TABLE = "relative_position_bias_table"
POSITIONS = "encoder.pos_embedding"
CLASS_TOKEN = "class_token"
DERIVED = ("relative_position_index", "attn_mask")  # follow from window and image size, so that no file's is read

MMPRETRAIN, TIMM, AUTHORS = "MMPretrain", "timm", "the authors"
# Layers of a block: torchvision's name, MMPretrain's, timm's (also the authors').
SWIN_BLOCK = (
    ("norm1", "norm1", "norm1"),
    ("attn", "attn.w_msa", "attn"),  # holds the relative position bias table
    ("attn.qkv", "attn.w_msa.qkv", "attn.qkv"),
    ("attn.proj", "attn.w_msa.proj", "attn.proj"),
    ("norm2", "norm2", "norm2"),
    ("mlp.0", "ffn.layers.0.0", "mlp.fc1"),
    ("mlp.3", "ffn.layers.1", "mlp.fc2"),
)
VIT_BLOCK = (
    ("ln_1", "ln1", "norm1"),
    ("self_attention.in_proj", "attn.qkv", "attn.qkv"),
    ("self_attention.out_proj", "attn.proj", "attn.proj"),
    ("ln_2", "ln2", "norm2"),
    ("mlp.0", "ffn.layers.0.0", "mlp.fc1"),
    ("mlp.3", "ffn.layers.1", "mlp.fc2"),
)
MERGING_LAYERS = ("norm", "reduction")  # of Swin's patch merging, by all
NO_PART = {  # what files hold beside a backbone: classifiers, what rebuilds masked images
    "torchvision": ("fc.", "head.", "heads."),
    MMPRETRAIN: ("mask_token",),
    TIMM: ("head.", "fc_norm.", "mask_token", "decoder"),
    AUTHORS: ("head.", "fc_norm.", "mask_token", "decoder"),
}
# Offsets (row, column) of the four merged cells: torchvision concatenates their channels in this order.
MERGED_CELLS = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass(frozen=True)
class Layout:
    """How one kind of file holds a backbone.

    Attributes:
        name: whose layout it is, for messages.
        keys: name in the file -> our name, of every tensor.
        unfolded: our names of the tensors whose last axis runs over merged cells inside channels (`nn.Unfold`).
        no_part: beginnings of names that are no part of the backbone.
    """

    name: str
    keys: Mapping[str, str]
    unfolded: frozenset[str] = frozenset()
    no_part: tuple[str, ...] = ()


def layouts_of(own: Iterable[str]) -> list[Layout]:
    """The layouts in which files may hold a backbone with these parameter names; ours, torchvision's, first."""
    own = [key for key in own if not key.endswith(DERIVED)]
    layouts = [Layout("torchvision", {key: key for key in own}, no_part=NO_PART["torchvision"])]
    depths, depth = swin_depths(own), vit_depth(own)
    if not (depths or depth):
        return layouts
    for name in (MMPRETRAIN, TIMM, *([AUTHORS] if depths else [])):
        layers = swin_layers(depths, name) if depths else vit_layers(depth, name)
        keys = {_key_in(layers, key): key for key in own}
        merging = {ours for theirs, ours in keys.items() if ".downsample." in theirs} if name == MMPRETRAIN else ()
        layouts.append(Layout(name, keys, frozenset(merging), NO_PART[name]))
    return layouts


def transformer_names(found: Iterable[str]) -> list[str]:
    """torchvision's names of all tensors of the Swin or ViT whose tensors are found under any layout's names.

    Returns:
        Without those that are derived; empty where they are of no Swin and no ViT.
    """
    found = list(found)
    depths, depth = swin_depths(found), vit_depth(found)
    layers = swin_layers(depths, TIMM) if depths else vit_layers(depth, TIMM) if depth else {}
    return [tensor for layer in layers for tensor in _tensors_of(layer)]


def swin_depths(names: Iterable[str]) -> tuple[int, ...]:
    """Blocks of every stage of the Swin with these names in any layout; empty where it is none."""
    names = list(names)
    for pattern in SWIN_KEYS:
        blocks = {(int(match[1]), int(match[2])) for match in map(pattern.match, names) if match}
        if blocks:
            stages = Counter(stage for stage, _ in blocks)
            return tuple(stages[stage] for stage in sorted(stages))
    return ()


def vit_depth(names: Iterable[str]) -> int:
    """Blocks of the ViT with these names in any layout; 0 where it is none."""
    names = list(names)
    for pattern in VIT_KEYS:
        blocks = [int(match[1]) for match in map(pattern.match, names) if match]
        if blocks:
            return 1 + max(blocks)
    return 0


def resnet_depth(keys: Iterable[str]) -> int | None:
    """Depth of the ResNet with these parameter names, by its blocks per stage; None if it is no ResNet we know."""
    keys = list(keys)
    blocks = {(match[1], match[2]) for match in map(RESNET_KEY.match, keys) if match}
    counts = tuple(sum(stage == found for found, _ in blocks) for stage in "1234")
    shape = (counts, "layer1.0.conv3.weight" in keys)
    return next((depth for depth, known in RESNETS.items() if known == shape), None)


def resnet_names(depth: int) -> list[str]:
    """Parameter names of the ResNet of this depth, a key of `RESNETS`, without classifier and step counters."""
    counts, bottleneck = RESNETS[depth]
    blocks = [(stage, block) for stage, count in enumerate(counts, 1) for block in range(count)]
    convolutions, norms = ["conv1"], ["bn1"]
    for stage, block in blocks:
        own = f"layer{stage}.{block}."
        convolutions += [f"{own}conv{number + 1}" for number in range(2 + bottleneck)]
        norms += [f"{own}bn{number + 1}" for number in range(2 + bottleneck)]
        if block == 0 and (stage > 1 or bottleneck):
            convolutions, norms = [*convolutions, f"{own}downsample.0"], [*norms, f"{own}downsample.1"]
    kinds = ("weight", "bias", "running_mean", "running_var")
    return [f"{layer}.weight" for layer in convolutions] + [f"{layer}.{kind}" for layer in norms for kind in kinds]


def swin_layers(depths: tuple[int, ...], layout: str) -> dict[str, str]:
    """Layers of a Swin with these blocks per stage: torchvision's name -> the layout's."""
    ours_first, column = ("features.0.0", "features.0.2"), 1 if layout == MMPRETRAIN else 2
    stem, stages = ("projection", "stages") if layout == MMPRETRAIN else ("proj", "layers")
    layers = dict(zip(ours_first, (f"patch_embed.{stem}", "patch_embed.norm"), strict=True))
    layers["norm"] = f"norm{len(depths) - 1}" if layout == MMPRETRAIN else "norm"
    for stage, depth in enumerate(depths):
        for block in range(depth):
            ours, theirs = f"features.{2 * stage + 1}.{block}", f"{stages}.{stage}.blocks.{block}"
            layers |= {f"{ours}.{row[0]}": f"{theirs}.{row[column]}" for row in SWIN_BLOCK}
        if stage < len(depths) - 1:
            place = stage + 1 if layout == TIMM else stage  # timm has it at the start of the next stage
            merging = f"{stages}.{place}.downsample"
            layers |= {f"features.{2 * stage + 2}.{part}": f"{merging}.{part}" for part in MERGING_LAYERS}
    return layers


def vit_layers(depth: int, layout: str) -> dict[str, str]:
    """Layers of a ViT with this many blocks, and its two embeddings: torchvision's name -> the layout's."""
    stem, last, blocks, column = (
        ("projection", "ln1", "layers", 1) if layout == MMPRETRAIN else ("proj", "norm", "blocks", 2)
    )
    layers = {CLASS_TOKEN: "cls_token", POSITIONS: "pos_embed", "conv_proj": f"patch_embed.{stem}", "encoder.ln": last}
    for block in range(depth):
        ours, theirs = f"encoder.layers.encoder_layer_{block}", f"{blocks}.{block}"
        layers |= {f"{ours}.{row[0]}": f"{theirs}.{row[column]}" for row in VIT_BLOCK}
    return layers


def _tensors_of(layer: str) -> tuple[str, ...]:
    """torchvision's names of the tensors of one of its layers."""
    if layer in (CLASS_TOKEN, POSITIONS):
        return (layer,)
    if layer.endswith(".attn"):
        return (f"{layer}.{BIAS_TABLE}",)
    if layer.endswith(".reduction"):
        return (f"{layer}.weight",)
    between = "_" if layer.endswith(".in_proj") else "."
    return (f"{layer}{between}weight", f"{layer}{between}bias")


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
