"""Features of support scans, kept on disk between calls under a hash of all that they depend on."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MOST_ENTRIES = 32  # 1 MiB a slice: about 1.3 GB of scans with 40 slices; the least recently used go first

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
            path.touch()
            return kept
        features = encode()
        try:
            write_checkpoint({"features": features.cpu()}, path)
            prune(self.folder, "*.pth", self.most)
        except OSError as error:
            logger.warning("features are not kept: %s", error)
        return features


def prune(folder: Path, pattern: str, most: int = MOST_ENTRIES) -> None:
    """Remove the files of a folder that were least recently used, but for `most` of them."""
    entries = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    for path in entries[:-most]:
        path.unlink(missing_ok=True)


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
