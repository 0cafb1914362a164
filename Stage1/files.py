"""Files that appear whole or not at all, and their hashes: the one place where both stages write by name."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # in the names of files that are not whole yet


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
        if error.errno is None or error.filename not in (None, str(temporary), str(path), str(path.parent)):
            raise  # it is about something else
        raise OSError(
            f"{path} could not be written ({error.strerror}); make room or give another folder. What was there before "
            "is whole."
        ) from error
    finally:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all; raises as `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> None:
    """Write plain values as JSON, whole or not at all; raises as `whole_file`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def remove_partial(folder: str | Path) -> None:
    """Remove what killed processes left half-written in a folder."""
    for path in Path(folder).glob(f".*{PARTIAL}*"):
        path.unlink(missing_ok=True)


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
