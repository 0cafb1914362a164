"""Stage 1's speed against named baselines: the published view pipeline, and a training step written plainly.

Everything is measured in the run that prints it; the ratios, not the times, are what carries over to other machines.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from Stage1.datasets.colour import IMAGENET_MEAN, IMAGENET_STD, ColourAugmentation
from Stage1.datasets.radiographs import Radiographs, collate_views
from Stage1.datasets.sampling import SampleKey
from Stage1.models.contrast import gather_cells, match_dense_keys
from Stage1.models.densecl import DenseCL, cells_as_rows
from Stage1.timing import in_own_process, one_thread, peak_memory, seconds

BATCH = 16  # images that the device's half of the views takes at a time
PLAIN = "plain"


class PillowBlur(torch.nn.Module):
    """Pillow's Gaussian blur with a standard deviation in pixels drawn from U(0.1, 2.0)."""

    def forward(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(0.1 + 1.9 * torch.rand(()).item()))


def published_view(image_size: int = 224) -> v2.Compose:
    """The published pipeline: torchvision's transforms on RGB Pillow images, to (3, image_size, image_size) float32.

    Source: MoCo v2 (Chen et al., 2020), as used by DenseCL (Wang et al., CVPR 2021).
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(image_size, scale=(0.2, 1.0)),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([PillowBlur()], p=0.5),
            v2.RandomHorizontalFlip(p=0.5),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def plain_losses(model: DenseCL, query_images: Tensor, key_images: Tensor) -> Tensor:
    """The loss of :meth:`DenseCL.loss` written plainly: queues copied, all logits held, cross-entropy."""
    features_q, global_q, dense_q, _ = model.encode(model.encoder_q, query_images)
    features_k, global_k, dense_k, pooled_k = model.encode_keys(key_images)
    cells = match_dense_keys(F.normalize(features_q.detach(), dim=1), F.normalize(features_k, dim=1))
    pairs = (
        (global_q, global_k, model.queue.clone()),
        (cells_as_rows(dense_q), cells_as_rows(gather_cells(dense_k, cells)), model.queue2.clone()),
    )
    total = 0
    for queries, positives, negatives in pairs:
        logits = torch.cat([(queries * positives).sum(dim=1, keepdim=True), queries @ negatives], dim=1)
        total += 0.5 * F.cross_entropy(logits / model.temperature, torch.zeros(len(queries), dtype=torch.long))
    model.queue[:, : len(global_k)] = global_k.T
    model.queue2[:, : len(pooled_k)] = pooled_k.T
    return total


@one_thread()
def measure_views(folder: Path, image_size: int = 224, limit: int = 200) -> dict[str, float]:
    """Seconds per image of both views, one thread each.

    Args:
        folder: images, of which the first ``limit`` are used; each pipeline decodes them from their files.

    Returns:
        ``published``: Pillow and torchvision transforms, all of it on the host; ``host``: ours, decoding, cropping and
        collating; ``device``: ours, colour, blur and normalisation, here on one thread of the CPU.
    """
    dataset = Radiographs(str(folder), {"image_size": image_size})
    count = min(limit, len(dataset)) // BATCH * BATCH
    if not count:
        raise ValueError(f"found {len(dataset)} images in {folder}, expected at least {BATCH}; give a larger folder")
    published, colour = published_view(image_size), ColourAugmentation()

    def published_pair(path: Path) -> Tensor:
        with Image.open(path) as image:
            image = image.convert("RGB")
        return torch.stack([published(image), published(image)])

    spent = {"published": 0.0, "host": 0.0, "device": 0.0}
    for start in range(-BATCH, count, BATCH):  # the batch before the first warms up
        indices = [index % count for index in range(start, start + BATCH)]
        times = {}
        begun = time.perf_counter()
        torch.stack([published_pair(dataset.paths[index]) for index in indices])
        times["published"] = time.perf_counter() - begun
        begun = time.perf_counter()
        batch = collate_views([dataset[SampleKey(index, 0, 0)] for index in indices])
        times["host"] = time.perf_counter() - begun
        begun = time.perf_counter()
        colour(batch, training=True)
        times["device"] = time.perf_counter() - begun
        if start >= 0:
            spent = {name: spent[name] + times[name] for name in spent}
    return {name: taken / count for name, taken in spent.items()}


def training_step(name: str, depth: int, batch: int, image_size: int, device: str) -> Callable[[], None]:
    """A function that does one whole training step (both encoders, losses, backward, SGD) on fixed random views.

    Args:
        name: a precision, followed by "compiled" or not; or "plain", float32 in the default layout with the losses of
            :func:`plain_losses`.
    """
    torch.manual_seed(0)
    precision, *compiled = name.split()
    options = {} if name == PLAIN else {"channels_last": True, "precision": precision, "compile": bool(compiled)}
    model = DenseCL(depth=depth, **options).to(device).train()
    optimizer = torch.optim.SGD(model.encoder_q.parameters(), lr=0.0375, momentum=0.9, weight_decay=1e-4)
    views = torch.randn(2, batch, 3, image_size, image_size, device=device)

    def step() -> None:
        if name == PLAIN:
            loss = plain_losses(model, *views)
        else:
            loss = sum(value for key, value in model.loss(*views).items() if key.startswith("loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def measure_step(name: str, repeats: int, settings: dict) -> dict[str, float]:
    """Seconds of a training step (median) and peak memory in MiB, in a process of its own.

    On the CPU the memory is the whole process's; on a GPU it is what PyTorch allocated.
    """
    return in_own_process(_measure_step, name, repeats, settings)


def _measure_step(name: str, repeats: int, settings: dict) -> dict[str, float]:
    taken = seconds(training_step(name, **settings), repeats)
    memory = torch.cuda.max_memory_allocated() / 2**20 if settings["device"] == "cuda" else peak_memory()
    return {"seconds": taken, "memory": memory}
