"""How volumes are sent."""

from pathlib import Path
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse

from Stage2.serving.folder import Scan
from Stage2.serving.packed import is_packed, stored_pieces
from Stage2.serving.refusals import not_there
from Stage2.serving.store import Store

GZIP = "application/gzip"


def image_response(store: Store, scan: Scan) -> Response:
    """A scan as it is, or as what was made of its series, made now if it is not there yet; raises as `Store.made`."""
    path = store.made(scan).volume if scan.kind == "dicom" else scan.file.path
    return volume_response(path, f"{scan.id}.nii.gz")


def volume_response(path: Path, name: str) -> Response:
    """A volume as .nii.gz under a name: the file itself, or, where that is not packed, packed on the way."""
    if not path.is_file():
        raise not_there("This scan")
    if is_packed(path):
        return FileResponse(path, media_type=GZIP, filename=name)
    return StreamingResponse(stored_pieces(path), media_type=GZIP, headers=named(name))


def named(name: str) -> dict[str, str]:
    """The header that gives what is sent a name."""
    quoted = quote(name)
    given = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    return {"content-disposition": f"attachment; {given}"}
