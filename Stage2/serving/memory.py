"""What a workbench remembers of its labels and scans: plain values in one file, written whole with every change."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Stage1.files import write_json
from Stage2.serving.labels import Label, read_labels, with_values

VERSION = 1


class Memory:
    """What is remembered; what changes it is called with the store's lock held.

    Args:
        path: of the file; it need not be there.
        most_labels: that it may hold.

    Raises:
        ValueError: the file is damaged, or of another version.
    """

    def __init__(self, path: Path, most_labels: int):
        self._path, self._content = path, {"version": VERSION, "labels": [], "scans": {}}
        if not path.exists():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}")
            read_labels(content["labels"], most_labels)
            self._content |= {"labels": content["labels"], "scans": dict(content["scans"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged or of another version ({error}); move it away.") from None

    def labels(self) -> list[Label]:
        """By value."""
        return [Label(**own) for own in self._content["labels"]]

    def set_labels(self, labels: Sequence[Label]) -> None:
        """Remember these labels, in place of those before."""
        self._content["labels"] = [own.plain() for own in labels]
        self._write()

    def learn_labels(self, values: Sequence[int]) -> None:
        """Name those of some values of masks that no label has."""
        labels = self.labels()
        if len(more := with_values(labels, values)) > len(labels):
            self.set_labels(more)

    def noted(self, scan_id: str) -> dict[str, Any]:
        """What is remembered of a scan."""
        return self._content["scans"].get(scan_id, {})

    def note(self, scan_id: str, **values: Any) -> None:
        """Remember more of a scan."""
        self._replace(scan_id, {**self.noted(scan_id), **values})

    def forget(self, scan_id: str, but: Sequence[str]) -> None:
        """Forget what is remembered of a scan, but for some of it."""
        self._replace(scan_id, {key: value for key, value in self.noted(scan_id).items() if key in but})

    def _replace(self, scan_id: str, noted: dict[str, Any]) -> None:
        if noted != self.noted(scan_id):
            self._content["scans"][scan_id] = noted
            self._write()

    def _write(self) -> None:
        write_json(self._path, self._content)
