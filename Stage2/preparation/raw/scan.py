"""What every raw data set becomes before it is processed: scans with a number and a way to read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from Stage2.datasets.labels import class_labels
from Stage2.io.grid import image_on_grid, on_grid_of
from Stage2.io.volumes import read_volume
from Stage2.preparation.raw.source import Source

RawVolumes = tuple[sitk.Image, sitk.Image | None]


@dataclass(frozen=True)
class RawScan:
    """One scan of a raw data set; it travels to a process, so `reader` must be one that can be pickled.

    Attributes:
        id: number of the scan in the processed folder, as text.
        source: the downloaded data set.
        files: names of the files in the source that the scan is read from.
        reader: name -> file on disk, for all `files` -> image and label (uint8 numbers of classes) on one grid, in
            patient coordinates; no label where the data set has none. Raises FileNotFoundError or ValueError with
            file, found, expected, remedy.
    """

    id: str
    source: Source
    files: tuple[str, ...]
    reader: Callable[[Mapping[str, Path]], RawVolumes]

    def read(self) -> RawVolumes:
        """Image and label, both in memory."""
        with self.source.open(self.files) as paths:
            return self.reader(paths)


def read_label(
    path: Path, image: sitk.Image, image_path: Path, classes: Mapping[str, int], label_values: Mapping[int, int] | None
) -> sitk.Image:
    """Numbers of classes, uint8, on the grid of an image, whose path is for errors; `on_grid_of` turns it to that.

    Args:
        classes: class name -> number.
        label_values: value in the file -> number of a class; None: it holds these numbers.

    Raises:
        FileNotFoundError, ValueError: as `read_volume`; also another size or place, or a value of no class.
    """
    label = on_grid_of(read_volume(path), image, path, image_path.name)
    try:
        return image_on_grid(class_labels(sitk.GetArrayViewFromImage(label), classes, label_values), image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_pair(paths: Mapping[str, Path], image: str, label: str | None, classes: Mapping[str, int]) -> RawVolumes:
    """Image and label from two of the files: a `RawScan.reader` once the names are filled in."""
    volume = read_volume(paths[image])
    return volume, label and read_label(paths[label], volume, paths[image], classes, None)
