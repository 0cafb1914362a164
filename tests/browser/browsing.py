"""A workbench served to a real browser, and what a person does on its page."""

import base64
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk
import uvicorn
from stage2.drawn import drawn_scan
from stage2.serving.served import FAKE, TOKEN

from Stage2.serving.app import create_app
from Stage2.serving.security import Access, hosts_of
from Stage2.serving.settings import ServeSettings

GRID = {"size": (80, 64, 10), "spacing": (2.5, 2.5, 3.85)}
HOSTILE = "<img src=x onerror=alert(1)>"
RIGHT, LEFT = (0.3, 0.4), (0.72, 0.55)  # centres of organs 2 and 3: shares of the width from the right, from the back


def fill(folder: Path) -> Path:
    """The same patient on grids of other axes, and one whose name is hostile; returns the folder."""
    folder.mkdir(parents=True)
    for name, axes in (("a", "LAS"), ("b", "RPI"), ("c", "PSL"), (HOSTILE, "LAS")):
        sitk.WriteImage(drawn_scan(**GRID, axes=axes)[0], str(folder / f"{name}.nii.gz"))
    return folder


@contextmanager
def served(folder: Path, **settings) -> Iterator[str]:
    """The address, with its token, of a workbench in a thread of this process; its jobs are done by `fake_work.py`."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        port = listening.getsockname()[1]
        access = Access(TOKEN, hosts_of(["127.0.0.1"], port), port=port)
        app = create_app(ServeSettings(data=folder, **settings), access, FAKE)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{port}/?token={TOKEN}"
        server.should_exit = True
        thread.join(timeout=10)


class Desk:
    """A person at the page.

    Args:
        page: of Playwright.
        address: of the workbench.
    """

    def __init__(self, page, address: str):
        self.page, self.address = page, address
        self.problems: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def open_page(self) -> None:
        self.page.goto(self.address)
        self.page.locator("html[data-ready=true]").wait_for()

    def scan(self, name: str):
        return self.page.locator(".scan").filter(has=self.page.get_by_text(name, exact=True))

    def open_scan(self, name: str) -> None:
        self.scan(name).click()
        self.loaded(name)

    def loaded(self, name: str) -> None:
        self.page.locator("#scan-title").get_by_text(name, exact=True).wait_for()
        self.page.locator("#message:empty").wait_for(state="attached")
        self.frame()

    def saved(self) -> None:
        self.page.locator("#save:disabled").wait_for()

    def place(self, plane: str, share: Sequence[float]) -> tuple[float, float]:
        """A point of the window: shares of the scan's width and height on a plane, from the left and from the top."""
        box = self.page.locator(f"#{plane}").bounding_box()
        sizes = [count * step for count, step in zip(GRID["size"], GRID["spacing"], strict=True)]
        width, height = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
        scale = min((box["width"] - 8) / sizes[width], (box["height"] - 8) / sizes[height])
        x = box["x"] + box["width"] / 2 + (share[0] - 0.5) * sizes[width] * scale
        return x, box["y"] + box["height"] / 2 + (share[1] - 0.5) * sizes[height] * scale

    def drag(self, points: Sequence[tuple[float, float]], button: str = "left") -> None:
        self.page.mouse.move(*points[0])
        self.page.mouse.down(button=button)
        for point in points[1:]:
            self.page.mouse.move(*point)
        self.page.mouse.up(button=button)
        self.frame()

    def outline(self, centre: Sequence[float], radius: float = 0.12) -> None:
        """Around a place of the axial plane; the radius is a share of the width."""
        ratio = GRID["size"][0] * GRID["spacing"][0] / (GRID["size"][1] * GRID["spacing"][1])
        turns = [2 * math.pi * part / 24 for part in range(25)]
        places = [(centre[0] + radius * math.cos(turn), centre[1] + radius * ratio * math.sin(turn)) for turn in turns]
        self.drag([self.place("axial", place) for place in places])

    def turn_wheel(self, notches: int) -> None:
        self.page.mouse.move(*self.place("axial", (0.5, 0.2)))
        for _ in range(abs(notches)):
            self.page.mouse.wheel(0, math.copysign(100, notches))
        self.frame()

    def frame(self) -> None:
        """Wait until what was done is painted."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self, plane: str = "axial") -> np.ndarray:
        """The pixels of a plane's canvas, (H, W, 3) RGB."""
        coded = self.page.evaluate("(id) => document.getElementById(id).toDataURL()", plane).partition(",")[2]
        content = np.frombuffer(base64.b64decode(coded), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(int)

    def colour(self, share: Sequence[float], plane: str = "axial") -> np.ndarray:
        """RGB of a place of a plane, the median of 5 x 5 pixels."""
        box = self.page.locator(f"#{plane}").bounding_box()
        x, y = self.place(plane, share)
        corner = [round(x - box["x"]) - 2, round(y - box["y"]) - 2]
        pixels = self.page.evaluate(
            """([id, x, y]) => [...document.getElementById(id).getContext("2d").getImageData(x, y, 5, 5).data]""",
            [plane, *corner],
        )
        return np.median(np.reshape(pixels, (25, 4)), axis=0)[:3]

    def photograph(self, name: str) -> np.ndarray:
        """An element as the screen shows it, (H, W, 3) RGB."""
        content = np.frombuffer(self.page.locator(f"#{name}").screenshot(), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(int)

    def download(self, link: str, folder: Path) -> Path:
        with self.page.expect_download() as given:
            self.page.locator(f"#{link}").click()
        path = folder / given.value.suggested_filename
        given.value.save_as(path)
        return path

    def state(self) -> Mapping:
        return self.page.evaluate("() => fetch('/api/state').then((answer) => answer.json())")

    def until(self, holds: Callable[[Mapping], object], seconds: float = 20.0) -> None:
        """Wait until the server's state is so."""
        deadline = time.monotonic() + seconds
        while not holds(self.state()):
            assert time.monotonic() < deadline, self.state()
            time.sleep(0.05)


def reddish(colour: np.ndarray) -> bool:
    return colour[0] > colour[1] + 20 and colour[0] > colour[2] + 10


def greenish(colour: np.ndarray) -> bool:
    return colour[1] > colour[0] + 20 and colour[1] > colour[2] + 10
