"""What a prediction leaves on disk: masks with the query's own header, one JSON record a query, one table of all."""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage1.files import write_text
from Stage2.evaluation.metrics import METRICS
from Stage2.io.scans import ScanFile
from Stage2.io.volumes import write_volume

TABLE = "results.csv"


class Outputs:
    """Files of one query in a folder: <name>_mask.nii.gz, <name>.json and what else is asked for."""

    def __init__(self, folder: Path, query: ScanFile):
        self.folder, self.query = folder, query

    @property
    def mask(self) -> Path:
        return self.folder / f"{self.query.name}_mask.nii.gz"

    @property
    def record(self) -> Path:
        return self.folder / f"{self.query.name}.json"

    @property
    def page(self) -> Path:
        return self.folder / f"{self.query.name}.html"

    @property
    def montage(self) -> Path:
        return self.folder / f"{self.query.name}.png"

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


def write_record(path: Path, record: Mapping) -> None:
    """Write a record as JSON; what is not defined (NaN) becomes null."""
    write_text(path, json.dumps(_plain(record), indent=2, allow_nan=False) + "\n")


def read_record(path: Path) -> dict | None:
    """A record; None where there is none, or a damaged one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_table(path: Path, records: Sequence[Mapping]) -> None:
    """One line for every query and label, and one for every query that failed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            columns = ("query", "label", "name", "volume_ml", "confidence", *METRICS, "error")
            table = csv.DictWriter(file, columns, extrasaction="ignore")
            table.writeheader()
            for record in records:
                if "error" in record:
                    table.writerow({"query": record["query"], "error": record["error"]})
                for label, found in record.get("labels", {}).items():
                    table.writerow(
                        {"query": record["query"], "label": label, **{k: _cell(v) for k, v in found.items()}}
                    )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _cell(value: object) -> object:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and math.isnan(value) else value
