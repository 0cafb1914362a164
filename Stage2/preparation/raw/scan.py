"""What every raw data set becomes before it is processed: scans with a number and a way to read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

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
