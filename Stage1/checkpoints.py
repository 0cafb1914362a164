"""Checkpoint files of Stage 1: safe reading, atomic writing, and the backbone inside every published format."""

import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

# Where a backbone may sit in a state dict, tried in this order. The last entry is the bare file of torchvision,
# of published DenseCL backbones and of tools/extract_backbone_weights.py.
BACKBONE_PREFIXES = ("encoder_q.0.", "backbone.", "")
FIRST_LAYER = "conv1.weight"
RESNET_PARTS = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
LAYERS_NAMED = 4


def allow_mmengine_checkpoints() -> None:
    """Registers what MMEngine stores beside weights, so that ``torch.load`` stays restricted to known classes."""
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "uint32", "bool")]
    statistics = [HistoryBuffer.min, HistoryBuffer.max, HistoryBuffer.current, HistoryBuffer.mean]
    torch.serialization.add_safe_globals(
        [HistoryBuffer, reconstruct, scalar, np.ndarray, np.dtype, getattr, *dtypes, *statistics]
    )


def read_checkpoint(path: str | Path) -> dict:
    """Content of a checkpoint file, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not a checkpoint, or it holds classes that weights do not need.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"found no file {path}, expected a checkpoint; give the path of an existing .pth file")
    allow_mmengine_checkpoints()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise ValueError(
            f"found a file that is not a readable checkpoint ({reason}): {path}; expected a .pth file written by "
            "torch.save with weights only"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__} in {path}, expected a dictionary of weights")
    return content


def backbone_weights(checkpoint: dict, path: str | Path) -> dict[str, Tensor]:
    """The ResNet inside a checkpoint, under torchvision's names and without classifier.

    Args:
        checkpoint: content of a file: our checkpoints, DenseCL / OpenSelfSup checkpoints (``encoder_q.0.*``), backbones
            with the prefix ``backbone.``, DenseCL backbone files and torchvision files (no prefix).
        path: of the file, for the message.

    Raises:
        ValueError: no backbone in it.
    """
    state = checkpoint.get("state_dict", checkpoint)
    if isinstance(state, dict):
        state = {str(key).removeprefix("module."): value for key, value in state.items()}
        for prefix in BACKBONE_PREFIXES:
            if prefix + FIRST_LAYER in state:
                parts = tuple(prefix + part for part in RESNET_PARTS)
                return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(parts)}
    found = ", ".join(list(state)[:LAYERS_NAMED]) if isinstance(state, dict) and state else "nothing"
    raise ValueError(
        f"found no backbone in {path} (it holds {found}), expected conv1.weight, backbone.conv1.weight or "
        "encoder_q.0.conv1.weight; give a Stage 1 checkpoint or a ResNet file"
    )


def load_backbone(backbone: nn.Module, path: str | Path) -> int:
    """Loads a backbone file into a backbone that must match it layer by layer.

    Returns:
        The number of tensors loaded.

    Raises:
        FileNotFoundError, ValueError: as read_checkpoint and backbone_weights; or layers are missing, unknown or of
            another shape, all named by the message (up to four of each).
    """
    weights = backbone_weights(read_checkpoint(path), path)
    own = backbone.state_dict()
    # Files older than BatchNorm's step counter are complete without it.
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    unknown = [key for key in weights if key not in own]
    shapes = [key for key in own if key in weights and weights[key].shape != own[key].shape]
    problems = {"missing": missing, "not in the model": unknown, "of another shape": shapes}
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {name} ({_name(keys)})" for name, keys in problems.items() if keys)
        raise ValueError(
            f"found layers in {path} that do not fit the model: {listed}; expected the same ResNet depth, "
            "give another file or set depth"
        )
    backbone.load_state_dict(weights, strict=False)
    return len(weights)


def check_resumable(state_dict: dict[str, Tensor], checkpoint: dict, path: str | Path) -> None:
    """Raises a ValueError unless a checkpoint continues a run of a model with this state dict."""
    absent = [part for part in ("state_dict", "optimizer", "meta", "message_hub") if part not in checkpoint]
    if absent:
        raise ValueError(
            f"found no {', '.join(absent)} in {path}, expected a checkpoint written by tools/train.py; "
            "use --pretrained to start from weights alone"
        )
    saved = checkpoint["state_dict"]
    differing = [key for key in saved.keys() | state_dict.keys() if _shape(saved, key) != _shape(state_dict, key)]
    if differing:
        raise ValueError(
            f"found {len(differing)} tensors in {path} that do not fit the model ({_name(sorted(differing))}), "
            "expected a checkpoint of the same model; resume with the configuration that wrote it"
        )


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
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _shape(state_dict: dict[str, Tensor], key: str) -> tuple | None:
    return tuple(state_dict[key].shape) if key in state_dict else None


def _name(keys: list[str]) -> str:
    return ", ".join(keys[:LAYERS_NAMED]) + (", ..." if len(keys) > LAYERS_NAMED else "")
