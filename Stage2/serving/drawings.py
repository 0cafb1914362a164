"""Label maps that people send: checked against their scan, and kept in its own grid and header with all versions."""

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.inference.masks import MOST_VALUES, UNKNOWN
from Stage2.io.grid import MAX_SHIFT, check_same_grid, check_same_size, distance_of, grid_of, turned_to
from Stage2.io.nifti import read_header
from Stage2.io.volumes import read_volume, write_volume
from Stage2.serving.folder import hash_of_states
from Stage2.serving.packed import is_packed
from Stage2.serving.pictures import facts_of, geometry_of
from Stage2.serving.refusals import refusing


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
    wrong = [value for value in values if value != int(value) or not 0 <= value <= UNKNOWN]
    if wrong or len(values) > MOST_VALUES:
        found = f"a value of {wrong[0]:.4g}" if wrong else f"{len(values)} values, as an image has"
        raise ValueError(f"the drawing has {found}; expected whole numbers from 0 to {UNKNOWN}, one an organ.")
    return voxels.astype(np.uint8)


def sent_voxels(sent: Path, volume: Path, scan_name: str, slices: Sequence[int] | None) -> np.ndarray:
    """Voxels of a label map that a client sent, as `checked_drawing`.

    Args:
        sent: the file, without an ending; it is removed.
        volume: NIfTI file of the scan.
        scan_name: for messages.
        slices: that the client names as drawn; None: all.

    Raises:
        Refusal: it does not fit the scan, a slice is none of the scan's, or every voxel drawn is of no organ.
    """
    named = as_sent(sent)
    try:
        with refusing(named, "the drawing"):
            facts = facts_of(volume)
            depth = facts.shape[facts.slice_axis]
            wrong = [place for place in slices or () if not 0 <= place < depth]
            if wrong:
                raise ValueError(f"slice {wrong[0]} is named as drawn; {scan_name} has slices 0 to {depth - 1}.")
            voxels = checked_drawing(named, volume, scan_name)
            if voxels.any() and not organs_in(voxels):
                raise ValueError(f"the drawing has {UNKNOWN} alone, which means unknown; draw an organ too.")
            return voxels
    finally:
        named.unlink(missing_ok=True)


def to_scan(path: Path, volume: Path, scan_name: str, folder: Path) -> Path:
    """A label map as uint8 on the grid of its scan: the file itself where it is so, else one that is made of it once.

    Args:
        path: of the label map.
        volume: NIfTI file of the scan.
        scan_name: for messages.
        folder: of what is made of this scan, as it is now.

    Raises:
        FileNotFoundError, ValueError: as `checked_drawing`.
        OSError: it cannot be written.
    """
    header, grid = read_header(path), read_header(volume).grid
    is_plain = header.raw.get_data_dtype() == np.uint8 and header.raw.get_slope_inter() in ((1, 0), (None, None))
    if is_plain and header.size == grid.size and distance_of(header.grid, grid) <= MAX_SHIFT * min(grid.spacing):
        return path
    made = folder / f"drawing-{hash_of_states([path])}.nii.gz"
    if not made.is_file():
        voxels = checked_drawing(path, volume, scan_name)
        for old in folder.glob("drawing-*.nii.gz"):
            old.unlink()
        write_volume(made, voxels, volume)
    return made


def values_of(voxels: np.ndarray) -> list[float | int]:
    """The values in a label map, ascending; slice by slice, as it may be large."""
    found: set[float | int] = set()
    for one in voxels:
        found.update(np.unique(one).tolist())
    return sorted(found)


def organs_in(voxels: np.ndarray) -> list[int]:
    """The labels in a label map, ascending, without background and what is unknown."""
    return [int(value) for value in values_of(voxels) if value not in (0, UNKNOWN)]


def as_sent(content: Path) -> Path:
    """A file that was sent under the ending that its content has: .nii.gz or .nii."""
    named = content.with_name(content.name + (".nii.gz" if is_packed(content) else ".nii"))
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
