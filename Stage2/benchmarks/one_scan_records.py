"""Values of the comparison "one annotated scan": a line of JSON for every scan and organ, written as they are found."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RECORDS = "one_scan.jsonl"
# What tells a value from all others; whatever else a record holds was measured.
KEY = (
    "dataset", "fold", "support", "labels", "start", "start_hash", "seed", "minutes", "steps", "slices", "unlabelled",
    "files", "scan", "label",
)  # fmt: skip
OF_DATA = ("support", "files")  # parts that tell one state of the scans from another

Record = Mapping[str, Any]


def key_of(record: Record) -> str:
    """The key of a record as text.

    Raises:
        KeyError: it lacks a part.
    """
    return json.dumps([record[name] for name in KEY])


def read_records(folder: Path) -> dict[str, Record]:
    """Key -> record of all lines in a folder's file; the later one of equals. A last line that was cut is left out.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: a line is no record.
    """
    path = folder / RECORDS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give the folder that a comparison wrote to.")
    records = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            records[key_of(record)] = record
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{path}, line {number}, is no record of this comparison; delete the line.") from None
    return records


def read_all(folders: Sequence[Path]) -> list[Record]:
    """Records of several folders, each key once.

    Raises:
        FileNotFoundError, ValueError: as `read_records`; or a scan was measured before and after its files, or those of
            its support, had changed, which no table can hold together.
    """
    records = list({key: record for folder in folders for key, record in read_records(folder).items()}.values())
    measured: dict[str, list] = {}
    for record in records:
        data = [record[name] for name in OF_DATA]
        if measured.setdefault(json.dumps([record[name] for name in KEY if name not in OF_DATA]), data) != data:
            raise ValueError(
                f"{RECORDS} has scan {record['scan']} in fold {record['fold']} by {record['start']} twice, of files or "
                "a support that have changed; measure into a new --out folder, or delete the lines of the old ones."
            )
    return records


class Records:
    """The file of a folder, for the one process that writes to it.

    Args:
        folder: made where it is absent; the line that a killed process did not finish is taken away.

    Raises:
        OSError, ValueError: the file cannot be written, or a line is no record.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / RECORDS
        self.known = read_records(folder) if self.path.is_file() else {}
        if self.path.is_file():
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with self.path.open("r+b") as file:
                    file.truncate(whole)

    def __contains__(self, record: Record) -> bool:
        """Whether there is a value with the key of this record, which needs no values itself."""
        return key_of(record) in self.known

    def add(self, records: Iterable[Record]) -> None:
        """Append records at once."""
        records = list(records)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(record, allow_nan=False) + "\n" for record in records))
        self.known |= {key_of(record): record for record in records}

    def like(self, parts: Record) -> list[Record]:
        """The records that agree with these parts."""
        return [own for own in self.known.values() if all(own[name] == value for name, value in parts.items())]
