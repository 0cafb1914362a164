"""How volumes are sent."""

from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse

from Stage2.serving.drawings import stored_pieces
from Stage2.serving.refusals import not_there

GZIP = "application/gzip"


def volume_response(path: Path, name: str) -> Response:
    """A volume as .nii.gz: the file itself, or, where that is not packed, packed on the way."""
    if path.name.endswith(".gz"):
        return FileResponse(path, media_type=GZIP, filename=name)
    if not path.is_file():
        raise not_there("This scan")
    return StreamingResponse(stored_pieces(path), media_type=GZIP)
