"""MMPretrain's layout, against its networks computed from their definition under MMPretrain's own names."""

import math
import re
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage1.weights.layouts import fit, from_unfold_order, layouts_of, resize_grid

ENDS = ("weight", "bias")
DEPTHS, HEADS, WINDOW = (2, 1, 2, 1), (1, 2, 2, 4), 3


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # mmcv-lite says at this import which CUDA operator it lacks
    from mmcv.cnn.bricks.transformer import PatchMerging


def small_swin(window=WINDOW):
    return SwinBackbone(width=8, depths=DEPTHS, heads=HEADS, window=window).eval()


def small_vit(image_size=64):
    return VisionTransformerBackbone(width=16, depth=2, heads=2, image_size=image_size).eval()


def swin_names(depths):
    """MMPretrain's names of all tensors of a Swin."""
    names = [f"{layer}.{end}" for layer in ("patch_embed.projection", "patch_embed.norm", "norm3") for end in ENDS]
    for stage, depth in enumerate(depths):
        if stage < 3:
            names += [f"stages.{stage}.downsample.{end}" for end in ("norm.weight", "norm.bias", "reduction.weight")]
        for block in range(depth):
            layers = ("norm1", "attn.w_msa.qkv", "attn.w_msa.proj", "norm2", "ffn.layers.0.0", "ffn.layers.1")
            names += [f"stages.{stage}.blocks.{block}.{layer}.{end}" for layer in layers for end in ENDS]
            names.append(f"stages.{stage}.blocks.{block}.attn.w_msa.relative_position_bias_table")
    return names


def vit_names(depth):
    """MMPretrain's names of all tensors of a ViT."""
    names = [
        "cls_token",
        "pos_embed",
        *(f"{layer}.{end}" for layer in ("patch_embed.projection", "ln1") for end in ENDS),
    ]
    layers = ("ln1", "attn.qkv", "attn.proj", "ln2", "ffn.layers.0.0", "ffn.layers.1")
    return names + [f"layers.{block}.{layer}.{end}" for block in range(depth) for layer in layers for end in ENDS]


def torchvision_name(name):
    """Torchvision's name of a tensor of MMPretrain's Swin: the inverse of what `layouts` says, independent of it."""
    if not name.startswith("stages."):
        first = {"patch_embed.projection": "features.0.0", "patch_embed.norm": "features.0.2", "norm3": "norm"}
        layer, _, end = name.rpartition(".")
        return f"{first[layer]}.{end}"
    stage, kind, rest = re.fullmatch(r"stages\.(\d)\.(blocks|downsample)\.(.+)", name).groups()
    if kind == "downsample":
        return f"features.{2 * int(stage) + 2}.{rest}"
    rest = rest.replace("w_msa.", "").replace("ffn.layers.0.0", "mlp.0").replace("ffn.layers.1", "mlp.3")
    return f"features.{2 * int(stage) + 1}.{rest}"


def randomised(backbone, seed):
    """The backbone with all its weights random, norms and biases too: any two that change places show."""
    generator = torch.Generator().manual_seed(seed)
    state = backbone.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            state[key] = 0.3 * torch.randn(value.shape, generator=generator) + (key.endswith("norm.weight"))
    backbone.load_state_dict(state)
    return backbone


def swin_checkpoint(backbone):
    """A Swin's weights as MMPretrain keeps them: its names, and channel by channel in the merging layers."""
    own, content = backbone.state_dict(), {}
    for name in swin_names(DEPTHS):
        value = own[torchvision_name(name)]
        if ".downsample." in name:
            # torchvision: upper left, lower left, upper right, lower right, each with all channels
            upper_left, lower_left, upper_right, lower_right = value.chunk(4, dim=-1)
            value = torch.stack([upper_left, upper_right, lower_left, lower_right], dim=-1).flatten(-2)
        content[name] = value
    return content


def loaded(backbone, content):
    """The backbone with the weights of a checkpoint in MMPretrain's layout."""
    own, layout = backbone.state_dict(), layouts_of(backbone.state_dict())[1]
    assert layout.name == "MMPretrain" and set(layout.keys) == set(content)
    backbone.load_state_dict(own | {our: fit(content[key], our, own[our], layout) for key, our in layout.keys.items()})
    return backbone


def linear(x, weights, layer):
    return functional.linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])


def norm(x, weights, layer, eps):
    return functional.layer_norm(x, x.shape[-1:], weights[f"{layer}.weight"], weights[f"{layer}.bias"], eps)


