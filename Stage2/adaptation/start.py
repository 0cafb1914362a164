"""What an adaptation starts from: random weights, an encoder of pre-training or Stage 2, or a whole network."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from Stage1.weights.backbones import backbone_weights, built_depth, load_backbone
from Stage1.weights.checkpoints import read_checkpoint
from Stage2.adaptation.learner import IGNORED
from Stage2.adaptation.network import FINEST, WIDTHS, AdaptedNetwork, Head
from Stage2.adaptation.network_file import describe_file, read_network
from Stage2.adaptation.settings import DEFAULT_ENCODER, RANDOM_START
from Stage2.adaptation.working_grid import AnnotatedSlices, with_neighbours
from Stage2.models.registry import ENCODERS
from Stage2.models.snapshots import describe_snapshot
from Stage2.segmentation.method import SLICES_AT_ONCE

LEAST_OVERLAP = 0.25  # Dice of a tissue that the start knows with an organ, from which the organ begins as that tissue
QUIET, READY = -3.0, 0.0  # bias of the new part of an organ that begins as a tissue, and of one that does not
HEAD_PIXELS, HEAD_STEPS, HEAD_RATE = 20_000, 60, 0.02  # of learning the head alone, at the start

logger = logging.getLogger(__name__)


def starting_network(
    start: str | Path, encoder: str | None, scans: Sequence[AnnotatedSlices], organs: int, seed: int
) -> AdaptedNetwork:
    """A network for these organs with its starting weights.

    Args:
        start: "random", a file of weights that holds the encoder, or one of a whole network.
        encoder: one of `ENCODERS`; None: that of the start.
        scans: annotated scans on the working grid.
        organs: to tell apart.
        seed: of what is random.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged, or of another encoder.
    """
    torch.manual_seed(seed)
    if start == RANDOM_START:
        logger.info("start: random weights (seed %d)", seed)
        return AdaptedNetwork(encoder or DEFAULT_ENCODER, organs)
    path = Path(start)
    if describe_file(path) is None:
        content = read_checkpoint(path)
        network = AdaptedNetwork(encoder or encoder_of(path, content), organs)
        loaded = load_backbone(network.backbone, path, content=content, setting="--encoder=dlfcn_res{depth}")
        logger.info("start: the encoder from %s: %s; the decoder is random (seed %d)", path, loaded, seed)
        return network
    network, described = read_network(path)
    if encoder not in (None, network.encoder_name):
        raise ValueError(f"{path} is a network of {network.encoder_name}, not of {encoder}; leave --encoder out.")
    logger.info("start: the whole network of %s, %s", path, described["kind"])
    _renew_head(network, scans, organs)
    return network


def is_whole_network(start: str | Path) -> bool:
    """A start is a whole network: not only its encoder is known, but its decoder too.

    Args:
        start: "random", or a file of weights.

    Raises:
        ValueError: as `describe_file`.
    """
    return start != RANDOM_START and describe_file(Path(start)) is not None


def encoder_of(path: Path, content: Mapping | None = None) -> str:
    """The encoder that a file of weights is of.

    Args:
        path: of the file.
        content: of the file, where it was read before.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged, or its encoder is not known.
    """
    content = read_checkpoint(path) if content is None else content
    kind = describe_snapshot(content)
    if kind.encoder is not None:
        return kind.encoder
    try:
        return f"dlfcn_res{built_depth(backbone_weights(content, path), path)}"
    except ValueError as error:
        raise ValueError(f"{error}; or name its encoder by --encoder, one of {', '.join(ENCODERS)}.") from None


def _renew_head(network: AdaptedNetwork, scans: Sequence[AnnotatedSlices], organs: int) -> None:
    """A head for new organs: each begins as the tissues that the old head finds in it, with a new part of its own.

    The new head then learns alone for a moment, from the features as they are. Background comes from slices in which
    every organ is known, if there are any.
    """
    network.eval()
    whole = [scan.known.all(dim=1) for scan in scans]
    some_whole = any(bool(own.any()) for own in whole)
    features, overlap = [], torch.zeros(len(network.head.assignment), 1 + organs)
    generator = torch.Generator().manual_seed(HEAD_PIXELS)
    with torch.inference_mode():
        for scan, is_whole in zip(scans, whole, strict=True):
            for places in scan.annotated.split(SLICES_AT_ONCE):
                found = network.features(with_neighbours(scan.images, places).contiguous())
                size = found.shape[-2:]
                labels = functional.interpolate(scan.labels[places][:, None].float(), size=size)[:, 0].long()
                known = (labels != IGNORED) & ((labels > 0) | is_whole[places, None, None] | (not some_whole))
                tissues = network.head.parts(found).softmax(dim=1).permute(0, 2, 3, 1)[known]
                overlap += tissues.T @ functional.one_hot(labels[known], 1 + organs).float()
                features.append((found.permute(0, 2, 3, 1)[known], labels[known]))
    dice = 2 * overlap / (overlap.sum(dim=0) + overlap.sum(dim=1, keepdim=True)).clamp(min=1)
    best, organ = dice[:, 1:].max(dim=1)
    begun = torch.where(best >= LEAST_OVERLAP, organ + 1, 0)
    old, count = network.head.parts, len(begun)
    head = Head(WIDTHS[FINEST], torch.cat([begun, torch.arange(1 + organs)]))
    with torch.no_grad():
        head.parts.weight[:count], head.parts.bias[:count] = old.weight, old.bias
        head.parts.weight[count:] *= 0.1
        for own in range(1 + organs):
            head.parts.bias[count + own] = QUIET if (begun == own).any() else READY
    network.head = head
    pixels, labels = (torch.cat(own) for own in zip(*features, strict=True))
    _learn_head(head, *_balanced(pixels.clone(), labels.clone(), generator))


def _balanced(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some pixels of every class, at most an equal share each, drawn at random."""
    values = labels.unique()
    most = max(1, HEAD_PIXELS // len(values))
    chosen = []
    for value in values:
        places = torch.nonzero(labels == value)[:, 0]
        chosen.append(places[torch.randperm(len(places), generator=generator)[:most]])
    places = torch.cat(chosen)
    return pixels[places], labels[places]


def _learn_head(head: Head, pixels: Tensor, labels: Tensor) -> None:
    """Fit the head to features (N, C) of pixels with labels (N,), by cross-entropy."""
    optimiser = torch.optim.Adam(head.parameters(), lr=HEAD_RATE)
    images = pixels.T[None, :, :, None]  # 1, C, N, 1
    for _ in range(HEAD_STEPS):
        loss = functional.cross_entropy(head(images)[:, :, :, 0], labels[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
