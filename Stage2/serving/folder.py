"""The scans of a folder, each under a name that is safe in an address, and nothing outside the folder."""

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from Stage2.io.dicom import holds_dicom
from Stage2.io.names import masks_among
from Stage2.io.nifti import NIFTI_SUFFIXES
from Stage2.io.scans import ScanFile
from Stage2.io.text import one_line

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Scan:
    """A scan of the folder.

    Attributes:
        id: its name in addresses; stays the same as long as the file keeps its name.
        file: where it is.
        error: why it is not used, in one line; None where nothing is wrong.
    """

    id: str
    file: ScanFile
    error: str | None = None

    @property
    def name(self) -> str:
        """As people see it."""
        return one_line(self.file.name)

    @property
    def kind(self) -> str:
        return "nifti" if self.file.is_nifti else "dicom"

    @property
    def plain_name(self) -> str:
        """For names of files that are sent: its own where every reader bears that, else its id; no two are alike."""
        return self.name if self.name == self.file.name else self.id

    def fingerprint(self) -> str:
        """Changes when the scan does: names, sizes and times of its files; masks beside a series are none of them.

        Raises:
            OSError: it is not there any more.
        """
        paths = [self.file.path]
        if self.file.path.is_dir():
            paths = sorted(path for path in self.file.path.iterdir() if not _is_beside_series(path.name))
        return hash_of_states(paths)


def scans_of(root: Path) -> list[Scan]:
    """NIfTI files and folders with a DICOM series in a folder, by name; masks of others and hidden entries left out.

    A folder that is a series itself is its only scan. What lies outside of it, which a link can point to, and a second
    scan of one name have an error.

    Args:
        root: resolved.
    """
    if holds_dicom(root):
        return [_scan(root, root, {})]
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    files = [
        ScanFile(entry)
        for entry in entries
        if (entry.is_file() and entry.name.endswith(NIFTI_SUFFIXES)) or (entry.is_dir() and holds_dicom(entry))
    ]
    masks = masks_among(file.name for file in files)
    found: dict[str, Scan] = {}
    for file in files:
        if file.is_nifti and file.name in masks:
            continue
        scan = _scan(root, file.path, found)
        found[scan.id] = scan
    return list(found.values())


def last_changes(root: Path) -> object:
    """Differs once a scan has come or gone: when the folder last changed, and each folder in it.

    Raises:
        OSError: the folder is not there any more.
    """
    with os.scandir(root) as entries:
        inner = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        changes = []
        for entry in inner:
            with suppress(OSError):  # it went in between
                changes.append((entry.name, entry.stat().st_mtime_ns))
    return root.stat().st_mtime_ns, tuple(sorted(changes))


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path, after all links, is the folder or lies in it."""
    return Path(os.path.realpath(path)).is_relative_to(root)


def hash_of_states(paths: Sequence[Path]) -> str:
    """Changes when a file does: hash of names, sizes and times. Raises OSError where one is not there."""
    seen = [(path.name, (found := path.stat()).st_size, found.st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def short_hash(name: str) -> str:
    """Eight characters that stand for the name of a file."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def _is_beside_series(name: str) -> bool:
    return name.startswith(".") or name.endswith(NIFTI_SUFFIXES)


def _scan(root: Path, path: Path, others: dict[str, Scan]) -> Scan:
    file = ScanFile(path)
    digest = short_hash(path.name)
    own = file.name if _PLAIN.fullmatch(file.name) else f"{re.sub('[^A-Za-z0-9]+', '-', file.name)[:40]}-{digest}"
    own = own.lstrip("-")
    twin = next((scan for scan in others.values() if scan.file.name == file.name), None)
    error = None
    if twin is not None or own in others:
        own = f"{own}-{digest}"
        error = f"two scans are called {one_line(file.name)}; rename one of them."
    inner = path.iterdir() if path.is_dir() else ()
    if not all(is_inside(root, one) for one in (path, *inner)):
        error = "it lies outside of the folder, where a link points to; copy it into the folder."
    return Scan(own, file, error)
