"""Stage 2's speed against plain implementations of the published loop, on drawn slices.

Everything is measured in the run that prints it; the ratios, not the times, are what carries over to other machines.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from Stage1.timing import flops, one_thread, seconds
from Stage2.datasets import augmentation
from Stage2.datasets.episodes import Episode, SuperpixelEpisodes, as_episode, three_channels
from Stage2.datasets.folds import part_of_slice
from Stage2.datasets.volumes import SLICE_SIZE, Scan
from Stage2.evaluation.metrics import ScanCounts, overlap_counts
from Stage2.evaluation.protocol import ClassTask, evaluate_scan, support_prototypes
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import Training

PARTS = 3
TEST_WINDOW, TRAINING_WINDOW = 2, 4
VARIANTS = {
    "fp32": {"precision": "fp32", "channels_last": False},
    "fp32 channels-last": {"precision": "fp32", "channels_last": True},
    "bf16 channels-last": {"precision": "bf16", "channels_last": True},
}


def drawn_scan(scan_id: str, n_slices: int, seed: int = 0) -> Scan:
    """A scan of noise with a bright disc for each of two organs, (n_slices, 256, 256), and a grid of superpixels."""
    rng = np.random.default_rng(seed)
    label = np.zeros((n_slices, SLICE_SIZE, SLICE_SIZE), dtype=np.uint8)
    row, column = np.ogrid[:SLICE_SIZE, :SLICE_SIZE]
    for organ, centre in ((1, 0.3), (2, 0.7)):
        label[:, (row / SLICE_SIZE - 0.5) ** 2 + (column / SLICE_SIZE - centre) ** 2 < 0.15**2] = organ
    image = rng.normal(0, 0.5, label.shape).astype(np.float32) + label
    side = SLICE_SIZE // 8
    superpixels = (row // side * 8 + column // side + 1).astype(np.int32)
    return Scan(scan_id, image, label, np.broadcast_to(superpixels, label.shape))


def drawn_tasks(n_slices: int, support: str = "support", queries: Sequence[str] = ("query",)) -> list[ClassTask]:
    """Both organs of drawn scans, which show in every slice."""
    supports = [n_slices * (2 * part + 1) // (2 * PARTS) for part in range(PARTS)]
    return [
        ClassTask(name, label, {support: supports}, dict.fromkeys(queries, (0, n_slices - 1)))
        for name, label in (("A", 1), ("B", 2))
    ]


@torch.no_grad()
def published_testing(
    model: FewShotSegmenter, support: Scan, query: Scan, tasks: Sequence[ClassTask]
) -> list[tuple[np.ndarray, ScanCounts]]:
    """Mask and counts of every class, slice by slice: the support encoded with every slice, pixels counted as sets."""
    results = []
    for task in tasks:
        mask, counts = np.zeros(query.image.shape, dtype=bool), ScanCounts()
        first, last = task.ranges[query.id]
        for z, image in enumerate(query.image):
            support_z = task.support_slices[support.id][part_of_slice(z, first, last, task.n_parts)]
            features = model.encode(three_channels(np.stack([support.image[support_z], image])))
            foreground = torch.from_numpy(support.label[support_z] == task.label).float()[None]
            prototypes = model.prototypes(features[:1], foreground, 1 - foreground, TEST_WINDOW)
            scores = model.scores(features[1:], prototypes)
            logits = torch.nn.functional.interpolate(scores, image.shape, mode="bilinear")
            mask[z] = logits.argmax(dim=1)[0].numpy().astype(bool)
            counts += counted_with_sets(mask[z], query.label[z] == task.label)
        results.append((mask, counts))
    return results


def batched_testing(
    model: FewShotSegmenter, support: Scan, query: Scan, tasks: Sequence[ClassTask]
) -> list[tuple[np.ndarray, ScanCounts]]:
    """The same by :mod:`Stage2.evaluation.protocol`."""
    prototypes = {task.name: support_prototypes(model, [support], task, TEST_WINDOW) for task in tasks}
    results = evaluate_scan(model, query, tasks, prototypes, z_margin=0)
    return [(own.mask, overlap_counts(own.mask, query.label == own.task.label)) for own in results]


def counted_with_sets(prediction: np.ndarray, target: np.ndarray) -> ScanCounts:
    """Counts of one slice from sets of pixel coordinates, of the background too, as the published metric takes them."""
    for value in (False, True):  # the last one, the foreground, is what is returned
        predicted = set(zip(*np.nonzero(prediction == value), strict=True))
        wanted = set(zip(*np.nonzero(target == value), strict=True))
        counts = ScanCounts(len(predicted & wanted), len(predicted), len(wanted))
    return counts


def published_view(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One random view of an image (H, W) float32 and a mask (H, W) bool as the published code makes it.

    The mask is one-hot, every channel is warped, the elastic change is SciPy's.
    """
    matrix = augmentation.draw_affine_matrix(image.shape, rng)
    channels = [image, (~mask).astype(np.float32), mask.astype(np.float32)]
    channels = [cv2.warpAffine(channel, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR) for channel in channels]
    dy, dx = (
        gaussian_filter(rng.uniform(-1, 1, image.shape), augmentation.ELASTIC_SIGMA, mode="constant")
        * augmentation.ELASTIC_SCALE
        for _ in range(2)
    )
    rows, columns = np.meshgrid(np.arange(image.shape[0]), np.arange(image.shape[1]), indexing="ij")
    places = np.stack([rows + dy, columns + dx])
    image, background, foreground = (map_coordinates(channel, places, order=1, mode="reflect") for channel in channels)
    return augmentation.change_gamma(image, rng.uniform(*augmentation.GAMMA)), np.rint(foreground) > np.rint(background)


