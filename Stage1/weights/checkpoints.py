"""Checkpoint files of Stage 1: safe reading, atomic writing, and the backbone inside every published format."""

import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from Stage1.models.backbone import STAGES

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
NOT_ALLOWED = re.compile(r"GLOBAL (\S+)")


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


def allow_mmengine_checkpoints() -> None:
    """Registers what MMEngine stores beside weights, so that ``torch.load`` stays restricted to known classes."""
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "uint32", "bool")]
    # A pickled method of HistoryBuffer calls getattr, which is more than a file should be able to call.
    statistic = (_history_statistic, "builtins.getattr")
    torch.serialization.add_safe_globals([HistoryBuffer, reconstruct, scalar, np.ndarray, np.dtype, statistic, *dtypes])


def _history_statistic(owner: type, name: str) -> Callable:
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"GLOBAL builtins.getattr of {name}")
    return getattr(owner, name)


def read_checkpoint(path: str | Path) -> dict:
    """Content of a checkpoint file (.pth, or weights alone in .safetensors), on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not a checkpoint or damaged, or reading it would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"found no file {path}, expected a checkpoint; give the path of an existing .pth file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
    allow_mmengine_checkpoints()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        code = code_in(path, str(error))
        if code:
            raise ValueError(
                f"found code in {path} ({code}): loading it would run it; expected weights only; ask its author for a "
                ".safetensors or weights-only file"
            ) from error
        reason = "not written by torch.save" if isinstance(error, pickle.UnpicklingError) else str(error)
        raise _unreadable(path, reason or "it ends too early") from error
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__} in {path}, expected a dictionary of weights")
    return content


def code_in(path: Path, message: str) -> str | None:
    """The class or function that a refused file wanted to call, by torch's message; None if the file is damaged."""
    named = NOT_ALLOWED.search(message)
    if named:
        return named[1]
    if "TorchScript" in message:
        return "a TorchScript program"
    # torch's restricted reader stops at the first byte of newer pickles, before it comes to any name.
    strings, found = [], None
    try:
        with path.open("rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "GLOBAL":
                    found = found or argument.replace(" ", ".")
                elif operation.name == "STACK_GLOBAL":
                    found = found or ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # genops raises whatever bytes that are no pickle make it raise
        return None
    return found


def _unreadable(path: Path, reason: str) -> ValueError:
    reason = reason.strip().split("\n")[0].split(". ")[0][:120]
    return ValueError(
        f"found a file that is not a readable checkpoint ({reason}): {path}; it is cut off, damaged or no file of "
        "weights; copy or download it again"
    )


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
    if found in STAGES:
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


def save_atomically(content: dict, path: str | Path) -> None:
    """``torch.save`` that leaves either the whole file or what was there before."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as file:
        torch.save(content, file)


@register_backend("atomic_local")
class AtomicLocalBackend(LocalBackend):
    """MMEngine's storage on the local disk, except that a file appears only once it is complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes to a file, creating its folder."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as file:
            file.write(obj)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file that takes the place of ``path`` when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a machine that stops may keep the new name without the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
