"""Label maps that people send: checked against their scan, and kept in its own grid and header with all versions."""

import gzip
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.inference.masks import MOST_VALUES
from Stage2.io.grid import check_same_grid, check_same_size, grid_of, turned_to
from Stage2.io.nifti import read_header
from Stage2.io.volumes import read_volume
from Stage2.serving.pictures import geometry_of

LARGEST_LABEL = 255
_GZIP = b"\x1f\x8b"


def checked_drawing(path: Path, scan: Path, scan_name: str) -> np.ndarray:
    """Voxels of a label map on the grid of its scan, (Z, H, W) uint8.

    Args:
        path: what was sent, .nii or .nii.gz.
        scan: NIfTI file of the scan; only its header is read.
        scan_name: for messages.

    Raises:
        ValueError: it is damaged, lies on another grid, or holds something else than labels from 0 to 255.
    """
    header, grid = read_header(path), read_header(scan).grid
    if sorted(header.size) != sorted(grid.size):  # before its voxels are unpacked
        check_same_size("the drawing", header.size, scan_name, grid.size)
    image = read_volume(path)
    turned = turned_to(image, geometry_of(scan))
    check_same_grid("the drawing", grid_of(turned), scan_name, grid)
    voxels = sitk.GetArrayViewFromImage(turned)
    values = values_of(voxels)
    wrong = [value for value in values if value != int(value) or not 0 <= value <= LARGEST_LABEL]
    if wrong or len(values) > MOST_VALUES:
        found = f"a value of {wrong[0]:.4g}" if wrong else f"{len(values)} values, as an image has"
        raise ValueError(f"the drawing has {found}; expected whole numbers from 0 to {LARGEST_LABEL}, one an organ.")
    return voxels.astype(np.uint8)


def values_of(voxels: np.ndarray) -> list[float | int]:
    """The values in a label map, ascending; slice by slice, as it may be large."""
    found: set[float | int] = set()
    for one in voxels:
        found.update(np.unique(one).tolist())
    return sorted(found)


def as_sent(content: Path) -> Path:
    """A file that was sent under the ending that its content has: .nii.gz or .nii."""
    with content.open("rb") as file:
        packed = file.read(2) == _GZIP
    named = content.with_name(content.name + (".nii.gz" if packed else ".nii"))
    content.rename(named)
    return named


def same_voxels(path: Path, voxels: np.ndarray) -> bool:
    """Whether a file holds these voxels."""
    return path.is_file() and np.array_equal(sitk.GetArrayFromImage(read_volume(path)), voxels)


def keep_version(path: Path, versions: Path) -> Path | None:
    """Keep what stands at a path under its time in a folder of versions; the file itself stays where it is.

    Returns:
        where it is kept; None where nothing stood there.

    Raises:
        OSError: it cannot be kept.
    """
    if not os.path.lexists(path):
        return None
    versions.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = versions / f"{moment}_{path.name}"
    if path.is_symlink() or not path.is_file():
        path.rename(kept)  # a link or a folder of this name: moved as it is, never followed
        return kept
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
    return kept


def stored_pieces(path: Path) -> Iterable[bytes]:
    """A .nii file as the bytes of a .nii.gz, stored without compression, piece by piece."""
    with path.open("rb") as file:
        packer = _Pieces()
        with gzip.GzipFile("", "wb", 0, packer, mtime=0) as packed:
            while piece := file.read(1 << 20):
                packed.write(piece)
                yield packer.take()
        yield packer.take()


class _Pieces:
    """What a packer wrote since it was last asked."""

    def __init__(self):
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