def attend(x, weights, layer, heads, bias):
    """Attention of all tokens (B, N, C) to all, with a bias (heads, N, N) that may be -inf."""
    batch, count, channels = x.shape
    query, key, value = linear(x, weights, f"{layer}.qkv").view(batch, count, 3, heads, -1).permute(2, 0, 3, 1, 4)
    share = (query @ key.transpose(-2, -1) / math.sqrt(channels // heads) + bias).softmax(dim=-1)
    return linear((share @ value).transpose(1, 2).reshape(batch, count, channels), weights, f"{layer}.proj")


def window_attention(x, side, weights, layer, heads, window, shift):
    """Shifted window attention by definition: all tokens attend, but for a bias of -inf outside the own window."""
    padded = -(-side // window) * window
    x = functional.pad(x.view(len(x), side, side, -1), (0, 0, 0, padded - side, 0, padded - side)).flatten(1, 2)
    place = torch.cartesian_prod(torch.arange(padded), torch.arange(padded))  # N, 2
    moved = (place - shift) % padded
    of_window = moved // window
    # What the shift brings together from opposite borders stays apart.
    strip = (moved >= padded - window).int() + (moved >= padded - shift).int() if shift else torch.zeros_like(moved)
    together = ((of_window[:, None] == of_window) & (strip[:, None] == strip)).all(dim=2)
    offset = (moved % window)[:, None] - (moved % window) + window - 1  # N, N, 2
    table = weights[f"{layer}.relative_position_bias_table"]
    bias = table[(offset[..., 0] * (2 * window - 1) + offset[..., 1])].permute(2, 0, 1)
    y = attend(x, weights, layer, heads, bias.masked_fill(~together, -torch.inf))
    return y.view(len(x), padded, padded, -1)[:, :side, :side].flatten(1, 2)


def slow_swin(weights, images, window):
    """Features of a Swin, (B, 3, H, H) -> (B, C, H/32, H/32)."""
    x = functional.conv2d(images, weights["patch_embed.projection.weight"], weights["patch_embed.projection.bias"], 4)
    side = x.shape[-1]
    x = norm(x.flatten(2).transpose(1, 2), weights, "patch_embed.norm", 1e-5)
    for stage, depth in enumerate(DEPTHS):
        for block in range(depth):
            name = f"stages.{stage}.blocks.{block}"
            y, shift = norm(x, weights, f"{name}.norm1", 1e-5), window // 2 * (block % 2)
            x = x + window_attention(y, side, weights, f"{name}.attn.w_msa", HEADS[stage], window, shift)
            y = functional.gelu(linear(norm(x, weights, f"{name}.norm2", 1e-5), weights, f"{name}.ffn.layers.0.0"))
            x = x + linear(y, weights, f"{name}.ffn.layers.1")
        if stage < len(DEPTHS) - 1:
            merging = PatchMerging(x.shape[-1], 2 * x.shape[-1])  # MMPretrain's: it is MMCV's
            part = f"stages.{stage}.downsample."
            merging.load_state_dict({k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)})
            x, (side, _) = merging(x, (side, side))
    return norm(x, weights, "norm3", 1e-5).transpose(1, 2).unflatten(2, (side, side))


@torch.no_grad()
def test_swin_with_mmpretrains_weights_gives_mmpretrains_features():
    source = randomised(small_swin(), seed=0)
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    content = swin_checkpoint(source)
    found = loaded(randomised(small_swin(), seed=2), content)(images)
    torch.testing.assert_close(found, source(images), atol=0, rtol=0)
    torch.testing.assert_close(found, slow_swin(content, images, WINDOW), atol=1e-4, rtol=1e-4)


def slow_vit(weights, images, heads):
    """Patch features of a ViT, (B, 3, H, H) -> (B, C, H/16, H/16)."""
    x = functional.conv2d(images, weights["patch_embed.projection.weight"], weights["patch_embed.projection.bias"], 16)
    side = x.shape[-1]
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
    x = x + weights["pos_embed"]
    for block in range(2):
        name = f"layers.{block}"
        x = x + attend(norm(x, weights, f"{name}.ln1", 1e-6), weights, f"{name}.attn", heads, bias=0)
        y = functional.gelu(linear(norm(x, weights, f"{name}.ln2", 1e-6), weights, f"{name}.ffn.layers.0.0"))
        x = x + linear(y, weights, f"{name}.ffn.layers.1")
    return norm(x, weights, "ln1", 1e-6)[:, 1:].transpose(1, 2).unflatten(2, (side, side))


@torch.no_grad()
def test_vit_with_mmpretrains_weights_gives_mmpretrains_features():
    source = randomised(small_vit(), seed=0)
    own = source.state_dict()
    content = {}
    for name in vit_names(2):
        ours = re.sub(r"^layers\.(\d+)\.", r"encoder.layers.encoder_layer_\1.", name)
        ours = ours.replace("attn.qkv.", "self_attention.in_proj_").replace("attn.proj", "self_attention.out_proj")
        ours = ours.replace("ffn.layers.0.0", "mlp.0").replace("ffn.layers.1", "mlp.3")
        ours = re.sub(r"\.ln(\d)\.", r".ln_\1.", ours).replace("patch_embed.projection", "conv_proj")
        ours = re.sub(r"^ln1", "encoder.ln", ours)
        ours = ours.replace("cls_token", "class_token").replace("pos_embed", "encoder.pos_embedding")
        content[name] = own[ours]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = loaded(randomised(small_vit(), seed=2), content)(images)
    torch.testing.assert_close(found, source(images), atol=0, rtol=0)
    torch.testing.assert_close(found, slow_vit(content, images, heads=2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "names", "count"),
    [(SwinBackbone, swin_names((2, 2, 18, 2)), 327), (VisionTransformerBackbone, vit_names(12), 150)],
)
def test_every_tensor_of_the_published_sizes_has_mmpretrains_name(build, names, count):
    """327 and 150 are the tensors of MMPretrain 1.2.0's Swin-B (without indices) and ViT-B."""
    with torch.device("meta"):
        backbone = build()
    layout = layouts_of(backbone.state_dict())[1]
    assert len(layout.keys) == count and set(layout.keys) == set(names)
    own = {key for key in backbone.state_dict() if not key.endswith("relative_position_index")}
    assert set(layout.keys.values()) == own


def test_merged_cells_change_places_and_nothing_else():
    """A row of `nn.Unfold`, channel by channel, as torchvision's merging concatenates it."""
    image = torch.arange(3 * 4.0).view(1, 3, 2, 2)
    unfolded = functional.unfold(image, kernel_size=2, stride=2)[0, :, 0]
    cells = [image[0, :, row, column] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert torch.equal(from_unfold_order(unfolded), torch.cat(cells))


def cubic_weights(old, new):
    """Bicubic interpolation along one axis as a matrix (new, old): Keys' kernel with a = -0.75, borders repeated."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for target in range(new):
        source = (target + 0.5) * old / new - 0.5
        for tap in range(math.floor(source) - 1, math.floor(source) + 3):
            x = abs(source - tap)
            near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            matrix[target, min(max(tap, 0), old - 1)] += near if x <= 1 else far
    return matrix


@pytest.mark.parametrize(("old", "new"), [(14, 16), (11, 13), (13, 11), (1, 3), (5, 5)])
def test_grids_are_resized_bicubically(old, new):
    grid = torch.randn(old * old, 2, generator=torch.Generator().manual_seed(old))
    matrix = cubic_weights(old, new)
    expected = torch.einsum("yr,xc,rck->yxk", matrix, matrix, grid.double().view(old, old, 2)).flatten(0, 1)
    torch.testing.assert_close(resize_grid(grid, new).double(), expected, atol=1e-5, rtol=1e-5)


@given(st.integers(2, 8), st.integers(2, 8))
def test_resized_bias_tables_keep_directions_apart(old, new):
    """A bias that changes its sign with the vertical offset and depends on the horizontal distance stays like that."""
    offsets = torch.arange(-old + 1.0, old)
    table = (offsets[:, None] * offsets.abs()).reshape(-1, 1)
    resized = resize_grid(table, 2 * new - 1).view(2 * new - 1, 2 * new - 1)
    torch.testing.assert_close(resized, resized.flip(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(resized, -resized.flip(0), atol=1e-4, rtol=1e-4)


def test_only_the_shape_of_a_grid_is_a_matter_of_resizing():
    backbone = small_swin()
    layout = layouts_of(backbone.state_dict())[1]
    key = "features.1.0.attn.relative_position_bias_table"
    like = backbone.state_dict()[key]
    same, wider, ragged = torch.randn(25, 1), torch.randn(49, 3), torch.randn(26, 1)
    assert fit(same, key, like, layout) is same
    assert fit(wider, key, like, layout) is wider
    assert fit(ragged, key, like, layout) is ragged
    assert fit(torch.randn(81, 1), key, like, layout).shape == like.shape


def test_position_embeddings_are_resized_without_the_class_tokens():
    backbone = small_vit()
    like = backbone.state_dict()["encoder.pos_embedding"]
    positions = torch.randn(1, 10, 16)
    found = fit(positions, "encoder.pos_embedding", like, layouts_of(backbone.state_dict())[1])
    assert found.shape == like.shape == (1, 17, 16)
    assert torch.equal(found[:, 0], positions[:, 0])
    assert torch.equal(found[0, 1:], resize_grid(positions[0, 1:], 4))
