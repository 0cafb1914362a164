"""Files that appear whole or not at all, and folders with one writer: the one place where both stages write by name."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # in the names of files that are not whole yet
LOCK = ".lock"  # in a folder: names the process that works there


@contextmanager
def whole_file(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, with the same ending, that takes its name when the block ends without an error.

    What stood at `path` stays as it was until then. The block writes a file, or makes a folder or a link.

    Args:
        path: what to write; its folder is made where it is absent.
        durable: the content reaches the disk before the name does, so that a machine that stops keeps the old file or
            the new one; for what took long to make.

    Raises:
        OSError: it cannot be written, in one sentence with the name of the file.
    """
    path = Path(path)
    ending = "".join(path.suffixes[-2:])
    stem = path.name.removesuffix(ending)
    temporary = path.with_name(f".{stem}.{os.getpid()}{PARTIAL}{ending}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, *map(str, (temporary, path, *path.parents))):
            raise  # it is about something else
        raise OSError(
            f"{path} could not be written ({error.strerror}); make room or give another folder. What was there before "
            "is whole."
        ) from error
    finally:
        with suppress(NotADirectoryError):  # a file stands where its folder should be
            _remove(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all; raises as `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> None:
    """Write plain values as JSON, whole or not at all; raises as `whole_file`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def expect_writable(folder: Path) -> None:
    """Make a folder of outputs, and tell before minutes are spent where it cannot be written.

    Raises:
        OSError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"{folder} could not be written ({error.strerror}); give another folder.") from None


def remove_partial(folder: str | Path) -> None:
    """Remove what killed processes left half-written in a folder; for the one process that works there."""
    for path in Path(folder).glob(f".*{PARTIAL}*"):
        _remove(path)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other processes out of a folder until the block ends or this process does, however it ends.

    What they must keep out of is whatever calls this too; the folder is made where it is absent.

    Raises:
        OSError: another process works there, which the message names, or the folder cannot be written.
    """
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = path.open("a+", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    break
            file.close()  # the one before took its file away in between
    except BlockingIOError:
        file.seek(0)
        holder = file.read() or "another process"
        file.close()
        raise OSError(f"{holder} works in {folder}; wait until it ends, stop it, or give another folder.") from None
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error.strerror}); make room or give another folder.") from error
    try:
        with suppress(OSError):  # a full disk will be told of by what cannot be written
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(text: object) -> str:
    """Text with escapes, such as \\xe9, for the bytes of file names that are not UTF-8; others stay as they are."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):  # the error that matters is that of the writing
            path.unlink()
