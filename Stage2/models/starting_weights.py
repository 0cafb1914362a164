"""Starting weights of a backbone: Stage 1's, ImageNet's, other self-supervised pre-training's, COCO's."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from Stage1.weights.backbones import summarise
from Stage1.weights.checkpoints import read_checkpoint
from Stage2.models.checkpoints import LISTED_KEYS, describe_mismatch
from Stage2.models.layouts import DERIVED, Layout, fit, layouts_of

# Where a backbone may lie in a file: bare (ours, DenseCL's), or behind the name it has in the model it was trained in.
PREFIXES = ("", "backbone.", "encoder_q.0.", "encoder.backbone.")
COUNTER = "num_batches_tracked"  # of batch norm; files older than it are complete without it

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedBackbone:
    """What was taken from a file of weights.

    Attributes:
        layout: whose names the file has.
        tensors: how many were taken.
        resized: how many of them belonged to another window or image size.
        absent_counters: how many step counters of batch norm the file lacks.
        left_out: names in the file of everything else.
    """

    layout: str
    tensors: int
    resized: int
    absent_counters: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"all {self.tensors} tensors, under {self.layout}'s names"]
        if self.resized:
            parts.append(f"{self.resized} of them resized to this network's window or image size")
        if self.absent_counters:
            parts.append(f"{self.absent_counters} {COUNTER} counters are not in the file and stay 0")
        return "; ".join([*parts, f"left out: {summarise(self.left_out) or 'nothing'}"])


def load_backbone(backbone: nn.Module, path: Path) -> LoadedBackbone:
    """Load a file of weights into a backbone; every tensor must match.

    Read are the files of `tools/extract_backbone_weights.py`, whole Stage 1 checkpoints, DenseCL, OpenSelfSup,
    MMSelfSup, MMPretrain and torchvision files and our snapshots, as .pth or .safetensors. Position embeddings and
    tables of relative position biases for other image and window sizes are resized.

    Raises:
        FileNotFoundError, ValueError: the file is missing, unreadable, or does not match the backbone wholly.
    """
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__} as state_dict; expected the weights by name.")
    tensors = {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}
    layout, prefix = find_layout(tensors, layouts_of(backbone), path)
    part = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    part = {key: value for key, value in part.items() if not key.startswith(layout.no_part)}
    derived = {key for key in part if key.endswith(DERIVED)}

    own = backbone.state_dict()
    counters = [key for key, ours in layout.keys.items() if ours.endswith(COUNTER) and key not in part]
    expected = {key: own[ours] for key, ours in layout.keys.items() if key not in counters}
    weights = {
        key: fit(value, layout.keys[key], own[layout.keys[key]], layout) if key in layout.keys else value
        for key, value in part.items()
        if key not in derived
    }
    mismatch = describe_mismatch(expected, weights)
    if mismatch:
        raise ValueError(f"{path} does not match the backbone ({mismatch}); choose the modelname it was made with.")
    backbone.load_state_dict(own | {layout.keys[key]: value for key, value in weights.items()})

    loaded = LoadedBackbone(
        layout=layout.name,
        tensors=len(weights),
        resized=sum(weights[key].shape != part[key].shape for key in weights),
        absent_counters=len(counters),
        left_out=tuple(sorted(tensors.keys() - {prefix + key for key in (weights.keys() | derived)})),
    )
    logger.info("loaded the backbone from %s: %s", path, loaded)
    return loaded


def find_layout(tensors: Mapping[str, Tensor], layouts: Iterable[Layout], path: Path) -> tuple[Layout, str]:
    """The layout and the prefix under which most tensors of the backbone are found.

    Args:
        tensors: of the file.
        layouts: the possible ones.
        path: of the file, for the message.

    Raises:
        ValueError: none is found.
    """
    candidates = [(layout, prefix) for layout in layouts for prefix in PREFIXES]
    counts = [sum(prefix + key in tensors for key in layout.keys) for layout, prefix in candidates]
    if not any(counts):
        found = ", ".join(list(tensors)[:LISTED_KEYS]) or "no tensor"
        expected = " or ".join(f"{', '.join(list(layout.keys)[:2])}, ..." for layout in layouts)
        raise ValueError(
            f"{path} has no layer of the backbone: found {found}, expected {expected} (or the same after "
            f"{', '.join(filter(None, PREFIXES))}); choose the modelname it was made with."
        )
    return candidates[counts.index(max(counts))]


def load_coco_backbone(backbone: nn.Module, folder: Path) -> LoadedBackbone:
    """Load torchvision's DeepLabV3 ResNet-101 trained on COCO, from `folder` or, failing that, the network.

    Args:
        backbone: a ResNet-101.
        folder: holds, or receives, `deeplabv3_resnet101_coco-*.pth`.

    Raises:
        FileNotFoundError: the file is not there and cannot be downloaded.
        ValueError: the file is damaged or does not match the backbone.
    """
    from torchvision.models.segmentation import DeepLabV3_ResNet101_Weights

    url = DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1.url
    file = folder / url.rsplit("/", 1)[1]
    if not file.is_file():
        logger.info("downloading %s to %s", url, file)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # torchvision's names end in the beginning of the file's hash; the file appears once it is whole and right.
            torch.hub.download_url_to_file(url, str(file), hash_prefix=file.stem.rsplit("-", 1)[1])
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{file} is missing and could not be downloaded ({error}); download {url} elsewhere and put it there."
            ) from error
    return load_backbone(backbone, file)
