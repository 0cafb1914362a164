"""What every reader does about files it cannot trust: one line for any error, sizes that fit, names of any bytes."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MAX_VOXELS = 1 << 30  # of a volume: 1024 slices of 1024 x 1024; no scan that a network of 256 x 256 sees is larger
_MEMORY = Path("/proc/meminfo")


@contextmanager
def one_line(path: Path, remedy: str = "copy or download it again") -> Iterator[None]:
    """Turn what a library raises about a file into an error of one line that names the file.

    Raises:
        FileNotFoundError, ValueError: as raised inside, where they name the file; else a ValueError.
    """
    try:
        yield
    except MemoryError as error:
        raise ValueError(f"{path} does not fit into memory; crop it, or use a machine with more.") from error
    except Exception as error:
        if isinstance(error, FileNotFoundError | ValueError) and str(path) in str(error):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[-160:] or type(error).__name__
        shown = "" if type(error) is RuntimeError else f" ({reason})"  # of ITK: addresses and names of its classes
        raise ValueError(f"{path} is truncated or damaged{shown}; {remedy}.") from error


def expect_fits(path: Path | str, size: Sequence[int], bytes_per_voxel: int) -> None:
    """Refuse a size that a header claims before anything of it is read.

    Raises:
        ValueError: more than MAX_VOXELS, or two copies are more than the memory that is free.
    """
    expect_few(path, size)
    voxels, shown = math.prod(size), " x ".join(map(str, size))
    needed, free = 2 * voxels * bytes_per_voxel, _free_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"{path} has {shown} voxels by its header, which need {needed / 2**30:.1f} GiB of memory, but "
            f"{free / 2**30:.1f} GiB are free; crop it, or use a machine with more."
        )


def expect_few(path: Path | str, size: Sequence[int]) -> None:
    """Refuse a size of more than MAX_VOXELS, as a ValueError."""
    if math.prod(size) > MAX_VOXELS:
        shown = " x ".join(map(str, size))
        raise ValueError(f"{path} has {shown} voxels by its header; expected up to {MAX_VOXELS}: crop or resample it.")


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


@contextmanager
def plain_name(path: Path) -> Iterator[str]:
    """A name of a file that ITK can open: its own, or, where that is no UTF-8, one of a link with the same ending."""
    try:
        str(path).encode()
        yield str(path)
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="densemp-") as folder:
            link = Path(folder) / f"file{''.join(path.suffixes[-2:]).encode('ascii', 'ignore').decode()}"
            link.symlink_to(path.absolute())
            yield str(link)
