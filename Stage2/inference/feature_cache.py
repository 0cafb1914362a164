"""Features of scans under a hash of what they depend on: kept on disk between calls, or in memory within one."""

import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MOST_ENTRIES = 32  # 1 MiB a slice: about 1.3 GB of scans with 40 slices; the least recently used go first
MOST_BYTES = 2 << 30  # in memory, 1 MiB a slice: about 50 scans of CHAOS, 15 of SABS

logger = logging.getLogger(__name__)


def default_cache() -> Path | None:
    """Where features are kept unless a folder is named: below the user's cache folder; None: nobody knows where."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "densemp" / "features"
    except RuntimeError:  # neither HOME nor an entry in the table of users
        return None


def hash_of(*parts: object) -> str:
    """SHA-256 of texts, numbers and arrays, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


class FeatureCache:
    """A folder of features.

    Args:
        folder: made when something is kept; None: nothing is kept.
        most: entries to keep.
    """

    def __init__(self, folder: Path | None, most: int = MOST_ENTRIES):
        self.folder = folder
        self.most = most

    def features(self, key: str, encode: Callable[[], "Tensor"]) -> "Tensor":
        """What is kept under a key, else what `encode` gives, which is then kept; (Z, C, h, w) on the CPU.

        A damaged entry is made anew; a cache that cannot be written is passed over with a warning.
        """
        if self.folder is None:
            return encode()
        from Stage1.weights.checkpoints import write_checkpoint

        path = self.folder / f"{key}.pth"
        kept = _read(path)
        if kept is not None:
            mark_used(path)
            return kept
        features = encode()
        try:
            write_checkpoint({"features": features.cpu()}, path)
            prune(self.folder, "*.pth", self.most)
        except OSError as error:
            logger.warning("features are not kept: %s", error)
        return features


class FeatureMemory:
    """Encodes slices (Z, H, W) to features (Z, C, h, w), each volume once as long as it is remembered.

    Args:
        encode: the encoder, of one network and one way to call it.
        most_bytes: that features may take; the least recently used go first, those just asked for stay.
    """

    def __init__(self, encode: Callable[[np.ndarray], "Tensor"], most_bytes: int = MOST_BYTES):
        self._encode = encode
        self.most_bytes = most_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, slices: np.ndarray) -> "Tensor":
        key = hash_of(slices)
        if key not in self._kept:
            self._kept[key] = self._encode(slices)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self.n_bytes > self.most_bytes:
            self._kept.popitem(last=False)
        return self._kept[key]

    @property
    def n_bytes(self) -> int:
        """What the remembered features take."""
        return sum(features.nbytes for features in self._kept.values())


def prune(folder: Path, pattern: str, most: int = MOST_ENTRIES) -> None:
    """Remove the files of a folder that were least recently used, but for `most`; other processes may do so too."""

    def used(path: Path) -> int:
        try:
            return path.stat().st_mtime_ns
        except FileNotFoundError:  # another process has just removed it
            return 0

    for path in sorted(folder.glob(pattern), key=used)[:-most]:
        path.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Keep a file from being the next to be removed; one that is gone or only to be read stays so."""
    with suppress(OSError):
        os.utime(path)


def _read(path: Path) -> "Tensor | None":
    from Stage1.weights.checkpoints import read_checkpoint

    if not path.is_file():
        return None
    try:
        kept = read_checkpoint(path).get("features")
    except ValueError:
        kept = None
    if getattr(kept, "ndim", 0) != 4:
        logger.warning("%s is damaged and made anew", path)
        return None
    return kept
