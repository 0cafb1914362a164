"""A data set as it was downloaded, an unpacked folder or the zip archive itself, read in one way."""

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

# What file managers leave behind, beside names that start with a dot.
BOMB_BYTES, BOMB_FACTOR = 1 << 30, 200  # archives that unpack to more than that, and to so many times themselves
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "DICOMDIR"})


@dataclass(frozen=True)
class Source:
    """Files below a folder, or members of a zip archive; it travels to processes, so it holds the path only.

    Attributes:
        path: of the folder or the archive.
    """

    path: Path

    @cached_property
    def _stamps(self) -> Mapping[str, str]:
        return _archive_stamps(self.path) if self.is_archive else _folder_stamps(self.path)

    @property
    def is_archive(self) -> bool:
        return self.path.is_file()

    @property
    def names(self) -> Sequence[str]:
        """Paths of all files relative to the source, with slashes, sorted; hidden files are left out."""
        return list(self._stamps)

    def stamp(self, name: str) -> str:
        """Size with time of change (folder) or checksum (archive): changes where the content of the file changes."""
        return self._stamps[name]

    @contextmanager
    def open(self, names: Sequence[str]) -> Iterator[dict[str, Path]]:
        """Name -> file on disk for some of the files; members of an archive exist until the context ends.

        Raises:
            ValueError: the archive is damaged or cannot be unpacked. Errors raised inside the context name members by
                their place in the archive.
        """
        if not self.is_archive:
            yield {name: self.path / name for name in names}
            return
        with tempfile.TemporaryDirectory(prefix="densemp-") as folder:
            try:
                yield _unpack(self.path, names, Path(folder))
            except (FileNotFoundError, ValueError) as error:
                raise type(error)(str(error).replace(f"{folder}{os.sep}", f"{self.path}: ")) from None

    def __getstate__(self) -> dict:
        return {"path": self.path}


def open_source(path: Path) -> Source:
    """The source at a path.

    Raises:
        FileNotFoundError, ValueError: there is nothing, neither a folder nor a zip archive, or no file in it.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; expected the downloaded archive (.zip) or its unpacked folder."
        )
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no whole zip archive; download it again, or unpack it by other means and give the folder."
        )
    source = Source(path)
    if not source.names:
        raise ValueError(f"{path} holds no files; expected the downloaded archive (.zip) or its unpacked folder.")
    return source


def _folder_stamps(path: Path) -> dict[str, str]:
    found = {}
    for parent, folders, files in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not _is_junk(name)]
        for name in files:
            file = Path(parent) / name
            if not _is_junk(name) and file.is_file():
                status = file.stat()
                found[file.relative_to(path).as_posix()] = f"{status.st_size} bytes, {status.st_mtime_ns}"
    return dict(sorted(found.items()))


def _archive_stamps(path: Path) -> dict[str, str]:
    found = {}
    with _reading(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _name_of(member)
            parts = name.split("/")
            if name.startswith("/") or ".." in parts:
                raise ValueError(f"{path} names a file outside itself ({member.filename}); it is not safe to unpack.")
            if not member.is_dir() and not any(_is_junk(part) for part in parts):
                found[name] = f"{member.file_size} bytes, {member.CRC:08x}"
    return dict(sorted(found.items()))


def _unpack(path: Path, names: Sequence[str], folder: Path) -> dict[str, Path]:
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = {_name_of(member): member for member in archive.infolist()}
        needed = sum(members[name].file_size for name in names)
        packed = sum(members[name].compress_size for name in names)
        free = shutil.disk_usage(folder).free
        if needed > free or (needed > BOMB_BYTES and needed > BOMB_FACTOR * packed):
            raise ValueError(
                f"{path}: {names[0]} and what belongs to it unpack to {needed / 2**30:.1f} GiB from "
                f"{packed / 2**20:.1f} MiB, with {free / 2**30:.1f} GiB free in {folder.parent}; make room (TMPDIR), "
                "or download the archive again."
            )
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(members[name]) as packed_file, (folder / name).open("wb") as file:
                shutil.copyfileobj(packed_file, file)
    return {name: folder / name for name in names}


def _name_of(member: zipfile.ZipInfo) -> str:
    """Its name with slashes: some programs write backslashes."""
    return PurePosixPath(member.filename.replace("\\", "/")).as_posix()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of an archive as one sentence."""
    try:
        yield
    except NotImplementedError as error:  # before RuntimeError, of which it is a kind
        raise ValueError(f"{path} is packed in a way that Python cannot read ({error}); unpack it by hand.") from None
    except RuntimeError as error:  # a password
        raise ValueError(f"{path} cannot be unpacked ({error}); unpack it by hand and give the folder.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); download it again.") from None


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in _JUNK
