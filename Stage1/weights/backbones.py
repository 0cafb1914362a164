"""The backbone inside every published format of weights: finding it, fitting it to a network, saying what was taken."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from Stage1.weights.checkpoints import read_checkpoint
from Stage1.weights.layouts import (
    AUTHORS,
    BUILT_DEPTHS,
    CLASS_TOKEN,
    DERIVED,
    RESNETS,
    TIMM,
    Layout,
    fit,
    layouts_of,
    resnet_depth,
    resnet_names,
    transformer_names,
)

# Where a backbone may lie in a file, tried in this order, and who writes such files.
PREFIXES = {
    "encoder_q.0.": "a DenseCL or OpenSelfSup checkpoint",
    "backbone.": "an MMSelfSup or MMPretrain file",
    "encoder.backbone.": "a snapshot of Stage 2",
    "": "a backbone file",  # published by DenseCL, or of tools/extract_backbone_weights.py
}
STATES = ("state_dict", "model")  # of a file's content that may hold the weights: MMEngine's, and the authors' of MAE
OWN_STATE = "random_state"  # which checkpoints of tools/train.py alone hold
ALIAS = "backbone."  # DenseCL's second name of encoder_q.0.
RESNET_PARTS = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
COUNTER = "num_batches_tracked"  # of batch norm; files older than it are complete without it
LISTED_KEYS = 5  # an error names this many keys of each kind

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedBackbone:
    """What was taken from a file of weights.

    Attributes:
        source: who writes such files.
        tensors: how many were taken.
        resized: how many of them belonged to another window or image size.
        absent_counters: how many step counters of batch norm the file lacks.
        left_out: names in the file of everything else.
    """

    source: str
    tensors: int
    resized: int
    absent_counters: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.tensors} tensors from {self.source}", f"left out: {summarise(self.left_out) or 'nothing'}"]
        if self.resized:
            parts.append(f"{self.resized} of them resized to this network's window or image size")
        if self.absent_counters:
            parts.append(f"{self.absent_counters} {COUNTER} counters are not in the file and stay 0")
        return "; ".join(parts)


def load_backbone(
    backbone: nn.Module, path: str | Path, *, content: Mapping | None = None, setting: str = "depth={depth}"
) -> LoadedBackbone:
    """Load a file of weights into a backbone, every tensor of which must be there and fit.

    Read are the files of `tools/extract_backbone_weights.py`, checkpoints of Stage 1, DenseCL, OpenSelfSup, MMSelfSup,
    MMPretrain, torchvision and timm files, those of the authors of Swin and MAE, and snapshots of Stage 2. Position
    embeddings and tables of relative position biases for other image and window sizes are resized.

    Args:
        backbone: with parameters named as torchvision's.
        path: of the file.
        content: of the file, where it was read before.
        setting: what to set for a ResNet of another depth, for the message.

    Raises:
        FileNotFoundError, ValueError: the file is missing or unreadable, or layers are missing, unknown or of another
            shape; the backbone is as before then.
    """
    content = read_checkpoint(path) if content is None else content
    tensors, own = state_of(content, path), backbone.state_dict()
    layout, prefix = find_layout(tensors, layouts_of(own), path)
    part = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    part = {key: value for key, value in part.items() if not key.startswith(layout.no_part)}
    derived = {key for key in part if key.endswith(DERIVED)}
    counters = [key for key, ours in layout.keys.items() if ours.endswith(COUNTER) and key not in part]
    expected = {key: own[ours] for key, ours in layout.keys.items() if key not in counters}
    weights = {key: value for key, value in part.items() if key not in derived}
    for key in weights.keys() & layout.keys.keys():
        if isinstance(weights[key], Tensor):  # what is none is named below
            weights[key] = fit(weights[key], layout.keys[key], own[layout.keys[key]], layout)
    mismatch = describe_mismatch(expected, weights)
    if mismatch:
        _refuse_no_class_token(layout, part, path)
        found, depth = resnet_depth(part), resnet_depth(own)
        advice = f"give another file or set another {setting.partition('=')[0]}"
        if found not in (None, depth) and depth is not None:
            advice = f"it looks like a ResNet-{found} and the model is a ResNet-{depth}; give a ResNet-{depth} file"
            advice += f" or set {setting.format(depth=found)}" if found in BUILT_DEPTHS else ""
        raise ValueError(f"found layers in {path} that do not fit the model: {mismatch}; {advice}")
    backbone.load_state_dict(own | {layout.keys[key]: value for key, value in weights.items()})

    source = PREFIXES[prefix]
    if ("message_hub" if prefix == "encoder_q.0." else OWN_STATE) in content:
        source = "a checkpoint of tools/train.py"
    elif prefix == "" and layout.name in (TIMM, AUTHORS):
        source = f"a file of {layout.name}"
    elif prefix == "" and any(key.startswith(layout.no_part) for key in tensors):
        source = "a torchvision or timm file"
    taken = {prefix + key for key in weights.keys() | derived}
    taken |= {ALIAS + key for key in weights} if prefix == "encoder_q.0." else set()
    return LoadedBackbone(
        source=source,
        tensors=len(weights),
        resized=sum(weights[key].shape != part[key].shape for key in weights),
        absent_counters=len(counters),
        left_out=tuple(sorted(tensors.keys() - taken)),
    )


def state_of(content: Mapping, path: str | Path) -> dict[str, object]:
    """The weights in a file's content by name, without the prefix that data-parallel training adds."""
    name = next((name for name in STATES if name in content), None)
    state = content if name is None else content[name]
    if not isinstance(state, Mapping):
        raise ValueError(
            f"found a {type(state).__name__} as {name} in {path}, expected the weights by name; give another file"
        )
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def find_layout(tensors: Mapping[str, object], layouts: Iterable[Layout], path: str | Path) -> tuple[Layout, str]:
    """The layout and the prefix under which most tensors of a backbone are found.

    Raises:
        ValueError: none is found.
    """
    layouts = list(layouts)
    candidates = [(layout, prefix) for layout in layouts for prefix in PREFIXES]
    counts = [sum(prefix + key in tensors for key in layout.keys) for layout, prefix in candidates]
    if not any(counts):
        raise _no_backbone(tensors, [next(iter(layout.keys)) for layout in layouts], path)
    return candidates[counts.index(max(counts))]


