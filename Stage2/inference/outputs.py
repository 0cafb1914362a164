"""What a prediction leaves on disk: masks with the query's own header, one JSON record a query, one table of all.

The record names the files that were written for its query, so that nothing else is ever written over.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage1.files import expect_writable, whole_file, write_json
from Stage2.evaluation.metrics import METRICS
from Stage2.io.scans import ScanFile
from Stage2.io.text import csv_text, plain
from Stage2.io.volumes import write_volume

TABLE = "results.csv"
COLUMNS = ("query", "label", "name", "volume_ml", "confidence")


class Outputs:
    """Files of one query in a folder: <name>_mask.nii.gz, <name>.json and what else is asked for."""

    def __init__(self, folder: Path, query: ScanFile):
        self.folder, self.query = folder, query
        self.mask, self.record, self.page, self.montage = (
            folder / f"{query.name}{end}" for end in ("_mask.nii.gz", ".json", ".html", ".png")
        )

    def probability(self, label: int) -> Path:
        """Where the probability map of a label goes."""
        return self.folder / f"{self.query.name}_label_{label}_probability.nii.gz"

    def write_volume(self, path: Path, voxels: np.ndarray, scan: sitk.Image) -> None:
        """Write voxels (Z, H, W) with the header of the query, or, of a DICOM series, with its geometry.

        Raises:
            OSError: the file could not be written whole.
        """
        write_volume(path, voxels, self.query.path if self.query.is_nifti else scan)

    def done(self, identity: str) -> dict | None:
        """The record of an earlier call that did the same with the same; None where there is none, or no mask."""
        record = read_record(self.record)
        if record is None or record.get("identity") != identity or "error" in record:
            return None
        return record if all((self.folder / name).is_file() for name in record["files"]) else None

    def expect_own(self, planned: Iterable[Path], inputs: Iterable[Path]) -> None:
        """Refuse to write over what an input names, or what no record names as a file of this program.

        Raises:
            FileExistsError: there is such a file.
        """
        inputs = {path.resolve() for path in inputs}
        record = read_record(self.record)
        own = [] if record is None else [self.folder / name for name in record["files"]] + [self.record]
        for path in (*planned, self.record):
            if path.resolve() in inputs:
                raise FileExistsError(f"{path} is an input and is not written over; choose another folder for --out.")
            if os.path.lexists(path) and path not in own:
                raise FileExistsError(
                    f"{path} was not written by this program, as {self.record.name} would tell, and is not written "
                    "over; choose another folder for --out, or move it away."
                )

    def claim(self, planned: Sequence[Path], inputs: Iterable[Path]) -> None:
        """Note what is about to be written; files of an earlier call that are none of these are removed."""
        record = read_record(self.record)
        kept = {path.resolve() for path in (*planned, *inputs)}
        for path in [] if record is None else [self.folder / name for name in record["files"]]:
            if path.resolve() not in kept and path.name.startswith(self.query.name):
                path.unlink(missing_ok=True)
        write_record(self.record, {"query": str(self.query.path), "files": [path.name for path in planned]})


def write_record(path: Path, record: Mapping) -> None:
    """Write a record as JSON; what is not defined (NaN) becomes null."""
    write_json(path, plain(record), indent=2)


def read_record(path: Path) -> dict | None:
    """A record of this program; None where there is none, or a damaged one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    files = record.get("files") if isinstance(record, dict) and "query" in record else None
    is_own = isinstance(files, list) and all(isinstance(name, str) and Path(name).name == name for name in files)
    return record if is_own else None


def mean_confidence(record: Mapping) -> float | None:
    """Of all labels of a record: the lower, the more an annotation of that scan teaches; None where it has none."""
    found = [own["confidence"] for own in record.get("labels", {}).values()]
    return float(np.mean(found)) if found else None


class ResultsTable:
    """The table of a folder: a line for every query and label, one for every query that failed, written as they come.

    Args:
        path: what stands there is written over when the first lines come.

    Raises:
        FileExistsError: it has other columns than this program's.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path):
        self.path, self.columns, self._begun = path, (*COLUMNS, *METRICS, "lower_bound", "error"), False
        expect_own_table(path)
        expect_writable(path.parent)

    def add(self, record: Mapping) -> None:
        """Append the lines of a query."""
        if not self._begun:
            self.rewrite([])
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lines(record))
        except OSError as error:
            raise OSError(f"{self.path} could not be written ({error.strerror}); make room, and run again.") from error

    def rewrite(self, records: Iterable[Mapping]) -> None:
        """Write the lines of all queries anew, in this order."""
        with whole_file(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(csv_text([], self.columns))
            file.writelines(map(self._lines, records))
        self._begun = True

    def _lines(self, record: Mapping) -> str:
        rows = [{"query": record["query"], "error": record["error"]}] if "error" in record else []
        rows += [{"query": record["query"], "label": label, **own} for label, own in record.get("labels", {}).items()]
        return csv_text(rows, self.columns).partition("\n")[2]


def expect_own_table(path: Path) -> None:
    """Refuse to write over a table that this program did not write.

    Raises:
        FileExistsError: it has other columns.
    """
    if not os.path.lexists(path):
        return
    with path.open("rb") as file:
        if not file.read(4096).startswith(",".join(COLUMNS).encode()):
            raise FileExistsError(f"{path} is no table of this program and is not written over; choose another --out.")
