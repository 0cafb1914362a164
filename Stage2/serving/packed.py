"""NIfTI files as the bytes of a .nii.gz, whatever they are called: as they are, or packed on the way."""

import gzip
from collections.abc import Iterable
from pathlib import Path

from Stage1.files import whole_file

_GZIP = b"\x1f\x8b"


def is_packed(path: Path) -> bool:
    """Whether a file is packed by gzip, by its content. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def packed_bytes(path: Path) -> bytes:
    """All bytes of a NIfTI file, packed; the same file gives the same bytes. Raises OSError."""
    content = path.read_bytes()
    return content if content.startswith(_GZIP) else gzip.compress(content, 4, mtime=0)


def copy_packed(source: Path, path: Path) -> None:
    """Copy a NIfTI file to a .nii.gz, whole or not at all. Raises OSError as `whole_file`."""
    with whole_file(path, durable=True) as temporary:
        temporary.write_bytes(packed_bytes(source))


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
