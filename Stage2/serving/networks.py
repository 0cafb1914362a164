"""The adapted networks of a workbench: which one is in use, what it was adapted to, and where the next one begins."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Stage1.files import write_json
from Stage2.adaptation.settings import SUFFIX

KEPT = 5  # networks that a workbench made; older ones are removed


@dataclass(frozen=True)
class Network:
    """An adapted network that segments scans now.

    Attributes:
        file: of tools/adapt.py.
        examples: id of every scan that it was adapted to -> hash of what it learned from it.
        minutes: of processor time that all adaptations on the way took.
    """

    file: Path
    examples: Mapping[str, str]
    minutes: float


class Networks:
    """A folder of adapted networks, which several workbenches may share.

    Args:
        folder: is made when the first network is.
        note: file in which this workbench notes the one in use, and those that it made.

    Raises:
        ValueError: the folder is none.
    """

    def __init__(self, folder: Path, note: Path):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--adapted {folder} is no folder; give one of adapted networks.")
        self.folder, self._note = folder, note

    def current(self) -> Network | None:
        """The one in use: the last that was adapted here, else the newest file; None where there is none."""
        noted = self._read()
        if noted is not None and (self.folder / noted["file"]).is_file():
            return Network(self.folder / noted["file"], noted["examples"], noted["minutes"])
        files = [path for path in self.folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]
        newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
        return None if newest is None else Network(newest, {}, 0.0)

    def take(self, network: Network) -> None:
        """Use a network that was made here from now on, and remove the oldest that were.

        Raises:
            OSError: it cannot be noted.
        """
        noted, name = self._read(), network.file.name
        made = [own for own in ([] if noted is None else noted["made"]) if own != name] + [name]
        content = {"file": name, "examples": dict(network.examples), "minutes": network.minutes, "made": made[-KEPT:]}
        write_json(self._note, content)
        for old in made[:-KEPT]:
            (self.folder / old).unlink(missing_ok=True)

    def file_for(self, job: str) -> Path:
        """Where the network of a job goes."""
        return self.folder / f"job-{job}{SUFFIX}"

    def discard(self, job: str) -> None:
        """Remove what a job that has ended left of a network that it did not finish."""
        file, noted = self.file_for(job), self._read()
        if noted is None or file.name not in noted["made"]:
            for path in self.folder.glob(f"*job-{job}.*"):
                path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        """What was noted, with names of files alone; None where nothing was, or the note is damaged."""
        try:
            content = json.loads(self._note.read_text(encoding="utf-8"))
            names = [content["file"], *content["made"]]
            whole = all(Path(name).name == name for name in names) and isinstance(content["examples"], dict)
            return {**content, "minutes": float(content["minutes"])} if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
