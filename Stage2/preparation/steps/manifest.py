"""manifest.json: what a prepared folder was made from and how, so that a later run can tell other settings."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from Stage1.files import write_text
from Stage2.io.names import MANIFEST

FORMAT = 1  # raise it when an older manifest can no longer be read

_REMEDY = "write to another folder, or make everything anew with --force"


@dataclass
class Manifest:
    """Content of manifest.json.

    Attributes:
        data_set: name of the data set.
        parameters: what decides the content of the files: step and recipe.
        source: where the raw data lay.
        scans: scan id -> {"sources": {name: {"sha256": ..., "stamp": ...}}, "outputs": [names], "versions": {program:
            version}}, of finished scans.
        format: of this file.
    """

    data_set: str
    parameters: Mapping[str, Any]
    source: str
    scans: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write it to a folder, whole or not at all."""
        ordered = {**asdict(self), "scans": {scan_id: self.scans[scan_id] for scan_id in sorted(self.scans, key=int)}}
        write_text(folder / MANIFEST, json.dumps(ordered, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none.

    Raises:
        ValueError: it is damaged, or of another program.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = Manifest(**json.loads(path.read_text()))
        if manifest.format != FORMAT:
            raise ValueError(f"format {manifest.format}")
        for scan in manifest.scans.values():
            _ = scan["sources"].items(), scan["outputs"], scan["versions"].items()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not what this command writes ({error}); {_REMEDY}.") from None
    return manifest


def expect_same_settings(folder: Path, found: Manifest, data_set: str, parameters: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder that was made otherwise.

    Raises:
        ValueError: another data set, step or recipe; the first difference is named.
    """
    ours = {"data_set": data_set, **parameters}
    theirs = {"data_set": found.data_set, **found.parameters}
    for name in [*ours, *(theirs.keys() - ours.keys())]:
        if theirs.get(name) != ours.get(name):
            raise ValueError(
                f"{folder} was made with {name} {_shown(theirs.get(name))}, but asked for is {_shown(ours.get(name))}; "
                f"{_REMEDY}."
            )


def first_changed_source(scan: Mapping[str, Any], stamps: Mapping[str, str], hashes: Mapping[str, str]) -> str | None:
    """What differs between the sources of a finished scan and those at hand; None where they are the same.

    Args:
        scan: its entry in the manifest.
        stamps: name -> stamp now.
        hashes: name -> SHA-256 now, at least of the files whose stamps changed.
    """
    before = scan["sources"]
    for name in sorted(before.keys() | stamps.keys()):
        if name not in before:
            return f"{name} is new"
        if name not in stamps:
            return f"{name} is gone"
        if before[name]["stamp"] != stamps[name] and before[name]["sha256"] != hashes[name]:
            return f"{name} has changed"
    return None


def other_versions(manifest: Manifest) -> dict[str, str]:
    """Program -> version, of programs that made a scan and are now of another version."""
    now = program_versions()
    return {
        name: version
        for scan in manifest.scans.values()
        for name, version in scan["versions"].items()
        if now.get(name) != version
    }


def outputs_there(scan: Mapping[str, Any], folder: Path) -> bool:
    """Whether all files of a finished scan are in the folder."""
    return all((folder / name).is_file() for name in scan["outputs"])


def sources_changed(folder: Path, scan_id: str, what: str) -> ValueError:
    """The error for a finished scan whose sources are no longer those it was made from."""
    return ValueError(f"{folder}: scan {scan_id} was made from other files ({what}); {_REMEDY}.")


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def program_versions(packages: Sequence[str] = ("densemp", "SimpleITK", "numpy", "scikit-image")) -> dict[str, str]:
    """Name -> version of Python and packages."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # densemp run from a checkout without installation
            found[name] = "not installed"
    return found


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
