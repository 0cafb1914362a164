"""A folder of small scans, a workbench that serves it within this process, and what a client does with it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk
from stage2.drawn import drawn_scan
from starlette.testclient import TestClient

from Stage2.serving.app import create_app
from Stage2.serving.security import Access, hosts_of
from Stage2.serving.settings import ServeSettings

TOKEN = "a1" * 12
ADDRESS = "http://127.0.0.1:8000"
SMALL = {"size": (40, 32, 3), "spacing": (5.0, 5.0, 10.0)}
FAKE = (sys.executable, "-SE", str(Path(__file__).with_name("fake_work.py")))
NAMES = ("a", "b", "c")


def fill(folder: Path) -> Path:
    """Three scans, and `mask.nii.gz` of the first one in the folder above; returns the folder."""
    folder.mkdir(parents=True)
    for name, shift in zip(NAMES, (0.0, 4.0, 8.0), strict=True):
        scan, mask = drawn_scan(**SMALL, shift=shift)
        sitk.WriteImage(scan, str(folder / f"{name}.nii.gz"))
        if name == "a":
            sitk.WriteImage(mask, str(folder.parent / "mask.nii.gz"))
    return folder


@contextmanager
def serving(folder: Path, **settings) -> Iterator[TestClient]:
    """A client with the token of a workbench that serves a folder; its jobs are done by `fake_work.py`."""
    access = Access(TOKEN, hosts_of(["127.0.0.1", "localhost"], 8000), port=8000)
    app = create_app(ServeSettings(data=folder, **settings), access, FAKE)
    with TestClient(app, base_url=ADDRESS, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def draw(client: TestClient, folder: Path, scan: str = "a", slices: str | None = None) -> dict:
    """Send the mask as the drawing of a scan; returns the scan as described."""
    content = (folder.parent / "mask.nii.gz").read_bytes()
    answer = client.put(f"/api/scans/{scan}/drawing", content=content, params=slices and {"slices": slices})
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(holds: Callable[[], object], seconds: float = 20.0, pause: float = 0.03) -> object:
    """What `holds` returns, once that is true; it is asked after every pause."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(pause)
    raise AssertionError("it did not come about")


def job_ended(client: TestClient, job: str) -> dict:
    """The job, once it has ended."""

    def ended() -> dict | None:
        own = client.get("/api/state").json()["job"]
        return own if own and own["id"] == job and own["state"] in ("done", "failed", "cancelled") else None

    return until(ended)
