"""How volumes are sent."""

from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse

from Stage2.serving.drawings import stored_pieces
from Stage2.serving.folder import Scan
from Stage2.serving.refusals import not_there
from Stage2.serving.store import Store

GZIP = "application/gzip"


def image_response(store: Store, scan: Scan) -> Response:
    """A scan as it is, or as what was made of its series, made now if it is not there yet; raises as `Store.made`."""
    path = store.made(scan).volume if scan.kind == "dicom" else scan.file.path
    return volume_response(path, f"{scan.id}.nii.gz")


def volume_response(path: Path, name: str) -> Response:
    """A volume as .nii.gz: the file itself, or, where that is not packed, packed on the way."""
    if path.name.endswith(".gz"):
        return FileResponse(path, media_type=GZIP, filename=name)
    if not path.is_file():
        raise not_there("This scan")
    return StreamingResponse(stored_pieces(path), media_type=GZIP)
