"""manifest.json: what a prepared folder was made from and how, so that a later run can tell other settings."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from Stage1.files import write_json
from Stage2.io.names import MANIFEST

FORMAT = 1  # raise it when an older manifest can no longer be read
REMEDY = "write to another folder, or make everything anew with --force"


@dataclass
class Manifest:
    """Content of manifest.json.

    Attributes:
        data_set: name of the data set.
        parameters: what decides the content of the files: step, transform, orientation and values of labels. Folders
            made by earlier versions lack the last two.
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
        scans = {scan_id: self.scans[scan_id] for scan_id in sorted(self.scans, key=int)}
        write_json(folder / MANIFEST, {**asdict(self), "scans": scans})

    def expect_settings(self, folder: Path, data_set: str, parameters: Mapping[str, Any]) -> None:
        """Refuse to go on in a folder that was made otherwise.

        Raises:
            ValueError: another data set, step or parameter; the first difference is named. One that is given now but
                was not kept then is a difference.
        """
        ours, theirs = ({"data_set": n, **p} for n, p in ((data_set, parameters), (self.data_set, self.parameters)))
        for name in {**ours, **theirs}:
            old, new = ("none" if side.get(name) is None else side[name] for side in (theirs, ours))
            if old != new:
                old = old if name in theirs else "unknown"
                raise ValueError(f"{folder} was made with {name} {old}, but asked for is {new}; {REMEDY}.")

    def other_versions(self) -> dict[str, str]:
        """Program -> version, of programs that made a scan and are now of another version."""
        made = [item for scan in self.scans.values() for item in scan["versions"].items()]
        now = program_versions()
        return {name: version for name, version in made if now.get(name) != version}


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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not what this command writes ({error}); {REMEDY}.") from None
    return manifest


def program_versions(packages: Sequence[str] = ("densemp", "SimpleITK", "numpy", "scikit-image")) -> dict[str, str]:
    """Name -> version of Python and packages."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # densemp run from a checkout without installation
            found[name] = "not installed"
    return found
