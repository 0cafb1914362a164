"""The routes that the page asks: scans, drawings, labels, jobs and events."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from Stage2.serving.descriptions import describe
from Stage2.serving.folder import Scan
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.requests import json_of, receive_body, receive_scan
from Stage2.serving.responses import GZIP, image_response, volume_response
from Stage2.serving.workbench import Workbench


def routes(bench: Workbench) -> APIRouter:
    """The routes of a workbench under /api."""
    router = APIRouter(prefix="/api")
    store, jobs, events = bench.store, bench.jobs, bench.events

    @router.get("/state")
    def state() -> dict[str, Any]:
        return bench.describe()

    @router.get("/scans/{scan_id}/image.nii.gz")
    def image(scan_id: str) -> Response:
        return image_response(store, store.scan(scan_id))

    @router.get("/scans/{scan_id}/thumbnail.png")
    def thumbnail(scan_id: str) -> Response:
        return FileResponse(store.made(store.scan(scan_id)).thumbnail, media_type="image/png")

    @router.get("/scans/{scan_id}/preview.nii.gz")
    def preview(scan_id: str) -> Response:
        return FileResponse(store.made(store.scan(scan_id)).small, media_type=GZIP)

    @router.get("/scans/{scan_id}/drawing.nii.gz")
    def drawing(scan_id: str) -> Response:
        path = store.drawing_on_scan(store.scan(scan_id))
        if path is None:
            raise not_there("A drawing of this scan")
        return volume_response(path, f"{scan_id}_drawing.nii.gz")

    @router.put("/scans/{scan_id}/drawing")
    async def put_drawing(scan_id: str, request: Request, slices: str | None = None) -> dict[str, Any]:
        scan, places = await asyncio.to_thread(store.scan, scan_id), _slices(slices)
        sent = await receive_body(bench, request)
        await asyncio.to_thread(store.save_drawing, scan, sent, places)
        jobs.warm()
        return await _told(scan)

    @router.put("/scans/{scan_id}/example")
    async def put_example(scan_id: str, request: Request) -> dict[str, Any]:
        content = await json_of(request)
        if not isinstance(content.get("example"), bool):
            raise Refusal(422, 'expected {"example": true} or {"example": false}.')
        scan = await asyncio.to_thread(store.scan, scan_id)
        await asyncio.to_thread(store.set_example, scan, content["example"])
        events.tell("state", {})  # organs of a mask that lay there before may be new
        return await _told(scan)

    @router.post("/scans")
    async def post_scan(request: Request) -> Response:
        return JSONResponse(await _told(await receive_scan(bench, request)), status_code=201)

    @router.put("/labels")
    async def put_labels(request: Request) -> dict[str, Any]:
        content = await json_of(request)
        await asyncio.to_thread(store.set_labels, content.get("labels"))
        events.tell("state", {})
        return {"labels": [own.plain() for own in store.labels()]}

    @router.post("/jobs")
    async def post_job(request: Request) -> Response:
        content = await json_of(request)
        scans, minutes = content.get("scans"), content.get("minutes")
        if scans is not None and not (isinstance(scans, list) and all(isinstance(own, str) for own in scans)):
            raise Refusal(422, "scans: expected a list of ids, or null for all but the examples.")
        if minutes is not None and type(minutes) not in (int, float):
            raise Refusal(422, "minutes: expected a number, or null.")
        job = await jobs.add(str(content.get("kind")), scans, minutes)
        return JSONResponse(asdict(job), status_code=202)

    @router.delete("/jobs/{job_id}")
    async def delete_job(job_id: str) -> dict[str, Any]:
        return asdict(await jobs.cancel(job_id))

    @router.get("/events")
    async def stream() -> Response:
        if len(events) >= store.settings.limits.listeners:
            raise Refusal(503, f"{len(events)} pages listen already; close some.")
        return StreamingResponse(events.listen(), media_type="text/event-stream")

    async def _told(scan: Scan) -> dict[str, Any]:
        described = await asyncio.to_thread(describe, store, scan)
        events.tell("scan", described)
        return described

    return router


def _slices(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = text.split(",") if text else []
    if not all(part.isdecimal() and len(part) < 7 for part in parts):
        raise Refusal(422, f"slices {text[:40]!r}: expected numbers such as 3,7,9.")
    return [int(part) for part in parts]
