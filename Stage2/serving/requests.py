"""How bodies of requests are taken: JSON, a file, a form with a scan."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    """Write the body of a request to a file, which the caller removes. Raises Refusal where the body is empty."""
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


@asynccontextmanager
async def form_of(bench: Workbench, request: Request, most_files: int) -> AsyncIterator[tuple[FormData, Path]]:
    """The form of a request, which may hold files, and the folder for what is sent; its files are gone afterwards."""
    async with bench.upload() as folder, request.form(max_files=most_files, max_fields=20) as form:
        yield form, folder


async def receive_file(bench: Workbench, form: FormData, folder: Path, field: str) -> tuple[Path, str]:
    """Keep a file of a form in the folder for what is sent; returns its path and the name that the client gave.

    Raises:
        Refusal: the form has none, or the disk is full.
    """
    sent = form.get(field)
    if not isinstance(sent, UploadFile):
        raise Refusal(400, f"the form has no file called {field}.")
    path = folder / f"{secrets.token_hex(8)}.nii.gz"
    await asyncio.to_thread(save_file, bench.store, sent.file, path)
    return path, sent.filename or ""


async def receive_scan(bench: Workbench, request: Request, name: str = "") -> Scan:
    """Take the file of a form as a new scan of the folder, under a name; raises Refusal where that cannot be."""
    async with form_of(bench, request, 1) as (form, folder):
        path, given = await receive_file(bench, form, folder, "file")
    scan = await asyncio.to_thread(take_scan, bench.store, path, name or given)
    bench.events.tell("state", {})
    return scan
