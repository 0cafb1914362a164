"""What every raw data set becomes before it is processed: scans with a number and a way to read them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

RawVolumes = tuple[sitk.Image, sitk.Image | None]


@dataclass(frozen=True)
class RawScan:
    """One scan of a raw data set; it travels to a process, so `read` must be one that can be pickled.

    Attributes:
        id: number of the scan in the processed folder, as text.
        sources: the files that it is read from (members of an archive: the archive itself).
        read: () -> image and label on one grid, in patient coordinates; no label where the data set has none for it.
            Raises FileNotFoundError or ValueError with file, found, expected, remedy.
    """

    id: str
    sources: tuple[Path, ...]
    read: Callable[[], RawVolumes]