def published_episode(scan: Scan, z: int, rng: np.random.Generator) -> Episode:
    """A superpixel episode of one slice, its views by :func:`published_view`."""
    mask = scan.superpixels[z] == rng.choice(np.unique(scan.superpixels[z]))
    return as_episode(published_view(scan.image[z], mask, rng), published_view(scan.image[z], mask, rng))


def segmenter(modelname: str, precision: str, channels_last: bool) -> FewShotSegmenter:
    """An untrained ALPNet on the CPU."""
    torch.manual_seed(0)
    model = FewShotSegmenter(modelname, precision=precision)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def measure_testing(modelname: str, n_slices: int, repeats: int) -> tuple[dict[str, float], float]:
    """Testing two classes in one scan.

    Returns:
        Seconds per slice and class of "published" and of every variant; FLOPs per slice and class of the variants.
    """
    tasks = drawn_tasks(n_slices)
    arguments = (drawn_scan("support", n_slices), drawn_scan("query", n_slices, seed=1), tasks)
    slices = n_slices * len(tasks)
    plain = segmenter(modelname, "fp32", channels_last=False).eval()
    spent = {"published": seconds(lambda: published_testing(plain, *arguments), repeats) / slices}
    for name, options in VARIANTS.items():
        model = segmenter(modelname, **options).eval()
        spent[name] = seconds(lambda model=model: batched_testing(model, *arguments), repeats) / slices
    return spent, flops(lambda: batched_testing(plain, *arguments)) / slices


def measure_training(modelname: str, repeats: int) -> tuple[dict[str, float], float]:
    """An optimiser step; "published" is float32 in the default layout.

    Returns:
        Seconds of "published" and of every other variant; FLOPs of a step.
    """
    episode = SuperpixelEpisodes([drawn_scan("0", 1)], {}, seed=0)[0]
    spent, work = {}, 0.0
    for name, options in VARIANTS.items():
        training = Training(segmenter(modelname, **options), learning_rate=1e-3, decay=0.95)

        def step(training: Training = training) -> None:
            training.take_step(episode, window=TRAINING_WINDOW)

        spent["published" if name == "fp32" else name] = seconds(step, repeats)
        work = work or flops(step)
    return spent, work


@one_thread()
def measure_episodes(count: int) -> dict[str, float]:
    """Seconds of preparing one episode, on one core."""
    scan = drawn_scan("0", 8)
    episodes = SuperpixelEpisodes([scan], {}, seed=0)
    rng = np.random.default_rng(0)
    return {
        "published": seconds(lambda: published_episode(scan, int(rng.integers(8)), rng), count),
        "ours": seconds(lambda: episodes[int(rng.integers(1 << 30))], count),
    }


def measure_counting(n_slices: int, repeats: int) -> dict[str, float]:
    """Seconds of counting the pixels of one class, per slice."""
    target = drawn_scan("0", n_slices).label == 1
    prediction = np.roll(target, 9, axis=2)
    pairs = list(zip(prediction, target, strict=True))
    published = seconds(lambda: [counted_with_sets(*pair) for pair in pairs], repeats)
    ours = seconds(lambda: overlap_counts(prediction, target), repeats)
    return {"published": published / n_slices, "ours": ours / n_slices}
