"""A folder of images without labels, served as pairs of random views."""

import os
from pathlib import Path

import torch
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import Dataset

from Stage1.datasets.sampling import SampleKey
from Stage1.datasets.views import random_view

EXTENSIONS = (".jpg", ".jpeg", ".png")


@DATASETS.register_module()
class RadiographPairs(Dataset):
    """Two random views of every image in a folder (and the folders in it).

    Args:
        data_root: folder with .jpg, .jpeg or .png files; its order is the sorted order of their paths.
        view: settings of :func:`Stage1.datasets.views.random_view`.

    A file that cannot be decoded (ROCO has truncated files and files that are not images) is replaced by the next
    readable one; the sample says so.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it, or none that can be decoded.
    """

    def __init__(self, data_root: str, view: dict | None = None) -> None:
        self.data_root = Path(data_root)
        self.paths = list_images(self.data_root)
        self.view = random_view(**(view or {}))
        self.metainfo = {"dataset": "radiographs", "images": len(self.paths)}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey) -> dict:
        """Sample of a key.

        Returns:
            ``inputs``: (2, 3, H, W) float32; ``data_samples``: the ``index`` asked for, and ``unreadable``, True where
            another image had to take its place.
        """
        image, used = self.read(key.index)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key.view_seed())
            views = torch.stack([self.view(image), self.view(image)])
        return {"inputs": views, "data_samples": {"index": key.index, "unreadable": used != key.index}}

    def read(self, index: int) -> tuple[Image.Image, int]:
        """The RGB image at an index or, if it is unreadable, the next readable one; and the index it was found at."""
        for candidate in range(index, index + len(self)):
            image = decode(self.paths[candidate % len(self)])
            if image is not None:
                return image, candidate % len(self)
        raise ValueError(
            f"found {len(self)} files named like images in {self.data_root}, but none can be decoded; "
            "set data_root to a folder of JPEG or PNG images"
        )


def list_images(folder: Path) -> list[Path]:
    """Sorted paths of the image files in a folder and its subfolders."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"found no folder {folder}, expected a folder of .jpg, .jpeg or .png images; set data_root to it"
        )
    paths = sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    )
    if not paths:
        raise ValueError(
            f"found no image in {folder}, expected .jpg, .jpeg or .png files; set data_root to the folder that has them"
        )
    return paths


def decode(path: Path) -> Image.Image | None:
    """The image of a file as RGB, or None if the file is damaged, not an image or gone."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for damaged files
        return None
