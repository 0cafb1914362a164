"""Many clients of a workbench at once, while a network is adapted: how fast it answers, and how its memory grows."""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Stage2.benchmarks.workbench_client import Client, served
from Stage2.datasets.volumes import list_scans
from Stage2.io.names import label_path

SCANS = 4
PARTS = 4  # of the requests, each a row of the table
MINUTES = 30.0  # of the adaptation on the way, which is cancelled


def measure_load(data: Path, clients: int, requests: int) -> list[tuple[str, ...]]:
    """Rows of a part of the requests each: requests so far, seconds, requests a second, median and slowest in ms,
    failed, memory in MiB.

    Raises:
        FileNotFoundError, ValueError: the folder lacks scans or labels.
    """
    scan_ids = list_scans(data)[:SCANS]
    with tempfile.TemporaryDirectory() as scratch, served(data, scan_ids, Path(scratch) / "scans") as client:
        drawing, other = (label_path(data, scan_id).read_bytes() for scan_id in (scan_ids[0], scan_ids[-1]))
        names = [scan["id"] for scan in client.json("/api/state")["scans"]]
        client.ask(f"/api/scans/image_{scan_ids[0]}/drawing", "PUT", drawing)
        client.json(f"/api/scans/image_{scan_ids[0]}/example", "PUT", {"example": True})
        asked = [("/api/state", "GET", None)] * 4
        for name in names:
            paths = ("image.nii.gz", "thumbnail.png", "preview.nii.gz")
            asked += [(f"/api/scans/{name}/{path}", "GET", None) for path in paths]
        asked += [(f"/api/scans/image_{scan_ids[-1]}/drawing", "PUT", other), ("/info/", "GET", None)]
        jobs = [client.json("/api/jobs", "POST", {"kind": "segment", "minutes": MINUTES}) for _ in range(2)]
        rows = []
        with ThreadPoolExecutor(clients) as pool:
            for part in range(PARTS):
                numbers = range(_end(part - 1, requests), _end(part, requests))
                chosen = [asked[number % len(asked)] for number in numbers]
                begun = time.monotonic()
                taken = list(pool.map(lambda own: _timed(client, *own), chosen))
                rows.append(_row(_end(part, requests), taken, time.monotonic() - begun, client.memory()))
        state = client.json("/api/state")
        if state["job"]["state"] != "running" or len(state["queue"]) != 1:
            raise ValueError("the adaptation on the way ended; ask for fewer requests.")
        for job in reversed(jobs):
            client.ask(f"/api/jobs/{job['id']}", "DELETE")
        return rows


def _end(part: int, requests: int) -> int:
    """Requests of all parts up to this one."""
    return requests * (part + 1) // PARTS


def _timed(client: Client, path: str, method: str, body: bytes | None) -> float | None:
    """Seconds of a request; None where it failed."""
    begun = time.monotonic()
    try:
        client.ask(path, method, body)
    except OSError:
        return None
    return time.monotonic() - begun


def _row(asked: int, taken: list[float | None], seconds: float, memory: float) -> tuple[str, ...]:
    done = [own for own in taken if own is not None]
    times = f"{1e3 * statistics.median(done):.0f}", f"{1e3 * max(done):.0f}"
    failed = str(len(taken) - len(done))
    return (str(asked), f"{seconds:.1f}", f"{len(taken) / seconds:.0f}", *times, failed, f"{memory:.0f}")
