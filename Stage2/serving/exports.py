"""The masks of a workbench to take home: all in one archive, plain or as BIDS derivatives."""

import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from typing import IO

from Stage2.serving.folder import Scan
from Stage2.serving.labels import Label
from Stage2.serving.refusals import not_there
from Stage2.serving.store import Store

IN_MEMORY = 8 << 20  # bytes of an archive; a larger one is a file without a name
BIDS_VERSION = "1.9.0"
PIPELINE = "densemp"
_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9]+)")
_MOMENT = (1980, 1, 1, 0, 0, 0)  # of all entries: the same masks give the same archive


def masks_archive(store: Store, scans: Sequence[Scan]) -> IO[bytes]:
    """A zip of the masks as they are saved beside the scans; raises Refusal where there is none."""
    return _archive(
        (f"{scan.file.name}_mask.nii.gz", mask.read_bytes())
        for scan in scans
        if (mask := store.final_mask(scan)) is not None
    )


def bids_archive(store: Store, scans: Sequence[Scan], version: str) -> IO[bytes]:
    """A zip of a BIDS derivative: a label map for each scan, the names of its labels, what made it.

    Raises:
        Refusal: there is no mask.
    """
    masks = [(scan, mask) for scan in scans if (mask := store.final_mask(scan)) is not None]
    if not masks:
        raise not_there("A mask")
    description = {
        "Name": "Segmentations by DenseMP", "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative",
        "GeneratedBy": [{"Name": PIPELINE, "Version": version}],
    }  # fmt: skip

    def files() -> Iterable[tuple[str, bytes]]:
        yield f"{PIPELINE}/dataset_description.json", _json(description)
        yield f"{PIPELINE}/desc-{PIPELINE}_dseg.tsv", _table(store.labels())
        for scan, mask in masks:
            base = bids_name(scan.file.name)
            subject, folder = base.split("_")[0], "anat"
            described = {"Manual": mask == store.drawing(scan), "SpatialReference": "orig"}
            yield f"{PIPELINE}/{subject}/{folder}/{base}_desc-{PIPELINE}_dseg.nii.gz", mask.read_bytes()
            yield f"{PIPELINE}/{subject}/{folder}/{base}_desc-{PIPELINE}_dseg.json", _json(described)

    return _archive(files())


def bids_name(name: str) -> str:
    """The entities of a scan's name, such as sub-01_ses-2; of a name without any, one subject of all its characters."""
    entities = [(key, value) for key, value in _ENTITY.findall(name) if key != "desc"]
    if entities and entities[0][0] == "sub":
        return "_".join(f"{key}-{value}" for key, value in entities)
    plain = "".join(part[:1].upper() + part[1:] for part in re.split("[^a-zA-Z0-9]+", name))
    return f"sub-{plain or 'unnamed'}"


def _table(labels: Sequence[Label]) -> bytes:
    rows = [("index", "name", "color"), *((str(own.value), own.name, own.colour) for own in labels)]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _archive(files: Iterable[tuple[str, bytes]]) -> IO[bytes]:
    """A zip archive, at its beginning; what is in it is packed already."""
    stream = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115, the response closes it
    names: set[str] = set()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            if name not in names:
                names.add(name)
                archive.writestr(zipfile.ZipInfo(name, _MOMENT), content)
    if not names:
        stream.close()
        raise not_there("A mask")
    stream.seek(0)
    return stream
