"""A segmenter with its starting weights, on its device."""

import logging
from pathlib import Path

import torch

from Stage2.models.checkpoints import load_snapshot
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.starting_weights import load_backbone, load_coco_backbone

logger = logging.getLogger(__name__)


def build_segmenter(
    encoder_name: str,
    prototype_kind: str,
    precision: str,
    device: torch.device,
    seed: int,
    *,
    snapshot: Path | None = None,
    backbone: Path | None = None,
    coco_folder: Path | None = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> FewShotSegmenter:
    """Build a segmenter and load at most one kind of starting weights.

    Args:
        encoder_name: see `FewShotSegmenter`.
        prototype_kind: see `FewShotSegmenter`.
        precision: see `FewShotSegmenter`.
        device: where it runs.
        seed: of the random initial weights.
        snapshot: all weights; the two below are not read then.
        backbone: file of starting weights of the backbone, see `load_backbone`.
        coco_folder: holds, or receives, torchvision's COCO weights of the backbone.
        channels_last: keep the weights in channels-last layout: faster, and results differ by rounding.
        compiled: have torch.compile build the encoder; its first calls take minutes.
    """
    torch.manual_seed(seed)
    model = FewShotSegmenter(encoder_name, prototype_kind, precision)
    if snapshot is not None:
        load_snapshot(model, snapshot)
    elif backbone is not None:
        load_backbone(model.encoder.backbone, backbone)
    elif coco_folder is not None:
        load_coco_backbone(model.encoder.backbone, coco_folder)
    else:
        logger.info("random initial weights (seed %d)", seed)
    model.to(device, memory_format=torch.channels_last if channels_last else torch.preserve_format)
    if compiled:
        model.encoder.compile()  # in place: names of weights stay as they are
    return model
