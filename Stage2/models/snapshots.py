"""Snapshots of the segmenter: what they are of, and strict loading."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from Stage1.weights.backbones import describe_mismatch, load_backbone
from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint
from Stage2.models.encoders import Encoder
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.registry import ENCODERS, HEADS, build

RELEASED_HEAD = "grid_proto"  # of snapshots that do not say
ENCODER_PREFIX = "encoder."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SnapshotKind:
    """What a snapshot is of: names in `ENCODERS` and `HEADS`; no encoder where it is no snapshot of one we know."""

    encoder: str | None
    head: str


def save_snapshot(model: FewShotSegmenter, path: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights of a segmenter under the published keys, and in an attribute what they are of.

    Args:
        model: the segmenter.
        path: of the file.
        weights: under the model's keys, in place of its own; a moving average.

    Raises:
        OSError: it cannot be written.
    """
    state = model.state_dict() if weights is None else OrderedDict(weights)
    state.densemp = asdict(SnapshotKind(model.encoder.name, model.head_name))  # torch.save keeps attributes of it
    write_checkpoint(state, path)


def describe_snapshot(content: Mapping, run_config: Mapping | None = None) -> SnapshotKind:
    """What a snapshot is of: as it says; else by all its keys and shapes, and by the settings of its run.

    What is no encoder's must be all parameters of one head. Heads without parameters look the same, so that the run
    tells them apart.

    Args:
        content: of the file.
        run_config: settings of the run that made it, where they are known.
    """
    said = _said(content)
    if said is not None:
        return said
    named = (run_config or {}).get("clsname", RELEASED_HEAD)
    of_encoder = {key: value for key, value in content.items() if str(key).startswith(ENCODER_PREFIX)}
    others = {key: value for key, value in content.items() if key not in of_encoder}
    fitting = [name for name, entry in HEADS.items() if not describe_mismatch(_head_shapes(name, entry), others)]
    head = named if named in fitting or not fitting else fitting[0]
    whole = of_encoder if fitting else content
    found = (name for name, entry in ENCODERS.items() if not describe_mismatch(_encoder_shapes(name, entry), whole))
    return SnapshotKind(next(found, None), head)


def _said(content: Mapping) -> SnapshotKind | None:
    """What a snapshot says it is of; None where it says nothing, as released ones do."""
    said = getattr(content, "densemp", None)
    names = [said.get(part) for part in ("encoder", "head")] if isinstance(said, dict) else [None]
    return SnapshotKind(*names) if all(isinstance(name, str) for name in names) else None


@cache
def _encoder_shapes(name: str, entry: str | Callable) -> Mapping[str, Tensor]:
    """State dict of a segmenter with this encoder, of tensors that have a shape and no content."""
    with torch.device("meta"):
        encoder = Encoder(name)
    return {f"{ENCODER_PREFIX}{key}": tensor for key, tensor in encoder.state_dict().items()}


@cache
def _head_shapes(name: str, entry: str | Callable) -> Mapping[str, Tensor]:
    """Parameters of a head under their names in a snapshot, of tensors that have a shape and no content."""
    with torch.device("meta"):
        head = build(HEADS, name, "clsname")
    return {f"{head.key_prefix}{key}": tensor for key, tensor in head.state_dict().items()}


def load_snapshot(
    model: FewShotSegmenter, path: Path, *, content: Mapping | None = None, or_backbone: bool = False
) -> None:
    """Load the weights of a whole segmenter, strictly.

    Args:
        model: the segmenter.
        path: of the file.
        content: of the file, where it was read before.
        or_backbone: the file may hold a backbone alone, as other pre-training writes it; the rest stays random then.

    Raises:
        FileNotFoundError, ValueError: the file is missing, unreadable, of another encoder or head, or its keys or
            shapes differ.
    """
    content = read_checkpoint(path) if content is None else content
    mismatch, kind = describe_mismatch(model.state_dict(), content), _said(content)
    if mismatch and kind is None:
        if or_backbone and "encoder.localconv.weight" not in content:
            load_starting_backbone(model, path, content)
            return
        kind = describe_snapshot(content)
    encoder, head = model.encoder.name, model.head_name
    if kind is not None and kind.encoder not in (None, encoder):
        raise ValueError(
            f"{path} is a snapshot of {kind.encoder} and this network is {encoder}; set modelname={kind.encoder}."
        )
    if mismatch and kind.encoder is not None and kind.head != head:
        wanted = ", ".join(key for key in model.state_dict() if not key.startswith(ENCODER_PREFIX))
        lacking = f" with parameters of its own ({wanted})" if wanted else ""
        raise ValueError(
            f"{path} is a snapshot of {kind.head} and this network is {head}{lacking}; set clsname={kind.head}."
        )
    if mismatch:
        raise ValueError(
            f"{path} is not a snapshot of this network, {encoder} ({mismatch}); choose the modelname it was made with."
        )
    if kind is not None and kind.head != head:
        logger.warning("%s was trained with clsname=%s and is used with clsname=%s", path, kind.head, head)
    model.load_state_dict(content)
    logger.info("loaded %s: all %d tensors", path, len(content))


def load_starting_backbone(model: FewShotSegmenter, path: Path, content: Mapping | None = None) -> None:
    """Fill the encoder's backbone from any file that holds one, and say in the log what stays random.

    Raises:
        FileNotFoundError, ValueError: as `Stage1.weights.backbones.load_backbone`.
    """
    setting = "modelname=dlfcn_res{depth}"
    loaded = load_backbone(model.encoder.backbone, path, content=content, setting=setting)
    logger.info("loaded the backbone from %s: %s", path, loaded)
    trained = {id(parameter) for parameter in model.trained_parameters()}
    filled = {id(parameter) for parameter in model.encoder.backbone.parameters()}
    random = [name for name, parameter in model.named_parameters() if id(parameter) in trained - filled]
    logger.info("random, as drawn from the seed: %s", ", ".join(name.removeprefix("encoder.") for name in random))
