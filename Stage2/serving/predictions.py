"""What jobs found in scans, as `PredictionJob` writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Stage2.inference.outputs import Outputs, read_record
from Stage2.io.scans import ScanFile

PREVIEW, ADAPTED = "preview", "masks"  # folders: by what there is at once, and by adapted networks


@dataclass(frozen=True)
class Prediction:
    """What a job found in a scan.

    Attributes:
        kind: `PREVIEW` or `ADAPTED`.
        mask: file of the label map.
        record: of it: volume and confidence of every label, settings.
    """

    kind: str
    mask: Path
    record: Mapping[str, Any]


def latest_prediction(folder: Path, file: ScanFile) -> Prediction | None:
    """The later one of both kinds of predictions of a scan in a folder; None where there is none."""
    found = []
    for kind in (PREVIEW, ADAPTED):
        outputs = Outputs(folder / kind, file)
        record = read_record(outputs.record)
        if record is not None and "labels" in record and outputs.mask.is_file():
            found.append((outputs.record.stat().st_mtime_ns, kind, Prediction(kind, outputs.mask, record)))
    return max(found, key=lambda own: own[:2])[2] if found else None


def final_of(drawing: Path | None, slices: Sequence[int] | None, found: Prediction | None) -> Path | None:
    """What counts as the mask of a scan with this drawing, in these slices or all, and this prediction."""
    if drawing is not None and slices is None:
        return drawing
    return None if found is None else found.mask
