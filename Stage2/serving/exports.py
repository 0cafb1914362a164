"""The masks of a workbench to take home: all in one archive, plain or as BIDS derivatives."""

import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import IO

from Stage2.io.nifti import read_voxels
from Stage2.serving.drawings import organs_in
from Stage2.serving.folder import Scan, short_hash
from Stage2.serving.labels import Label, with_values
from Stage2.serving.packed import packed_bytes
from Stage2.serving.refusals import not_there
from Stage2.serving.store import Store

IN_MEMORY = 8 << 20  # bytes of an archive; a larger one is a file without a name
BIDS_VERSION = "1.9.0"
PIPELINE = "densemp"
_BEFORE_ACQUISITION = ("sub", "ses", "sample", "task", "tracksys")  # entities, in the order of BIDS
_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9]+)")
_MOMENT = (1980, 1, 1, 0, 0, 0)  # of all entries: the same masks give the same archive


def masks_archive(store: Store, scans: Sequence[Scan]) -> IO[bytes]:
    """A zip of the masks as they are saved beside the scans; raises Refusal where there is none."""
    return _archive(
        (f"{scan.plain_name}_mask.nii.gz", packed_bytes(mask))
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

    names = bids_names([scan.file.name for scan in store.scans() if scan.error is None])
    organs = {organ for _, mask in masks for organ in organs_in(read_voxels(mask))}

    def files() -> Iterable[tuple[str, bytes]]:
        yield f"{PIPELINE}/dataset_description.json", _json(description)
        yield f"{PIPELINE}/desc-{PIPELINE}_dseg.tsv", _table(with_values(store.labels(), organs))
        for scan, mask in masks:
            base = names[scan.file.name]
            subject, folder = base.split("_")[0], "anat"
            described = {"Manual": mask == store.drawing(scan), "SpatialReference": "orig"}
            yield f"{PIPELINE}/{subject}/{folder}/{base}_desc-{PIPELINE}_dseg.nii.gz", packed_bytes(mask)
            yield f"{PIPELINE}/{subject}/{folder}/{base}_desc-{PIPELINE}_dseg.json", _json(described)

    return _archive(files())


def bids_names(names: Iterable[str]) -> dict[str, str]:
    """Name of each scan -> what it is called in BIDS, no two alike.

    That is its entities, such as sub-01_ses-2; of a name without any, one subject of all its characters. Where two
    would be alike, their acquisition tells them apart: by the suffix, such as T1w, else by a hash of the name.
    """
    found = {name: _bids_name(name) for name in names}
    for more in (_suffix_of, short_hash):
        times = Counter(found.values())
        found = {name: _bids_name(name, more(name)) if times[base] > 1 else base for name, base in found.items()}
    return found


def _bids_name(name: str, more: str = "") -> str:
    entities = {key: value for key, value in _ENTITY.findall(name) if key != "desc"}
    if next(iter(entities), None) == "sub":
        acquisition = entities.pop("acq", "") + more
        before = [f"{key}-{entities.pop(key)}" for key in _BEFORE_ACQUISITION if key in entities]
        own = [f"acq-{acquisition}"] if acquisition else []
        return "_".join([*before, *own, *(f"{key}-{value}" for key, value in entities.items())])
    plain = "".join(part[:1].upper() + part[1:] for part in re.split("[^a-zA-Z0-9]+", name))
    return f"sub-{plain or 'unnamed'}{more}"


def _suffix_of(name: str) -> str:
    """The last part of a name with entities; empty where that is one of them, or there are none."""
    last = name.rpartition("_")[2]
    return last if name.startswith("sub-") and re.fullmatch("[a-zA-Z0-9]+", last) else ""


def _table(labels: Sequence[Label]) -> bytes:
    rows = [("index", "name", "color"), *((str(own.value), own.name, own.colour) for own in labels)]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _archive(files: Iterable[tuple[str, bytes]]) -> IO[bytes]:
    """A zip archive, at its beginning; what is in it is packed already. Raises ValueError for two of one name."""
    stream = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115, the response closes it
    names: set[str] = set()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            if name in names:
                raise ValueError(f"two masks would be called {name} in the archive; rename one of their scans.")
            names.add(name)
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), content)
    if not names:
        stream.close()
        raise not_there("A mask")
    stream.seek(0)
    return stream
