"""Reading and writing weights: Stage 1 backbones, snapshots of the segmenter, COCO starting weights."""

import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

LISTED_KEYS = 5  # an error names this many keys of each kind
# Backbone keys in checkpoints: bare (ours, DenseCL's), or behind the prefix of the model they were trained in.
BACKBONE_PREFIXES = ("backbone.", "module.backbone.", "encoder_q.0.", "encoder.backbone.", "module.")
CLASSIFIER_KEYS = ("fc.weight", "fc.bias")  # an ImageNet classifier: no part of a backbone

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


def load_snapshot(model: nn.Module, path: Path) -> None:
    """Load the weights of a whole segmenter, strictly.

    Raises:
        FileNotFoundError, ValueError: the file is missing, unreadable, or its keys or shapes differ.
    """
    content = read_checkpoint(path)
    mismatch = describe_mismatch(model.state_dict(), content)
    if mismatch:
        raise ValueError(
            f"{path} is not a snapshot of this network ({mismatch}); choose the modelname it was made with."
        )
    model.load_state_dict(content)
    logger.info("loaded %s: all %d tensors", path, len(content))


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load backbone weights, such as `tools/extract_backbone_weights.py` writes; every tensor must match.

    A classifier (`fc`) in the file is left out, and so are the other parts of a checkpoint that names its backbone.

    Raises:
        FileNotFoundError, ValueError: the file is missing, unreadable, or does not match the backbone wholly.
    """
    content = read_checkpoint(path)
    weights = _backbone_part(content.get("state_dict", content), backbone.state_dict())
    mismatch = describe_mismatch(backbone.state_dict(), weights)
    if mismatch:
        raise ValueError(f"{path} does not match the backbone ({mismatch}); choose the modelname it was made with.")
    backbone.load_state_dict(weights)
    logger.info("loaded the backbone from %s: all %d tensors", path, len(weights))


def _backbone_part(content: Mapping, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys without the prefix under which most expected keys are found; only those where there is a prefix."""
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor) and key not in CLASSIFIER_KEYS}
    best = max(BACKBONE_PREFIXES, key=lambda prefix: sum(f"{prefix}{key}" in tensors for key in expected))
    if not any(f"{best}{key}" in tensors for key in expected):
        return tensors
    return {
        key.removeprefix(best): value
        for key, value in tensors.items()
        if key.startswith(best) and key.removeprefix(best) not in CLASSIFIER_KEYS
    }


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What differs between two state dicts, in words; empty where nothing does."""
    missing = [key for key in expected if key not in found]
    unknown = [key for key in found if key not in expected]
    reshaped = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    parts = [
        f"{len(keys)} {what}: {', '.join(keys[:LISTED_KEYS])}{', ...' if len(keys) > LISTED_KEYS else ''}"
        for what, keys in (("missing", missing), ("not known", unknown), ("of another shape", reshaped))
        if keys
    ]
    return "; ".join(parts)


def load_coco_backbone(backbone: nn.Module, folder: Path) -> None:
    """Load torchvision's DeepLabV3 ResNet-101 trained on COCO, from `folder` or, failing that, the network.

    Args:
        backbone: a ResNet-101.
        folder: holds, or receives, `deeplabv3_resnet101_coco-*.pth`.
    """
    from torchvision.models.segmentation import DeepLabV3_ResNet101_Weights

    weights = DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1
    name = weights.url.rsplit("/", 1)[1]
    if not (folder / name).is_file():
        try:
            torch.hub.load_state_dict_from_url(weights.url, model_dir=str(folder), progress=True, weights_only=True)
        except OSError as error:
            raise FileNotFoundError(
                f"{folder / name} is missing and could not be downloaded ({error}); put torchvision's file there."
            ) from error
    load_backbone(backbone, folder / name)
