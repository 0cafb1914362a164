"""Snapshots of the segmenter: strict loading, and which encoder they are of."""

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from Stage1.weights.checkpoints import read_checkpoint
from Stage2.models.encoders import ENCODER_NAMES, Encoder
from Stage2.models.few_shot import FewShotSegmenter

LISTED_KEYS = 5  # an error names this many keys of each kind

logger = logging.getLogger(__name__)


def load_snapshot(model: FewShotSegmenter, path: Path) -> None:
    """Load the weights of a whole segmenter, strictly.

    Raises:
        FileNotFoundError, ValueError: the file is missing, unreadable, of another encoder, or its keys or shapes
            differ.
    """
    content = read_checkpoint(path)
    mismatch = describe_mismatch(model.state_dict(), content)
    if mismatch:
        own, other = model.encoder.name, encoder_of_snapshot(content)
        if other is not None:
            raise ValueError(f"{path} is a snapshot of {other} and this network is {own}; set modelname={other}.")
        raise ValueError(
            f"{path} is not a snapshot of this network, {own} ({mismatch}); choose the modelname it was made with."
        )
    model.load_state_dict(content)
    logger.info("loaded %s: all %d tensors", path, len(content))


def encoder_of_snapshot(content: Mapping) -> str | None:
    """The encoder whose snapshot this is, by all keys and shapes; None where it is no encoder's."""
    for name in ENCODER_NAMES:
        if not describe_mismatch(_snapshot_shapes(name), content):
            return name
    return None


@cache
def _snapshot_shapes(name: str) -> Mapping[str, Tensor]:
    """State dict of a segmenter with this encoder, of tensors that have a shape and no content."""
    with torch.device("meta"):
        encoder = Encoder(name)
    return {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What differs between two state dicts, in words; empty where nothing does."""
    missing = [key for key in expected if key not in found]
    unknown = [str(key) for key in found if key not in expected]
    reshaped = [
        f"{key} {_shape(found[key])} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and _shape(found[key]) != tuple(tensor.shape)
    ]
    parts = [
        f"{len(keys)} {what}: {', '.join(keys[:LISTED_KEYS])}{', ...' if len(keys) > LISTED_KEYS else ''}"
        for what, keys in (("missing", missing), ("not known", unknown), ("of another shape", reshaped))
        if keys
    ]
    return "; ".join(parts)


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
