"""Whether exported ONNX files give what the segmenter gives: features and masks of the same slices, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from Stage2.datasets.episodes import three_channels
from Stage2.datasets.folds import support_slices
from Stage2.datasets.labels import no_labels
from Stage2.datasets.volumes import SLICE_SIZE, Statistics, own_statistics
from Stage2.io.grid import check_slice_size
from Stage2.io.nifti import check_label_file, read_voxels
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter

SHOTS = 3  # most support slices of a comparison
SLICES_AT_ONCE = 4
# Two orders of summing in float32 leave 1.4e-6, 1e-4 and 1e-6 on real slices (ResNet-101, ViT-B). Allowed are: of the
# largest feature; of logits, which lie in [-20, 20]; the share of mask pixels, those on whose class they are undecided.
TOLERANCES = (3e-5, 2e-3, 1e-4)


@dataclass(frozen=True)
class AnnotatedSlices:
    """Slices to compare on: images (N, 256, 256) float32 normalised; organ -> masks (N, 256, 256) bool."""

    images: np.ndarray
    masks: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """How far exported files are from the segmenter.

    Attributes:
        slices: number of slices.
        episodes: number of supports, each segmenting all slices.
        relative_feature_difference: largest one, as a share of the largest feature.
        logit_difference: largest one.
        changed_mask_pixels: share of the mask pixels that are of another class.
    """

    slices: int
    episodes: int
    relative_feature_difference: float
    logit_difference: float
    changed_mask_pixels: float

    def __str__(self) -> str:
        return (
            f"{self.slices} slices: features differ by at most {self.relative_feature_difference:.1e} of the largest\n"
            f"{self.episodes} supports: logits differ by at most {self.logit_difference:.1e}, and "
            f"{self.changed_mask_pixels:.2g} of the mask pixels"
        )


def read_slices(
    image_path: Path, label_path: Path, labels: Sequence[int] | None, statistics: Statistics | None = None
) -> AnnotatedSlices:
    """The support slices (`SHOTS` of each organ) of a processed scan.

    Args:
        image_path: of 256 x 256 slices.
        label_path: on its grid.
        labels: of the organs; None: all in the scan.
        statistics: that normalise the image; None: its own.

    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged, of another size or place, or does not show a label.
    """
    image, label = read_voxels(image_path).astype(np.float32), read_voxels(label_path)
    check_slice_size(image_path, image.shape)
    check_label_file(label_path, image_path)
    statistics = statistics or own_statistics(image, image_path)
    normalised = (image - np.float32(statistics.mean)) / np.float32(statistics.std)
    found = np.unique(label)
    if len(no_labels(found)):
        raise ValueError(
            f"{label_path} has values from {found[0]:g} to {found[-1]:g}; expected the label of the scan: whole "
            "numbers from 0 up."
        )
    present = [int(value) for value in found if value != 0]
    if not present and labels is None:
        raise ValueError(f"{label_path} is 0 everywhere; expected the label of a scan that shows an organ.")
    for value in labels or ():
        if value not in present:
            raise ValueError(f"label {value} is not in {label_path}, which shows {present}; name one of these.")
    return choose_slices(normalised[:, :SLICE_SIZE, :SLICE_SIZE], label[:, :SLICE_SIZE, :SLICE_SIZE], labels or present)


def drawn_slices() -> AnnotatedSlices:
    """Drawn slices of a body with two organs that move from slice to slice, where no scan is given."""
    rows, columns = np.mgrid[:SLICE_SIZE, :SLICE_SIZE]

    def ellipse(row: int, column: int, height: int, width: int) -> np.ndarray:
        return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1

    label = np.stack([ellipse(110 + z, 80, 40, 30) + 2 * ellipse(130, 180 - z, 25, 15) for z in range(9)])
    noise = np.random.default_rng(0).normal(0, 20, label.shape)
    image = 300.0 * ellipse(128, 128, 80, 110) + 150 * label + noise
    return choose_slices((image - image.mean()) / image.std(), label, [1, 2])


def choose_slices(image: np.ndarray, label: np.ndarray, labels: Sequence[int]) -> AnnotatedSlices:
    """Support slices of every label in one scan, image and label (Z, H, W)."""
    shown = (np.flatnonzero((label == value).any(axis=(1, 2))).tolist() for value in labels)
    chosen = sorted({z for slices in shown for z in support_slices(slices, SHOTS)})
    masks = {f"label {value}": label[chosen] == value for value in labels}
    return AnnotatedSlices(np.ascontiguousarray(image[chosen], dtype=np.float32), masks)


def list_supports(slices: AnnotatedSlices) -> list[tuple[list[int], np.ndarray]]:
    """Supports as (S slices, masks (S, 256, 256) float32): every organ in 1 and `SHOTS` shots, and drawn masks.

    The drawn ones take every branch of the method: large, small, empty, and everywhere (no background).
    """
    supports = []
    for masks in slices.masks.values():
        shows = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
        for shots in (1, SHOTS):
            chosen = support_slices(shows, shots)
            supports.append((chosen, masks[chosen].astype(np.float32)))
    large, small, empty = (np.zeros((SLICE_SIZE, SLICE_SIZE), np.float32) for _ in range(3))
    large[64:192, 64:192] = small[100:110, 100:110] = 1
    ends = [0, len(slices.images) - 1]
    for drawn in ([large], [small], [empty], [small, empty], [large, empty], [np.ones_like(empty)]):
        supports.append((ends[: len(drawn)], np.stack(drawn)))
    return supports


def compare(
    model: FewShotSegmenter, window: int, encoder_path: Path, head_path: Path, slices: AnnotatedSlices
) -> Comparison:
    """Run both implementations on the same slices.

    Args:
        model: the segmenter, in evaluation mode on the CPU.
        window: side of a pooling cell in feature pixels.
        encoder_path, head_path: the exported files.
        slices: N slices, all of them queries of every support.

    Raises:
        ValueError: they differ by more than rounding does.
    """
    images = three_channels(slices.images)
    encoder, head = open_session(encoder_path), open_session(head_path)
    batches = [images[:1], *images[1:].split(SLICES_AT_ONCE)]  # of two sizes
    with torch.no_grad():
        expected = torch.cat([model.encode(batch) for batch in batches])
    found = torch.cat([torch.from_numpy(encoder.run(None, {"images": batch.numpy()})[0]) for batch in batches])
    feature_difference = largest_difference(((found - expected).abs().max() / expected.abs().max()).numpy())

    logit_difference, changed, pixels = 0.0, 0, 0
    supports = list_supports(slices)
    for chosen, masks in supports:
        reference = _reference_logits(model, expected, chosen, torch.from_numpy(masks), window)
        inputs = {"support_features": found[chosen], "query_features": found}
        logits = head.run(None, {"support_mask": masks, **{name: value.numpy() for name, value in inputs.items()}})[0]
        if reference is None:  # both refuse it, or the difference is infinite
            logit_difference = max(logit_difference, 0.0 if np.isnan(logits).all() else np.inf)
            continue
        logit_difference = max(logit_difference, largest_difference(np.abs(logits - reference)))
        changed += int((logits.argmax(axis=1) != reference.argmax(axis=1)).sum())
        pixels += logits[:, 0].size
    differences = (feature_difference, logit_difference, changed / pixels)
    if any(value > allowed for value, allowed in zip(differences, TOLERANCES, strict=True)):
        found, allowed = (", ".join(f"{value:.1e}" for value in values) for values in (differences, TOLERANCES))
        raise ValueError(
            f"the exported files differ from the segmenter by {found} (features, of the largest; logits; share of mask "
            f"pixels); allowed are {allowed}. Nothing was written: use the versions of requirements.txt."
        )
    return Comparison(len(images), len(supports), *differences)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An exported file on the CPU, with as many threads as torch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def _reference_logits(
    model: FewShotSegmenter, features: Tensor, chosen: Sequence[int], masks: Tensor, window: int
) -> np.ndarray | None:
    """The segmenter's logits (N, 2, 256, 256); None where it refuses the support."""
    try:
        prototypes = model.prototypes(features[chosen], masks, 1 - masks, window)
    except DegenerateEpisodeError:
        return None
    return model.logits(features, prototypes, masks.shape[-2:]).numpy()


def largest_difference(differences: np.ndarray) -> float:
    """The largest difference; NaN, which compares as no difference at all, is an infinite one."""
    return float(np.nan_to_num(differences, nan=np.inf, posinf=np.inf).max())
