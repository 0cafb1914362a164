"""How bodies of requests are taken: JSON, a file, a form with a scan."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from Stage2.serving.folder import Scan
from Stage2.serving.refusals import Refusal
from Stage2.serving.uploads import save_file, take_scan
from Stage2.serving.workbench import Workbench


async def json_of(request: Request) -> dict[str, Any]:
    """The body of a request as JSON; raises Refusal where it is no object."""
    try:
        content = await request.json()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refusal(400, "the body is no JSON object.")
    return content


async def receive_body(bench: Workbench, request: Request) -> Path:
    """Write the body of a request to a file of its own, which the caller removes. Raises Refusal where that is empty or
    too many are being sent."""
    async with bench.upload() as folder:
        path = folder / secrets.token_hex(8)
        try:
            with path.open("wb") as file:
                async for piece in _pieces(request):
                    await asyncio.to_thread(file.write, piece)
            if path.stat().st_size == 0:
                raise Refusal(400, "the body is empty; send a .nii or .nii.gz file.")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece


async def receive_scan(bench: Workbench, form: FormData, name: str = "") -> Scan:
    """Take the file of a form as a new scan of the folder, under a name; raises Refusal where that cannot be."""
    sent = next((own for own in form.values() if isinstance(own, UploadFile)), None)
    if sent is None:
        raise Refusal(400, "the form has no file.")
    async with bench.upload() as folder:
        path = folder / f"{secrets.token_hex(8)}.nii.gz"
        await asyncio.to_thread(save_file, bench.store, sent.file, path)
    scan = await asyncio.to_thread(take_scan, bench.store, path, name or sent.filename or "")
    bench.events.tell("state", {})
    return scan
