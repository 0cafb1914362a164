"""A segmenter with its starting weights, on its device."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from Stage1.weights.backbones import COUNTER, describe_mismatch
from Stage1.weights.checkpoints import read_checkpoint
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.registry import ENCODERS
from Stage2.models.snapshots import describe_snapshot, load_snapshot, load_starting_backbone

COCO_PARTS = {"classifier.0.": "aspp_out.0.", "classifier.1.": "aspp_out.1."}  # of DeepLabV3 beside the backbone

logger = logging.getLogger(__name__)


def build_segmenter(
    encoder_name: str, head_name: str, precision: str, device: torch.device, seed: int, *,
    snapshot: Path | None = None, or_backbone: bool = False, backbone: Path | None = None,
    coco_folder: Path | None = None, channels_last: bool = False, compiled: bool = False,
) -> FewShotSegmenter:  # fmt: skip
    """Build a segmenter with its starting weights.

    Args:
        encoder_name, head_name, precision: see `FewShotSegmenter`.
        device: where it runs.
        seed: of the random initial weights.
        snapshot: all weights; the two below are not read then.
        or_backbone: `snapshot` may hold a backbone alone, and the rest stays random then.
        backbone: file of starting weights of the backbone, see `Stage1.weights.backbones.load_backbone`.
        coco_folder: holds, or receives, torchvision's COCO weights, see `load_coco`; with `backbone`, that is then
            overwritten by its file, as published.
        channels_last: keep the weights in channels-last layout: faster, and results differ by rounding.
        compiled: have torch.compile build the encoder; its first calls take minutes.
    """
    torch.manual_seed(seed)
    model = FewShotSegmenter(encoder_name, head_name, precision)
    if snapshot is not None:
        load_snapshot(model, snapshot, or_backbone=or_backbone)
    else:
        if coco_folder is not None:
            load_coco(model, coco_folder)
        if backbone is not None:
            load_starting_backbone(model, backbone)
        if coco_folder is None and backbone is None:
            logger.info("random initial weights (seed %d)", seed)
    model.to(device, memory_format=torch.channels_last if channels_last else torch.preserve_format)
    if compiled:
        model.encoder.compile()  # in place: names of weights stay as they are
    return model


def segmenter_of_snapshot(
    path: Path, *, encoder_name: str | None = None, head_name: str | None = None, run_config: Mapping | None = None,
    precision: str = "fp32", device: torch.device | str = "cpu", channels_last: bool = False,
) -> FewShotSegmenter:  # fmt: skip
    """The segmenter of a snapshot in evaluation mode; the file tells its encoder and head.

    Args:
        path: of the snapshot.
        encoder_name: expected; None: whichever it is.
        head_name: to use; None: the snapshot's.
        run_config: settings of the run that made it, where they are known.
        precision, device, channels_last: as in `build_segmenter`.

    Raises:
        FileNotFoundError, ValueError: it is no snapshot, or of another encoder than expected.
    """
    content = read_checkpoint(path)
    kind = describe_snapshot(content, run_config)
    if encoder_name is None and kind.encoder is None:
        raise ValueError(
            f"{path} is not a snapshot of Stage 2 with a known encoder ({', '.join(ENCODERS)}); give "
            "snapshots/<step>.pth of a training run."
        )
    model = FewShotSegmenter(encoder_name or kind.encoder, head_name or kind.head, precision)
    load_snapshot(model, path, content=content)
    return model.to(device, memory_format=torch.channels_last if channels_last else torch.preserve_format).eval()


def load_coco(model: FewShotSegmenter, folder: Path) -> None:
    """Fill the encoder from torchvision's DeepLabV3 ResNet-101 trained on COCO, from `folder` or else the network.

    Args:
        model: whose encoder is a dilated ResNet-101.
        folder: holds, or receives, `deeplabv3_resnet101_coco-*.pth`.

    Raises:
        FileNotFoundError: the file is not there and cannot be downloaded.
        ValueError: the file is damaged or does not match the encoder.
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
    content = read_checkpoint(file)
    load_starting_backbone(model, file, content)
    found = {
        our + key.removeprefix(their): value
        for their, our in COCO_PARTS.items()
        for key, value in content.items()
        if key.startswith(their)
    }
    own = {key: value for key, value in model.encoder.state_dict().items() if key.startswith("aspp_out.")}
    mismatch = describe_mismatch({key: own[key] for key in own if key in found or not key.endswith(COUNTER)}, found)
    if mismatch:
        raise ValueError(f"{file} is not torchvision's DeepLabV3 ({mismatch}); delete it, and it is downloaded again.")
    model.encoder.load_state_dict(found, strict=False)
