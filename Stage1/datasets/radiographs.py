"""A folder of images without labels, served as random views."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

from Stage1.datasets.images import UnreadableImageError, list_images, read_image
from Stage1.datasets.sampling import SampleKey
from Stage1.datasets.views import Colour, RandomViews

# Above this share of unreadable images, the folder is taken for damaged and training stops.
MAX_UNREADABLE = 0.05
SAMPLED = 200


@DATASETS.register_module(name=["Radiographs", "RadiographPairs"])  # the second in configs of earlier runs
class Radiographs(Dataset):
    """Random views of every image in a folder (and the folders in it); an image is decoded once for all its views.

    Args:
        data_root: folder with .jpg, .jpeg or .png files; its order is the sorted order of their paths.
        view: settings of :class:`Stage1.datasets.views.RandomViews`.
        views: of every image.
        grey: colour images are made grey (ITU-R BT.601).

    A file that cannot be decoded (ROCO has truncated files and files that are not images) is replaced by the next
    readable one; the sample names it and the reason.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it, or none that can be decoded.
    """

    def __init__(self, data_root: str, view: dict | None = None, views: int = 2, grey: bool = False) -> None:
        self.data_root, self.count, self.grey = Path(data_root), views, grey
        self.paths = list_images(self.data_root)
        self.views = RandomViews(**(view or {}))
        self.metainfo = {"dataset": "radiographs", "images": len(self.paths)}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey) -> dict:
        """Sample of a key: a function of the key and the folder alone.

        Returns:
            ``inputs``: (views, 3, H, W) uint8, cropped, resized and mirrored; ``data_samples``: ``colour``, a
            :class:`Stage1.datasets.views.Colour` of (views,) arrays for
            :class:`Stage1.datasets.colour.ColourAugmentation`; ``grey``, True where the three channels are equal;
            ``seed``, below 2**63, for what a model draws for this image; ``unreadable``, the reasons of files that
            could not be read on the way to this image, by index.
        """
        image, unreadable = self.read(key.index)
        image = to_grey(image) if self.grey else image
        random = key.generator()
        views = [self.views.draw(*image.shape[1:], random) for _ in range(self.count)]
        crops = torch.stack([self.views.crop(image, view) for view in views])  # views, 1 or 3, H, W
        colour = Colour(*(np.stack(field) for field in zip(*(view.colour for view in views), strict=True)))
        seed = int(random.integers(2**63))
        samples = {"colour": colour, "grey": crops.shape[1] == 1, "seed": seed, "unreadable": unreadable}
        return {"inputs": crops.expand(-1, 3, -1, -1), "data_samples": samples}

    def read(self, index: int) -> tuple[Tensor, dict[int, str]]:
        """The image at an index or, if it is unreadable, the next readable one.

        Returns:
            (1, H, W) or (3, H, W) uint8, and the reason of every file that could not be read before it, by index.
        """
        unreadable = {}
        for candidate in range(index, index + len(self)):
            candidate %= len(self)
            try:
                return read_image(self.paths[candidate]), unreadable
            except UnreadableImageError as error:
                unreadable[candidate] = str(error)
        raise ValueError(
            f"found {len(self)} files named like images in {self.data_root}, but none can be decoded "
            f"({self.paths[index].name}: {unreadable[index]}); set data_root to a folder of JPEG or PNG images"
        )


def to_grey(image: Tensor) -> Tensor:
    """An image (1 or 3, H, W) uint8 in grey, (1, H, W) uint8, by the weights of ITU-R BT.601."""
    if len(image) == 1:
        return image
    return torch.from_numpy(cv2.cvtColor(image.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY))[None]


def check_readable(unreadable: dict[int, str], images: int, dataset: Radiographs) -> None:
    """Raises a ValueError if more than ``MAX_UNREADABLE`` of so many images of a folder have proved unreadable."""
    if len(unreadable) > MAX_UNREADABLE * images:
        index, reason = min(unreadable.items())
        raise ValueError(
            f"found {len(unreadable)} unreadable files among {images} images in {dataset.data_root} "
            f"({dataset.paths[index].name}: {reason}), expected at most {MAX_UNREADABLE:.0%}; mend the folder "
            "or make a clean one with tools/prepare_data.py roco"
        )


def check_sample(dataset: Radiographs) -> None:
    """Stops early where a folder is plainly damaged: reads up to ``SAMPLED`` images spread over it.

    Raises:
        ValueError: so many of them are unreadable that the whole folder has, but for a chance of 1 in 10,000, more than
            ``MAX_UNREADABLE``; all are read where there are no more.
    """
    images = len(dataset)
    sample = np.unique(np.linspace(0, images - 1, min(images, SAMPLED)).astype(int))
    unreadable = {}
    for index in sample.tolist():
        try:
            read_image(dataset.paths[index])
        except UnreadableImageError as error:
            unreadable[index] = str(error)
    deviation = (MAX_UNREADABLE * (1 - MAX_UNREADABLE) * len(sample)) ** 0.5
    allowed = MAX_UNREADABLE * len(sample) + (4 * deviation if len(sample) < images else 0)
    if len(unreadable) > allowed:
        check_readable(unreadable, len(sample), dataset)


@FUNCTIONS.register_module(name=["collate_views", "collate_pairs"])  # the second in configs of earlier runs
def collate_views(samples: list[dict]) -> dict:
    """A batch of samples: tensors stacked, ``unreadable`` merged into one dictionary.

    Returns:
        ``inputs``: (N, views, 3, H, W) uint8; ``data_samples``: ``colour`` of (N, views) tensors, ``grey`` (N,),
        ``seed`` (N,) int64 and ``unreadable``.
    """
    notes = [sample["data_samples"] for sample in samples]
    fields = zip(*(note["colour"] for note in notes), strict=True)
    return {
        "inputs": torch.stack([sample["inputs"] for sample in samples]),
        "data_samples": {
            "colour": Colour(*(torch.from_numpy(np.stack(field)) for field in fields)),
            "grey": torch.tensor([note["grey"] for note in notes]),
            "seed": torch.tensor([note["seed"] for note in notes]),
            "unreadable": {index: reason for note in notes for index, reason in note["unreadable"].items()},
        },
    }
