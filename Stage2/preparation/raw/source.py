"""A data set as it was downloaded, an unpacked folder or the zip archive itself, read in one way."""

import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from Stage1.files import PARTIAL

# What file managers leave behind, beside names that start with a dot.
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "DICOMDIR"})
# Of what is unpacked at once, the files of one scan: bytes, and bytes for each packed one, where deflate reaches 1032.
MAX_BYTES, MAX_RATIO = 4 << 30, 1100


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
    def open(self, names: Sequence[str], place: Path | None = None) -> Iterator[dict[str, Path]]:
        """Name -> file on disk for some of the files; members of an archive exist until the context ends.

        Args:
            names: of the files.
            place: folder to unpack in, where what a killed run leaves is seen as such; None: that of temporary files.

        Raises:
            ValueError: the archive is damaged, cannot be unpacked, or unpacks to too much. Errors raised inside the
                context name members by their place in the archive.
            OSError: there is no room for its members.
        """
        if not self.is_archive:
            yield {name: self.path / name for name in names}
            return
        with tempfile.TemporaryDirectory(PARTIAL, ".unpacked.", place) as folder:
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
            if not _is_junk(name) and (file.is_file() or file.is_symlink()):  # one to nowhere is told when it is read
                status = file.stat() if file.exists() else file.lstat()
                found[file.relative_to(path).as_posix()] = f"{status.st_size} bytes, {status.st_mtime_ns}"
    return dict(sorted(found.items()))


def _archive_stamps(path: Path) -> dict[str, str]:
    found = {}
    with _reading(path), zipfile.ZipFile(path) as archive:
        for name, member in _members(path, archive).items():
            if not any(_is_junk(part) for part in name.split("/")):
                found[name] = f"{member.file_size} bytes, {member.CRC:08x}"
    return dict(sorted(found.items()))


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name with slashes -> file of an archive; some programs write backslashes.

    Raises:
        ValueError: a name leads out of the folder that the archive is unpacked to.
    """
    found = {}
    for member in archive.infolist():
        name = member.filename.replace("\\", "/").removeprefix("./")
        if name.startswith("/") or ".." in name.split("/") or name[1:3] == ":/":
            raise ValueError(
                f"{path} holds {name}, which leads out of the folder it is unpacked to; do not trust it: download it "
                "from its first source, or unpack it by hand and give the folder."
            )
        if not name.endswith("/"):
            found[name] = member
    return found


def _unpack(path: Path, names: Sequence[str], folder: Path) -> dict[str, Path]:
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = {name: member for name, member in _members(path, archive).items() if name in names}
        needed = sum(member.file_size for member in members.values())
        packed = sum(member.compress_size for member in members.values())
        if needed > MAX_BYTES or (needed > 1 << 20 and needed > MAX_RATIO * packed):
            raise ValueError(
                f"{path}: {names[0]} and what belongs to it unpack from {packed} to {needed} bytes; expected up to "
                f"{MAX_BYTES}, and {MAX_RATIO} times as many as packed: unpack it by hand and give the folder."
            )
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OSError(f"{path}: {names[0]} unpacks to {needed} bytes, but {folder.parent} has {free}; make room.")
        for name, member in members.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        return {name: folder / name for name in names}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of an archive as one sentence."""
    try:
        yield
    except NotImplementedError as error:  # before RuntimeError, of which it is a kind
        raise ValueError(f"{path} is packed in a way that Python cannot read ({error}); unpack it by hand.") from None
    except RuntimeError as error:  # a password
        raise ValueError(f"{path} cannot be unpacked ({error}); unpack it by hand and give the folder.") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); download it again.") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f"{path} could not be unpacked ({error.strerror}); make room, or unpack it by hand.") from error


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in _JUNK
