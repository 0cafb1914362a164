"""What clients are told of the scans of a workbench."""

from collections.abc import Mapping
from typing import Any

from Stage2.inference.outputs import mean_confidence
from Stage2.io.text import one_line
from Stage2.serving.folder import Scan
from Stage2.serving.pictures import Made, facts_of
from Stage2.serving.predictions import ADAPTED, PREVIEW, final_of
from Stage2.serving.store import Store

_APPROACHES = {PREVIEW: "prototypes", ADAPTED: "adapted"}


def describe(store: Store, scan: Scan, ranks: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A scan as plain values.

    Args:
        store: that keeps it.
        scan: to describe.
        ranks: of `ranks_of`, where they are known.
    """
    noted, found = store.noted(scan), store.mask(scan)
    drawing = None if scan.error else store.drawing(scan)
    facts, error = _facts(store, scan)
    labels = {} if found is None else found.record["labels"]
    is_example = drawing is not None and bool(noted.get("example"))
    states = {
        "example": is_example,
        "corrected": drawing is not None and noted.get("corrected", False),
        "drawn": drawing is not None and found is None,
        "segmented": found is not None,
        "none": True,
    }
    return {
        "id": scan.id, "name": scan.name, "kind": scan.kind,
        "shape": facts.get("shape"), "spacing": facts.get("spacing"), "slice_axis": facts.get("slice_axis"),
        "state": next(name for name, holds in states.items() if holds),
        "example": is_example,
        "drawn": drawing is not None,
        "final": scan.error is None and final_of(drawing, noted.get("slices"), found) is not None,
        "volumes": {label: own["volume_ml"] for label, own in labels.items()},
        "confidence": {label: own["confidence"] for label, own in labels.items()},
        "next": (ranks_of(store) if ranks is None else ranks).get(scan.id),
        "error": scan.error or error,
        "failure": noted.get("failure"),
        "annotated_slices": None if drawing is None else noted.get("slices"),
        "approach": None if found is None else _APPROACHES[found.kind],
    }  # fmt: skip


def describe_all(store: Store) -> list[dict[str, Any]]:
    """Every scan."""
    ranks = ranks_of(store)
    return [describe(store, scan, ranks) for scan in store.scans()]


def ranks_of(store: Store) -> dict[str, int]:
    """Id -> place, from 1 up, among the scans to annotate next: those that are segmented and in which nothing is drawn,
    the least trusted mask first."""
    trusted = {}
    for scan in store.scans():
        found = None if scan.error or store.drawing(scan) is not None else store.mask(scan)
        value = None if found is None else mean_confidence(found.record)
        if value is not None:
            trusted[scan.id] = value
    return {scan_id: place for place, scan_id in enumerate(sorted(trusted, key=trusted.get), start=1)}


def _facts(store: Store, scan: Scan) -> tuple[dict[str, Any], str | None]:
    """Facts of a scan's header where they are known, and what is wrong with it."""
    if scan.error is not None:
        return {}, None
    noted = Made(store.cache, scan).note()
    if noted is not None:
        return noted.get("facts", {}), None if "error" not in noted else one_line(noted["error"])
    if scan.kind == "dicom":
        return {}, None  # known when the series has been read
    try:
        return vars(facts_of(scan.file.path)), None
    except (OSError, ValueError) as error:
        return {}, one_line(str(error))
