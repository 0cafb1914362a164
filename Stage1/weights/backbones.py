"""The backbone inside every published format of checkpoints."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from Stage1.weights.checkpoints import read_checkpoint

# Where a backbone may sit in a state dict, tried in this order, and who writes such files.
FORMATS = {
    "encoder_q.0.": "a DenseCL or OpenSelfSup checkpoint",
    "backbone.": "an MMSelfSup or MMPretrain file",
    "": "a backbone file",  # published by DenseCL, or of tools/extract_backbone_weights.py
}
CLASSIFIER = "fc."
FIRST_LAYER = "conv1.weight"
RESNET_PARTS = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
COUNTER = "num_batches_tracked"
BLOCKS = re.compile(r"(layer[1-4])\.(\d+)\.")
# Blocks per stage, and whether a block has a third convolution.
DEPTHS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
LAYERS_NAMED = 4


@dataclass(frozen=True)
class LoadedBackbone:
    """What was taken from a file of weights: its format, how many tensors, and what stayed behind or was not there."""

    source: str
    tensors: int
    left_out: tuple[str, ...]
    absent_counters: int

    def __str__(self) -> str:
        text = f"{self.tensors} tensors from {self.source}; left out: {summarise(self.left_out) or 'nothing'}"
        counters = f"; {self.absent_counters} {COUNTER} counters are not in the file and stay 0"
        return text + (counters if self.absent_counters else "")


def backbone_weights(checkpoint: dict, path: str | Path) -> dict[str, Tensor]:
    """The ResNet inside a checkpoint, under torchvision's names and without classifier.

    Args:
        checkpoint: content of a file: our checkpoints, DenseCL / OpenSelfSup checkpoints (``encoder_q.0.*``), backbones
            with the prefix ``backbone.``, DenseCL backbone files and torchvision or timm files (no prefix).
        path: of the file, for the message.

    Raises:
        ValueError: no backbone in it.
    """
    state, prefix = _state_and_prefix(checkpoint, path)
    parts = tuple(prefix + part for part in RESNET_PARTS)
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(parts)}


def _state_and_prefix(checkpoint: dict, path: str | Path) -> tuple[dict[str, Tensor], str]:
    state = checkpoint.get("state_dict", checkpoint)
    if isinstance(state, dict):
        state = {str(key).removeprefix("module."): value for key, value in state.items()}
        for prefix in FORMATS:
            if prefix + FIRST_LAYER in state:
                return state, prefix
    found = ", ".join(list(state)[:LAYERS_NAMED]) if isinstance(state, dict) and state else "nothing"
    raise ValueError(
        f"found no backbone in {path} (it holds {found}), expected conv1.weight, backbone.conv1.weight or "
        "encoder_q.0.conv1.weight; give a Stage 1 checkpoint or a ResNet file"
    )


def load_backbone(backbone: nn.Module, path: str | Path) -> LoadedBackbone:
    """Loads a backbone file into a backbone that must match it layer by layer.

    Raises:
        FileNotFoundError, ValueError: as read_checkpoint and backbone_weights; or layers are missing, unknown or of
            another shape, all named by the message (up to four of each).
    """
    checkpoint = read_checkpoint(path)
    weights, own = backbone_weights(checkpoint, path), backbone.state_dict()
    # Files older than BatchNorm's step counter are complete without it.
    absent_counters = [key for key in own if key not in weights and key.endswith(COUNTER)]
    missing = [key for key in own if key not in weights and not key.endswith(COUNTER)]
    unknown = [key for key in weights if key not in own]
    shapes = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    problems = {"missing": missing, "not in the model": unknown, "of another shape": shapes}
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {name} ({name_some(keys)})" for name, keys in problems.items() if keys)
        raise ValueError(f"found layers in {path} that do not fit the model: {listed}; {_depth_advice(weights, own)}")
    backbone.load_state_dict(weights, strict=False)

    state, prefix = _state_and_prefix(checkpoint, path)
    source = FORMATS[prefix]
    if "message_hub" in checkpoint:
        source = "a checkpoint of tools/train.py"
    elif prefix == "" and any(key.startswith(CLASSIFIER) for key in state):
        source = "a torchvision or timm ResNet file"
    taken = {prefix + key for key in weights}
    aliases = {"backbone." + key for key in weights}  # DenseCL's second name of the query encoder's backbone
    left_out = tuple(sorted(state.keys() - taken - aliases))
    return LoadedBackbone(source, len(weights), left_out, len(absent_counters))


def resnet_depth(state: Iterable[str]) -> int | None:
    """Depth of the ResNet with these parameter names, by its blocks per stage; None if it is no ResNet we know."""
    keys = list(state)
    blocks = {stage: set() for stage in ("layer1", "layer2", "layer3", "layer4")}
    for match in filter(None, map(BLOCKS.match, keys)):
        blocks[match[1]].add(match[2])
    return DEPTHS.get((tuple(map(len, blocks.values())), "layer1.0.conv3.weight" in keys))


def _depth_advice(weights: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    found, expected = resnet_depth(weights), resnet_depth(own)
    if found in (None, expected):
        return f"expected a plain ResNet-{expected}; give another file or set depth"
    remedy = f"give a ResNet-{expected} file"
    if found in (18, 50, 101):
        remedy += f" or set depth={found}"
    return f"it looks like a ResNet-{found} and the model is a ResNet-{expected}; {remedy}"


def summarise(keys: Iterable[str]) -> str:
    """Parameter names in one line: those of a part with more than two parameters as ``part.* (how many)``."""
    parts: dict[str, list[str]] = {}
    for key in keys:
        parts.setdefault(key.split(".")[0], []).append(key)
    return ", ".join(
        ", ".join(names) if len(names) <= 2 else f"{part}.* ({len(names)})" for part, names in parts.items()
    )


def name_some(keys: list[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(keys[:LAYERS_NAMED]) + (", ..." if len(keys) > LAYERS_NAMED else "")
