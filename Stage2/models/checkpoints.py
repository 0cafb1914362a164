"""Snapshots of the segmenter and training states: safe reading, atomic writing, strict loading."""

import logging
import os
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import torch
from torch import Tensor

from Stage2.models.encoders import ENCODER_NAMES, Encoder
from Stage2.models.few_shot import FewShotSegmenter

LISTED_KEYS = 5  # an error names this many keys of each kind

logger = logging.getLogger(__name__)


def save_atomically(content: object, path: Path) -> None:
    """torch.save under a temporary name, then rename: `path` holds the whole content or is untouched.

    Raises:
        OSError: it cannot be written (disk full, no permission), in one sentence.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the content does
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer may turn a failed write into a RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__
        number = cause.errno if isinstance(cause, OSError) else None
        reason = str(error).splitlines()[0] if number is None else os.strerror(number)
        raise OSError(
            f"{path} could not be written ({reason}); what was saved before is whole: make room, then go on with "
            "resume=True."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> Mapping:
    """Content of a .pth file with tensors and plain values only; code in a pickle is never run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or one that needs code to be run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a file of weights (.pth).")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} cannot be read as a file of plain tensors ({reason}); write it again, or, from a Stage 1 "
            "checkpoint, take the backbone with tools/extract_backbone_weights.py."
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a state dict.")
    return content


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
