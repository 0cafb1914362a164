"""The routes by which masks are taken home."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, StreamingResponse

from Stage2.serving.exports import bids_archive, masks_archive
from Stage2.serving.folder import Scan
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.responses import GZIP, named, volume_response
from Stage2.serving.workbench import Workbench, program_version

ZIP, DICOM = "application/zip", "application/dicom"
PIECE = 1 << 20


def routes(bench: Workbench) -> APIRouter:
    """The routes of a workbench for downloads, under /api."""
    router, store = APIRouter(prefix="/api"), bench.store

    @router.get("/scans/{scan_id}/mask.nii.gz")
    def mask(scan_id: str) -> Response:
        found = store.mask(store.scan(scan_id))
        if found is None:
            raise not_there("A mask of this scan")
        return FileResponse(found.mask, media_type=GZIP, filename=f"{scan_id}_mask.nii.gz")

    @router.get("/scans/{scan_id}/final.nii.gz")
    def final(scan_id: str) -> Response:
        scan = store.scan(scan_id)
        return volume_response(_final(scan), f"{scan.plain_name}_mask.nii.gz")

    @router.get("/scans/{scan_id}/mask.dcm")
    def dicom(scan_id: str) -> Response:
        try:
            from Stage2.serving.dicom_seg import dicom_segmentation
        except ModuleNotFoundError as error:
            raise Refusal(501, f"DICOM-SEG needs {error.name}, which is not here; take the mask as .nii.gz.") from None
        scan = store.scan(scan_id)
        if scan.kind != "dicom":
            raise Refusal(409, f"{scan.name} is no DICOM series; take its mask as .nii.gz.")
        path = _final(scan)
        by_network = path != store.drawing(scan)
        content = dicom_segmentation(scan.file.path, path, store.labels(), program_version(), by_network)
        return Response(content, media_type=DICOM, headers=named(f"{scan.plain_name}_mask.dcm"))

    @router.get("/masks.zip")
    def masks(scans: str | None = None) -> Response:
        return _sent(masks_archive(store, _chosen(scans)), "masks.zip")

    @router.get("/bids.zip")
    def bids(scans: str | None = None) -> Response:
        return _sent(bids_archive(store, _chosen(scans), program_version()), "bids.zip")

    def _final(scan: Scan) -> Path:
        path = store.final_mask(scan)
        if path is None:
            raise not_there("A mask of this scan")
        return path

    def _chosen(text: str | None) -> list[Scan]:
        if text is None:
            return [scan for scan in store.scans() if scan.error is None]
        return [store.scan(scan_id) for scan_id in dict.fromkeys(text.split(","))]

    return router


def _sent(archive: IO[bytes], name: str) -> Response:
    def pieces() -> Iterator[bytes]:
        with archive:
            while piece := archive.read(PIECE):
                yield piece

    return StreamingResponse(pieces(), media_type=ZIP, headers=named(name))
