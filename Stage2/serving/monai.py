"""The calls of MONAI Label that 3D Slicer's stock module makes, so that it works with this workbench as it is.

Facts of the protocol: github.com/Project-MONAI/MONAILabel, its server's routes and Slicer's client. A model is the
network in use, training is an adaptation, a label with the tag "final" is a drawing, one with "original" a mask.
"""

import asyncio
import json
import secrets
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.datastructures import UploadFile

from Stage2.io.text import one_line
from Stage2.serving.descriptions import describe
from Stage2.serving.job import SEGMENT, Job
from Stage2.serving.monai_views import (
    FINAL,
    MODEL,
    ORIGINAL,
    STRATEGIES,
    describe_scans,
    describe_server,
    next_scan,
    params_of,
    read_params,
    statistics,
)
from Stage2.serving.plan import LOG
from Stage2.serving.predictions import ADAPTED, Prediction
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.requests import form_of, json_of, receive_file, receive_scan
from Stage2.serving.responses import GZIP, image_response, volume_response
from Stage2.serving.security import BY_PATH, Access
from Stage2.serving.sessions import MOST_FILES, Sessions
from Stage2.serving.workbench import Workbench

LINES = 300  # of a log
SECONDS_AFTER_A_WRONG_TOKEN = 1.0


def routes(bench: Workbench, access: Access) -> APIRouter:
    """The routes of MONAI Label for a workbench."""
    router = APIRouter()
    store, jobs, sessions = bench.store, bench.jobs, Sessions(bench.store)

    @router.get("/info/")
    def info() -> dict[str, Any]:
        return describe_server(bench)

    @router.get("/auth/")
    def auth(request: Request) -> dict[str, Any]:
        return {"enabled": BY_PATH not in request.scope, "realm": "densemp", "client_id": "densemp"}

    @router.post("/auth/token")
    async def auth_token(request: Request) -> dict[str, str]:
        async with request.form(max_files=0, max_fields=10) as form:
            given = form.get("password")
        if not isinstance(given, str) or not access.fits(given):
            await asyncio.sleep(SECONDS_AFTER_A_WRONG_TOKEN)
            raise Refusal(401, "the password is wrong; it is the token in the address that the workbench printed.")
        return {"access_token": access.token, "token_type": "bearer"}

    @router.get("/auth/token/valid")
    def auth_valid() -> dict[str, bool]:
        return {"valid": True}  # the guard has looked

    @router.post("/infer/{model}")
    async def infer(
        model: str, request: Request, image: str = "", session_id: str = "", output: str = "all"
    ) -> Response:
        if model != MODEL:
            raise not_there("This model")
        async with form_of(bench, request, 3) as (form, _):
            sent = form.get("file")
            if isinstance(sent, UploadFile) and not session_id:
                files = [(sent.filename or "scan.nii.gz", sent.file)]
                session_id = (await asyncio.to_thread(sessions.add, files)).id
        if session_id:
            session = await asyncio.to_thread(sessions.get, session_id)
            await _ended(await jobs.add("preview", [], session=session.id))
            name, found = session.id, await asyncio.to_thread(session.mask)
        else:
            scan = await asyncio.to_thread(store.scan, image)
            name, found = scan.id, await asyncio.to_thread(store.mask, scan)
            if not _is_current(found):
                await _ended(await jobs.add("preview", [scan.id]))
                found = await asyncio.to_thread(store.mask, scan)
        if found is None:
            raise Refusal(500, "the scan could not be segmented; /logs/ has more.")
        params = await asyncio.to_thread(params_of, found, store.labels())
        if output == "json":
            return JSONResponse(params)
        if output == "image":
            return FileResponse(found.mask, media_type=GZIP, filename=f"{name}_mask.nii.gz")
        return multipart(params, f"{name}_mask.nii.gz", await asyncio.to_thread(found.mask.read_bytes))

    @router.get("/datastore/")
    def datastore(output: str = "stats") -> Any:
        if output == "all":
            return describe_scans(bench)
        if output == "train":
            return [
                {"image": one_line(str(scan.file.path)), "label": one_line(str(store.drawing(scan)))}
                for scan in store.scans()
                if scan.error is None and store.drawing(scan) is not None
            ]
        return statistics(bench)

    @router.put("/datastore/")
    async def put_image(request: Request, image: str = "") -> dict[str, str]:
        return {"image": (await receive_scan(bench, request, image)).id}

    @router.delete("/datastore/")
    def delete(id: str, type: str = "image") -> dict[str, Any]:
        if type == "image":
            raise Refusal(403, "scans are not deleted from here; remove the file from the folder.")
        store.remove_drawing(store.scan(id))
        return {}

    @router.get("/datastore/image")
    def get_image(image: str) -> Response:
        return image_response(store, store.scan(image))

    @router.get("/datastore/label")
    def get_label(image: str = "", label: str = "", tag: str = FINAL) -> Response:
        scan = store.scan(label or image)
        found = store.mask(scan)
        path = store.drawing_on_scan(scan) if tag != ORIGINAL else None if found is None else found.mask
        if path is None:
            raise not_there(f"A label {tag} of this scan")
        return volume_response(path, f"{scan.id}_{ORIGINAL if tag == ORIGINAL else FINAL}.nii.gz")

    @router.put("/datastore/label")
    async def put_label(image: str, request: Request, tag: str = FINAL) -> dict[str, str]:
        scan = await asyncio.to_thread(store.scan, image)
        async with form_of(bench, request, 1) as (form, folder):
            path, _ = await receive_file(bench, form, folder, "label")
            params = form.get("params")
        names = read_params(params if isinstance(params, str) else None).get("label_info")
        await asyncio.to_thread(store.save_drawing, scan, path, None, names)
        jobs.warm()
        await asyncio.to_thread(store.set_example, scan, True)
        bench.events.tell("scan", await asyncio.to_thread(describe, store, scan))
        bench.events.tell("state", {})
        return {"image": scan.id, "label": scan.id, "tag": tag}

    @router.put("/session/")
    async def put_session(request: Request) -> dict[str, Any]:
        async with form_of(bench, request, MOST_FILES) as (form, _):
            files = [own for own in form.getlist("files") if isinstance(own, UploadFile)]
            if not files:
                raise Refusal(400, "the form has no files.")
            session = await asyncio.to_thread(sessions.add, [(own.filename or "", own.file) for own in files])
        return {"session_id": session.id, "session_info": session.describe()}

    @router.get("/session/{session_id}")
    def get_session(session_id: str, image: bool = False) -> Any:
        session = sessions.get(session_id)
        if not image:
            return session.describe()
        if not session.scan.is_nifti:
            raise not_there("One file of this session")
        return FileResponse(session.scan.path, media_type=GZIP, filename=session.scan.path.name)

    @router.delete("/session/{session_id}")
    def delete_session(session_id: str) -> dict[str, Any]:
        return sessions.remove(session_id)

    @router.post("/train/")
    async def train_all(request: Request) -> dict[str, Any]:
        return await _train(await _content(request))

    @router.post("/train/{model}")
    async def train(model: str, request: Request) -> dict[str, Any]:
        if model != MODEL:
            raise not_there("This trainer")
        return await _train(await _content(request))

    @router.get("/train/")
    def train_status(check_if_running: bool = False) -> dict[str, Any]:
        job = next((own for own in reversed(jobs.jobs) if own.kind == SEGMENT), None)
        if job is None or (check_if_running and job.has_ended):
            raise Refusal(404, "no training is running.")
        return _task(job)

    @router.delete("/train/")
    async def train_stop() -> dict[str, Any]:
        stopped = [await jobs.cancel(job.id) for job in list(jobs.jobs) if job.kind == SEGMENT and not job.has_ended]
        return _task(stopped[-1]) if stopped else {}

    @router.post("/activelearning/{strategy}")
    def next_sample(strategy: str) -> dict[str, Any]:
        if strategy not in STRATEGIES:
            raise not_there("This strategy")
        scan = next_scan(bench, strategy)
        if scan is None:
            return {}
        volume = store.made(scan).volume
        path, ending = one_line(str(volume)), ".nii.gz" if volume.name.endswith(".gz") else ".nii"
        return {"id": scan.id, "name": f"{scan.id}.nii.gz", "path": path, "ext": ending, "strategy": strategy}

    @router.get("/logs/")
    def logs(lines: int = LINES) -> PlainTextResponse:
        job = jobs.shown
        path = None if job is None else jobs.folder / job.id / LOG
        text = path.read_text(encoding="utf-8", errors="replace") if path is not None and path.is_file() else ""
        return PlainTextResponse("\n".join(text.splitlines()[-min(max(lines, 1), 10 * LINES) :]) + "\n")

    def _is_current(found: Prediction | None) -> bool:
        """Whether a mask is of the network in use."""
        network = bench.networks.current()
        if found is None or network is None or found.kind != ADAPTED:
            return False
        return found.record["settings"].get("adapted") == str(network.file)

    async def _ended(job: Job) -> None:
        await jobs.wait(job)
        if job.error is not None:
            raise Refusal(500, job.error)

    async def _train(params: dict[str, Any]) -> dict[str, Any]:
        own = params.get(MODEL) if isinstance(params.get(MODEL), dict) else params
        minutes = own.get("minutes")
        if any(job.kind == SEGMENT and not job.has_ended for job in jobs.jobs):
            raise Refusal(429, "a training runs already; stop it, or wait until it ends.")
        return _task(await jobs.add(SEGMENT, None, minutes if type(minutes) in (int, float) else None))

    return router


def multipart(params: dict[str, Any], name: str, content: bytes) -> Response:
    """A form with the fields `params` (JSON) and `file`."""
    limit = secrets.token_hex(16)
    head = (
        f'--{limit}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(params)}\r\n"
        f'--{limit}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {GZIP}\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{limit}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={limit}")


def _task(job: Job) -> dict[str, Any]:
    states = {"queued": "RUNNING", "running": "RUNNING", "done": "DONE", "failed": "ERROR", "cancelled": "CANCELED"}
    details = [] if job.error is None else [{"ts": 0, "message": job.error}]
    return {"id": job.id, "model": MODEL, "status": states[job.state], "details": details, "result": None}


async def _content(request: Request) -> dict[str, Any]:
    return await json_of(request) if await request.body() else {}
