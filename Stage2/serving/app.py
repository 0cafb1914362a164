"""The workbench as an ASGI application: all its routes behind the guard, and every error in one line."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from Stage2.io.text import one_line
from Stage2.serving import api, downloads, monai
from Stage2.serving.jobs import WORK
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.security import Access, Guard, TooLong
from Stage2.serving.settings import ServeSettings
from Stage2.serving.workbench import Workbench

STATIC = Path(__file__).with_name("static")
VENDOR = Path(__file__).resolve().parents[2] / ".venv" / "workbench" / "vendor"
KINDS = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".wasm": "application/wasm",
    ".json": "application/json", ".woff2": "font/woff2",
}  # fmt: skip

logger = logging.getLogger(__name__)


def create_app(settings: ServeSettings, access: Access, command: Sequence[str] = WORK) -> Guard:
    """The application of a workbench; `app.state.events` of what it guards are its streams.

    Args:
        settings: of the workbench.
        access: what lets a request in.
        command: that does a job, see `Jobs`.

    Raises:
        FileNotFoundError, ValueError, OSError: as `Workbench`.
    """
    bench = Workbench(settings, command)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_prepare(bench))]
        if not settings.read_only:
            tasks.append(asyncio.create_task(bench.jobs.work()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            bench.store.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.events = bench.events
    app.include_router(api.routes(bench))
    app.include_router(downloads.routes(bench))
    app.include_router(monai.routes(bench, access))

    @app.get("/")
    def page() -> FileResponse:
        return _file(STATIC, "index.html")

    @app.get("/static/{name:path}")
    def static(name: str) -> FileResponse:
        return _file(STATIC, name)

    @app.get("/vendor/{name:path}")
    def vendor(name: str) -> FileResponse:
        if not VENDOR.is_dir():
            raise Refusal(503, "the viewer is not installed; run: bash tools/setup.sh --workbench")
        return _file(VENDOR, name)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return _error(error.status, error.text)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _error(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(TooLong)
    async def too_long(request: Request, error: TooLong) -> JSONResponse:
        return _error(413, "the request is longer than what is taken.")

    @app.exception_handler(OSError)
    async def system_error(request: Request, error: OSError) -> JSONResponse:
        logger.error("%s", error)
        return _error(507 if error.errno in (28, 122) else 500, str(error))

    @app.exception_handler(ValueError)
    async def wrong(request: Request, error: ValueError) -> JSONResponse:
        return _error(422, str(error))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
        return _error(500, f"this did not work ({type(error).__name__}); the server's log has more.")

    def limit_of(method: str, path: str) -> int:
        limits = settings.limits
        if path.startswith(("/api/scans/", "/datastore/label")):
            return limits.drawing
        if path.startswith(("/api/scans", "/datastore", "/session", "/infer")):
            return limits.upload
        return limits.small

    return Guard(app, access, limit_of, settings.read_only)


async def _prepare(bench: Workbench) -> None:
    """Make thumbnails, small volumes and converted series ahead of time, one scan after the other, for ever."""
    seen: set[str] = set()
    while True:
        for scan in bench.store.scans():
            if scan.error is None and scan.id not in seen:
                seen.add(scan.id)
                with suppress(Refusal, OSError):
                    await asyncio.to_thread(bench.store.made, scan)
                if scan.kind == "dicom":
                    bench.events.tell("state", {})
        await asyncio.sleep(1.0)


def _file(folder: Path, name: str) -> FileResponse:
    """A file of ours; nothing outside its folder, and nothing of another kind."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.suffix not in KINDS:
        raise not_there("This file")
    return FileResponse(path, media_type=KINDS[path.suffix])


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": one_line(" ".join(text.split()))}, status_code=status)