def backbone_weights(content: Mapping, path: str | Path) -> dict[str, Tensor]:
    """The backbone in a file's content, under torchvision's names and without classifier; formats as `load_backbone`'s.

    Raises:
        ValueError: no ResNet, Swin or ViT in it, or one that lacks layers or holds values that are no tensors.
    """
    state = state_of(content, path)
    for prefix in PREFIXES:
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if "conv1.weight" in part:
            if (depth := resnet_depth(part)) is None:
                raise ValueError(
                    f"found a ResNet in {path} whose blocks are those of no depth ({', '.join(map(str, RESNETS))}), "
                    "expected a whole one; give another file"
                )
            _refuse_missing(resnet_names(depth), part, path)
            weights = {key: value for key, value in part.items() if key.startswith(RESNET_PARTS)}
        elif own := transformer_names(part):
            weights = _in_our_layout(part, own, path)
        else:
            continue
        wrong = [key for key, value in weights.items() if not isinstance(value, Tensor)]
        if wrong:
            raise ValueError(f"found {wrong[0]} in {path} that is no tensor, expected weights; give another file")
        return weights
    raise _no_backbone(state, ["conv1.weight", "features.0.0.weight", "conv_proj.weight"], path)


def _in_our_layout(part: Mapping[str, object], own: list[str], path: str | Path) -> dict[str, object]:
    """A Swin's or ViT's tensors by torchvision's names `own`, from a file's by those of any layout."""
    layout = max(layouts_of(own), key=lambda layout: len(layout.keys.keys() & part.keys()))
    _refuse_no_class_token(layout, part, path)
    _refuse_missing(layout.keys, part, path)
    return {
        ours: fit(part[key], ours, part[key], layout) if isinstance(part[key], Tensor) else part[key]
        for key, ours in layout.keys.items()
    }


def _refuse_missing(names: Iterable[str], part: Mapping[str, object], path: str | Path) -> None:
    """Raises a ValueError where a part of a file lacks tensors of these names."""
    missing = [key for key in names if key not in part]
    if missing:
        raise ValueError(
            f"found a backbone without {', '.join(missing[:LISTED_KEYS])}{', ...' * (len(missing) > LISTED_KEYS)} in "
            f"{path}, expected all of its layers; give another file"
        )


def _refuse_no_class_token(layout: Layout, part: Mapping[str, object], path: str | Path) -> None:
    """Raises a ValueError for a ViT that has no class token."""
    theirs = next((key for key, ours in layout.keys.items() if ours == CLASS_TOKEN), None)
    if theirs not in (None, *part) and set(transformer_names(part)) == set(layout.keys.values()):
        raise ValueError(
            f"found a ViT without class token ({theirs}) in {path}, expected one with it, as the ViT of both stages "
            "has; give another file"
        )


def built_depth(weights: Iterable[str], path: str | Path) -> int:
    """Depth of the ResNet with these parameter names, one that both stages have.

    Raises:
        ValueError: another network.
    """
    depth = resnet_depth(weights)
    if depth not in BUILT_DEPTHS:
        found = "a network that is no ResNet of torchvision's" if depth is None else f"a ResNet-{depth}"
        raise ValueError(f"found {found} in {path}, expected a ResNet-18, 50 or 101; give another file")
    return depth


def _no_backbone(state: Mapping[str, object], expected: Iterable[str], path: str | Path) -> ValueError:
    found = ", ".join(list(state)[:LISTED_KEYS]) or "nothing"
    names = " or ".join(prefix + key for key in dict.fromkeys(expected) for prefix in sorted(PREFIXES))
    return ValueError(
        f"found no backbone of this kind in {path} (it holds {found}), expected {names}; give a Stage 1 checkpoint or "
        "the file of a backbone of this kind"
    )


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, object]) -> str:
    """What differs between two state dicts, in words; empty where nothing does."""
    missing = [key for key in expected if key not in found]
    unknown = [str(key) for key in found if key not in expected]
    reshaped = [
        f"{key} {_shape(found[key])} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and _shape(found[key]) != tuple(tensor.shape)
    ]
    kinds = (("missing", missing), ("not in the model", unknown), ("of another shape", reshaped))
    return "; ".join(
        f"{len(keys)} {what}: {', '.join(keys[:LISTED_KEYS])}{', ...' if len(keys) > LISTED_KEYS else ''}"
        for what, keys in kinds
        if keys
    )


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def summarise(keys: Iterable[str]) -> str:
    """Parameter names in one line: those of a part with more than two parameters as ``part.* (how many)``."""
    parts: dict[str, list[str]] = {}
    for key in keys:
        parts.setdefault(key.split(".")[0], []).append(key)
    return ", ".join(
        ", ".join(names) if len(names) <= 2 else f"{part}.* ({len(names)})" for part, names in parts.items()
    )
