"""Sacred's file observer with files that are whole at any moment, also after kill -9 or on a full disk."""

import json
import logging
from pathlib import Path
from typing import Any

from sacred.dependencies import get_digest
from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from Stage1.files import whole_file, write_text
from Stage2.run_folders.layout import SCALARS

logger = logging.getLogger(__name__)


class RunFolderObserver(FileStorageObserver):
    """Writes config.json, run.json and metrics.json of a run whole or not at all."""

    def started_event(self, *args: Any, **kwargs: Any) -> Any:
        self._scalars: dict[str, dict[str, list]] = {}
        self._started = False
        answer = super().started_event(*args, **kwargs)
        self._started = True
        return answer

    def failed_event(self, *args: Any, **kwargs: Any) -> None:
        if self._started:  # sacred would fail anew where the run folder could not be made
            super().failed_event(*args, **kwargs)

    def find_or_save(self, filename: str, store_dir: str) -> Path:
        """Keep a source file under its hash, whole or not at all."""
        source = Path(filename)
        stored = Path(store_dir) / f"{source.stem}_{get_digest(source)}{source.suffix}"
        if not stored.exists():
            with whole_file(stored) as temporary:
                temporary.write_bytes(source.read_bytes())
        return stored

    def save_json(self, obj: Any, filename: str) -> None:
        """Write a JSON file.

        A file that cannot be written later in a run keeps its last content, with a warning: the next heartbeat tries
        again, and sacred would give up the observer, and with it the status in run.json, at the first failure.
        """
        try:
            write_text(Path(self.dir) / filename, json.dumps(flatten(obj), sort_keys=True, indent=2))
        except OSError as error:
            if not self._started:
                raise
            logger.warning("%s", error)

    def save_cout(self) -> None:
        try:
            super().save_cout()
        except OSError as error:
            if not self._started:
                raise
            logger.warning("%s/cout.txt could not be written (%s)", self.dir, error.strerror)

    def log_metrics(self, metrics_by_name: dict[str, dict[str, list]], info: Any) -> None:
        """Add measurements to metrics.json, in sacred's layout; those of a failed write come with the next one."""
        for name, new in metrics_by_name.items():
            table = self._scalars.setdefault(name, {"values": [], "steps": [], "timestamps": []})
            table["values"] += new["values"]
            table["steps"] += new["steps"]
            table["timestamps"] += [moment.isoformat() for moment in new["timestamps"]]
        self.save_json(self._scalars, SCALARS)
