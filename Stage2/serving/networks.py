"""The adapted networks of a workbench: which one is in use, what it was adapted to, and where the next one begins."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from Stage1.files import write_json
from Stage2.adaptation.settings import SUFFIX

KEPT = 5  # networks; older ones are removed, but for those that another program wrote
_CURRENT = "current.json"


@dataclass(frozen=True)
class Network:
    """An adapted network that segments scans now.

    Attributes:
        file: of tools/adapt.py.
        examples: id of every scan that it was adapted to -> hash of its drawing.
        minutes: of processor time that all adaptations on the way took.
    """

    file: Path
    examples: Mapping[str, str]
    minutes: float


class Networks:
    """A folder of adapted networks.

    Args:
        folder: is made when the first network is.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def current(self) -> Network | None:
        """The one in use: the last that was adapted here, else the newest file; None where there is none."""
        try:
            content = json.loads((self.folder / _CURRENT).read_text(encoding="utf-8"))
            file = self.folder / Path(content["file"]).name
            if file.is_file():
                return Network(file, dict(content["examples"]), float(content["minutes"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none was adapted here, or the note is damaged: the files themselves are looked at
        newest = max(self.folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, default=None)
        return None if newest is None or newest.name.startswith(".") else Network(newest, {}, 0.0)

    def take(self, network: Network) -> None:
        """Use a network from now on, and remove the oldest that were made here.

        Raises:
            OSError: it cannot be noted.
        """
        write_json(self.folder / _CURRENT, {**asdict(network), "file": network.file.name})
        made = sorted(self.folder.glob(f"job-*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        for path in made[:-KEPT]:
            path.unlink(missing_ok=True)

    def file_for(self, job: str) -> Path:
        """Where the network of a job goes."""
        return self.folder / f"job-{job}{SUFFIX}"
