"""Whether exported ONNX files give what the segmenter gives: features and masks of the same slices, side by side."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from Stage2.datasets.episodes import three_channels
from Stage2.datasets.folds import support_slices
from Stage2.datasets.volumes import SLICE_SIZE, Statistics, own_statistics
from Stage2.io.grid import check_slice_size
from Stage2.io.nifti import check_label_file, read_voxels
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter, upsample
from Stage2.phantom.folder import make_scan

SHOTS = 3  # most support slices of a comparison
SLICES_AT_ONCE = 4
# Two orders of summing in float32 leave 1.4e-6, 1e-4 and 1e-6 on real slices (ResNet-101, ViT-B).
FEATURE_TOLERANCE = 3e-5  # of the largest feature
LOGIT_TOLERANCE = 2e-3  # logits lie in [-20, 20]
CHANGED_TOLERANCE = 1e-4  # share of mask pixels: those on whose class the logits are undecided


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
        feature_difference: largest one, as a share of the largest feature.
        logit_difference: largest one.
        changed: mask pixels of another class.
        pixels: mask pixels of all episodes.
        seconds: encoding by "torch" and by "onnxruntime" with as many threads.
    """

    slices: int
    episodes: int
    feature_difference: float
    logit_difference: float
    changed: int
    pixels: int
    seconds: Mapping[str, float]

    def as_dict(self) -> dict[str, float]:
        return {
            "slices": self.slices,
            "episodes": self.episodes,
            "relative_feature_difference": self.feature_difference,
            "logit_difference": self.logit_difference,
            "changed_mask_pixels": self.changed / self.pixels,
        }

    def __str__(self) -> str:
        torch_seconds, runtime_seconds = self.seconds["torch"], self.seconds["onnxruntime"]
        return (
            f"{self.slices} slices: features differ by at most {self.feature_difference:.1e} of the largest; "
            f"onnxruntime encodes them in {runtime_seconds:.2f} s, torch in {torch_seconds:.2f} s "
            f"({torch_seconds / runtime_seconds:.2f} times)\n"
            f"{self.episodes} supports: logits differ by at most {self.logit_difference:.1e}, and {self.changed} of "
            f"{self.pixels} mask pixels ({self.changed / self.pixels:.2g})"
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
    present = [int(value) for value in np.unique(label) if value != 0]
    wanted = present if labels is None else labels
    for value in wanted:
        if value not in present:
            raise ValueError(f"label {value} is not in {label_path}, which shows {present}; name one of these.")
    if not wanted:
        raise ValueError(f"{label_path} is 0 everywhere; expected the label of a scan that shows an organ.")
    return choose_slices(normalised[:, :SLICE_SIZE, :SLICE_SIZE], label[:, :SLICE_SIZE, :SLICE_SIZE], wanted)


def drawn_slices() -> AnnotatedSlices:
    """Slices of a phantom with two of its organs, where no scan is given."""
    image, label = make_scan("mr", 0, 0, SLICE_SIZE)
    return choose_slices((image - image.mean()) / image.std(), label, [1, 2])


def choose_slices(image: np.ndarray, label: np.ndarray, labels: Sequence[int]) -> AnnotatedSlices:
    """Support slices of every label in one scan, image and label (Z, H, W)."""
    places: set[int] = set()
    for value in labels:
        places.update(support_slices(np.flatnonzero((label == value).any(axis=(1, 2))).tolist(), SHOTS))
    chosen = sorted(places)
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
            places = support_slices(shows, shots)
            supports.append((places, masks[places].astype(np.float32)))
    large, small, empty = (np.zeros((SLICE_SIZE, SLICE_SIZE), np.float32) for _ in range(3))
    large[64:192, 64:192] = small[100:110, 100:110] = 1
    first, last = 0, len(slices.images) - 1
    for drawn in ([large], [small], [empty], [small, empty], [large, empty], [np.ones_like(empty)]):
        supports.append(([first, last][: len(drawn)], np.stack(drawn)))
    return supports


def compare(
    model: FewShotSegmenter, window: int, encoder_path: Path, head_path: Path, slices: AnnotatedSlices
) -> Comparison:
    """Run the exported files and the segmenter on the same slices, from the image to the mask.

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
    batches = [images[:1], *images[1:].split(SLICES_AT_ONCE)]  # the first one, of another size, warms both up
    with torch.no_grad():
        expected, torch_seconds = _timed(model.encode, batches)
    found, runtime_seconds = _timed(
        lambda batch: torch.from_numpy(encoder.run(None, {"images": batch.numpy()})[0]), batches
    )
    feature_difference = float((found - expected).abs().max() / expected.abs().max())

    logit_difference, changed, pixels = 0.0, 0, 0
    supports = list_supports(slices)
    for places, masks in supports:
        reference = _reference_logits(model, expected, places, torch.from_numpy(masks), window)
        inputs = {"support_features": found[places], "query_features": found}
        logits = head.run(None, {"support_mask": masks, **{name: value.numpy() for name, value in inputs.items()}})[0]
        if reference is None:  # both refuse it, or the difference is infinite
            logit_difference = max(logit_difference, 0.0 if np.isnan(logits).all() else np.inf)
            continue
        logit_difference = max(logit_difference, _largest(np.abs(logits - reference)))
        changed += int((logits.argmax(axis=1) != reference.argmax(axis=1)).sum())
        pixels += logits[:, 0].size
    comparison = Comparison(
        slices=len(images),
        episodes=len(supports),
        feature_difference=_largest(np.array(feature_difference)),
        logit_difference=logit_difference,
        changed=changed,
        pixels=pixels,
        seconds={"torch": torch_seconds, "onnxruntime": runtime_seconds},
    )
    if (
        comparison.feature_difference > FEATURE_TOLERANCE
        or logit_difference > LOGIT_TOLERANCE
        or changed > CHANGED_TOLERANCE * pixels
    ):
        raise ValueError(
            f"the exported files differ from the segmenter by {feature_difference:.1e} of the largest feature, "
            f"{logit_difference:.1e} in the logits and {changed / pixels:.1e} of the mask pixels; allowed are "
            f"{FEATURE_TOLERANCE:.0e}, {LOGIT_TOLERANCE:.0e} and {CHANGED_TOLERANCE:.0e}. Nothing was written: use "
            "the pinned versions of requirements.txt."
        )
    return comparison


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An exported file on the CPU, with as many threads as torch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _timed(encode, batches: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Features of all batches, and the seconds that all but the first took (of the first, where it is the only)."""
    seconds, features = [], []
    for batch in batches:
        start = time.perf_counter()
        features.append(encode(batch))
        seconds.append(time.perf_counter() - start)
    return torch.cat(features), sum(seconds[1:]) or seconds[0]


@torch.no_grad()
def _reference_logits(
    model: FewShotSegmenter, features: Tensor, places: Sequence[int], masks: Tensor, window: int
) -> np.ndarray | None:
    """The segmenter's logits (N, 2, 256, 256); None where it refuses the support."""
    try:
        prototypes = model.prototypes(features[places], masks, 1 - masks, window)
    except DegenerateEpisodeError:
        return None
    return upsample(model.scores(features, prototypes), masks.shape[-2:]).numpy()


def _largest(differences: np.ndarray) -> float:
    """The largest difference; NaN, which compares as no difference at all, is an infinite one."""
    return float(np.nan_to_num(differences, nan=np.inf, posinf=np.inf).max())
