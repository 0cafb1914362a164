"""Training scans whose slices stay on disk: memory grows neither with the cohort nor with the loader's workers.

A processed folder's compressed volumes are written once as plain arrays, from which a slice is mapped when an episode
needs it. What is written depends on the files alone, so that folds, runs and workers share it.
"""

import errno
import fcntl
import hashlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from Stage1.files import PARTIAL, locked, whole_file
from Stage2.datasets.catalog import DataSet
from Stage2.datasets.volumes import (
    SLICE_SIZE,
    Scan,
    Statistics,
    check_supervoxels,
    own_statistics,
    read_image,
    read_label,
    read_superpixels,
    read_supervoxels,
)
from Stage2.io.names import SUFFIX, image_path, label_path, superpixel_path, supervoxel_path

CACHE = "cache"  # folder inside a processed folder
TEMPORARY = "densemp-slices-"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MappedSlices:
    """Slices (Z, 256, 256) in an .npy file; the file is mapped while a slice is read, and nothing of it is kept.

    Attributes:
        path: of the array, (Z, H, W) with H, W of 256 or more.
        n_slices: Z.
        statistics: normalise what is read to float32 by these; None: as stored.
    """

    path: Path
    n_slices: int
    statistics: Statistics | None = None

    def __len__(self) -> int:
        return self.n_slices

    def __getitem__(self, z: int) -> np.ndarray:
        if not -self.n_slices <= z < self.n_slices:
            raise IndexError(f"slice {z} of {self.n_slices}")  # ends an iteration
        try:
            stored = np.load(self.path, mmap_mode="r")[z, :SLICE_SIZE, :SLICE_SIZE]
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise OSError(f"{self.path} cannot be read ({error}); delete it: the next run makes it anew.") from error
        if self.statistics is None:
            return np.array(stored)
        return (stored - np.float32(self.statistics.mean)) / np.float32(self.statistics.std)


class SliceCache:
    """A folder of plain arrays made from the volumes of a processed folder; several runs and data sets can share it.

    Args:
        folder: where they are kept; None: below the processed folder, or in a temporary place where that cannot be
            written to.
        data_folder: the processed folder.
    """

    def __init__(self, folder: Path | None, data_folder: Path):
        self._temporary: tempfile.TemporaryDirectory | None = None
        self.folder = folder or data_folder / CACHE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))
        except OSError as error:
            if folder is not None:
                raise OSError(
                    f"{folder} cannot be written to ({error.strerror}); name another path.cache_dir, or none."
                ) from error
            _remove_abandoned_folders()
            self._temporary = tempfile.TemporaryDirectory(prefix=TEMPORARY)  # goes with this object
            self.folder = Path(self._temporary.name)
            self._lock = locked(self.folder)  # as long as this object lives
            self._lock.__enter__()
            logger.info("%s cannot be written to: slices are kept in %s for this run", data_folder, self.folder)
        _remove_abandoned_files(self.folder)

    def array(self, sources: list[Path], make: Callable[[], np.ndarray], meaning: str = "") -> tuple[Path, int]:
        """File with an array, made where none can be read yet or its sources have changed, and its number of slices.

        Args:
            sources: files that the array depends on; the first one gives it its name.
            make: reads and checks them, and returns the array, (Z, H, W).
            meaning: whatever else the array depends on.
        """
        what = f"{sources[0].resolve().parent}|{meaning}"
        name = f"{sources[0].name.removesuffix(SUFFIX)}-{_hash(what)}"
        path = self.folder / f"{name}-{_hash(_state_of(sources))}.npy"
        if _slices_in(path) is None:
            array = make()
            with whole_file(path) as temporary, temporary.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                content = io.BytesIO()  # numpy's own writing to a file hides why it failed
                np.save(content, array)
                file.write(content.getbuffer())
            for outdated in set(self.folder.glob(f"{name}-*.npy")) - {path}:
                outdated.unlink(missing_ok=True)
        return path, _slices_in(path)


def _slices_in(path: Path) -> int | None:
    """Number of slices in an array file; None where there is no whole one."""
    try:
        return len(np.load(path, mmap_mode="r"))
    except (OSError, ValueError, EOFError):
        return None


def _remove_abandoned_folders() -> None:
    """Remove temporary places of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        with suppress(OSError), locked(folder):  # its process is at work, or it is somebody else's
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned_files(folder: Path) -> None:
    """Remove arrays that killed processes have left half-written; those that are being written are locked."""
    for path in folder.glob(f".*{PARTIAL}.npy"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def map_scan(
    folder: Path, scan_id: str, statistics: Statistics | None, cache: SliceCache, *,
    superpixel_scale: str | None = None, supervoxel_scale: str | None = None, with_label: bool = False,
    data_set: DataSet | None = None,
) -> Scan:  # fmt: skip
    """The scan that `load_scan` reads, with the same slices, mapped from a cache; arguments and errors are its."""
    source = image_path(folder, scan_id)
    stored, n_slices = cache.array([source], lambda: read_image(folder, scan_id))
    whole = np.load(stored, mmap_mode="r")
    shape = whole.shape
    statistics = statistics or own_statistics(whole, source)
    del whole  # and with it the pages that were read
    label = None
    if with_label:
        table = "" if data_set is None else f"{data_set.classes} {data_set.label_values}"
        label = MappedSlices(
            *cache.array(
                [label_path(folder, scan_id), source],
                lambda: read_label(folder, scan_id, data_set),
                table,
            )
        )
    superpixels = supervoxels = None
    if superpixel_scale is not None:
        sources = [superpixel_path(folder, scan_id, superpixel_scale), source]
        read = partial(read_superpixels, folder, scan_id, superpixel_scale, shape)
        superpixels = MappedSlices(*cache.array(sources, lambda: _small(read())))
    if supervoxel_scale is not None:
        check_supervoxels(folder, scan_id, supervoxel_scale, data_set)  # also of an array that is there already
        sources = [supervoxel_path(folder, scan_id, supervoxel_scale), source]
        read = partial(read_supervoxels, folder, scan_id, supervoxel_scale, shape)
        supervoxels = MappedSlices(*cache.array(sources, lambda: _small(read())))
    return Scan(scan_id, MappedSlices(stored, n_slices, statistics), label, superpixels, supervoxels)


def _state_of(sources: list[Path]) -> str:
    """Changes with the size and the time of change of any source; an absent one is left to whoever reads it."""
    states = [(source.name, source.stat()) for source in sources if source.is_file()]
    return "|".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _small(segments: np.ndarray) -> np.ndarray:
    """Segment numbers in two bytes where they fit, as they nearly always do."""
    return segments.astype(np.uint16) if segments.min() >= 0 and segments.max() < 1 << 16 else segments
