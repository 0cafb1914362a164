"""The workbench's page in a real browser, with a scan as large as they come: how soon it shows, how fast it moves."""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from Stage2.benchmarks.workbench_client import Client, running
from Stage2.io.volumes import write_volume

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WINDOW = {"width": 1600, "height": 900}
CHANGES = 40  # slices turned to in each plane
PATIENCE = 120_000  # ms
# From an event to the moment when what it asked for is painted and handed over to be shown.
TURNING = """async ([plane, count]) => {
  const canvas = document.getElementById(plane);
  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  }));
  const taken = [];
  for (let at = 0; at < count; at++) {
    await painted();
    const begun = performance.now();
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: at < count / 2 ? 100 : -100, cancelable: true }));
    await painted();
    taken.push(performance.now() - begun);
  }
  return taken;
}"""
SHOWN = """() => {
  const canvas = document.getElementById("axial");
  const { width, height } = canvas;
  if (!width || !document.getElementById("axial-place").textContent) return false;
  const pixels = canvas.getContext("2d").getImageData(width / 4, height / 4, width / 2, height / 2).data;
  return pixels.some((value, at) => at % 4 === 0 && value > 30 && value < 255);
}"""


def browser_program() -> str:
    """The system's Chromium, or the program that DENSEMP_BROWSER names.

    Raises:
        FileNotFoundError: there is none.
    """
    found = os.environ.get("DENSEMP_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError("no browser was found; install Chromium, on Debian by: apt install chromium.")
    return found


def measure_page(shape: tuple[int, int, int]) -> list[tuple[str, str]]:
    """Rows of what was measured and its figure.

    Args:
        shape: voxels of the scan along x, y, z.

    Raises:
        FileNotFoundError, ValueError: no browser, no Playwright, or the workbench did not start.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise ValueError("playwright is missing; run: bash tools/setup.sh --dev") from None
    program = browser_program()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as started:
        folder = Path(scratch) / "scans"
        folder.mkdir()
        image = drawn_ct(shape)
        write_volume(folder / "large.nii.gz", sitk.GetArrayViewFromImage(image), image)
        megabytes = (folder / "large.nii.gz").stat().st_size / 1e6
        with running(folder) as client:
            begun = time.monotonic()
            client.ask("/api/scans/large/thumbnail.png")
            rows = [("file, MB", f"{megabytes:.0f}"), ("server reads it once, s", f"{time.monotonic() - begun:.1f}")]
            browser = started.chromium.launch(executable_path=program, args=list(OPTIONS))
            rows += _looked_at(browser.new_page(viewport=WINDOW), client)
            browser.close()
    return rows


def _looked_at(page: "Page", client: Client) -> list[tuple[str, str]]:
    begun = time.monotonic()
    page.goto(f"{client.address}/?token={client.token}")
    page.locator("html[data-ready=true]").wait_for(timeout=PATIENCE)
    rows = [("page and list, s", f"{time.monotonic() - begun:.2f}")]
    begun = time.monotonic()
    page.locator(".scan").click()
    page.wait_for_function(SHOWN, polling=20, timeout=PATIENCE)
    rows.append(("first picture after the click, s", f"{time.monotonic() - begun:.2f}"))
    page.locator("#example:disabled").wait_for(timeout=PATIENCE)
    page.locator("#message:empty").wait_for(state="attached", timeout=PATIENCE)
    rows.append(("every voxel there, s", f"{time.monotonic() - begun:.1f}"))
    for plane in ("axial", "coronal", "sagittal"):
        rows.append((f"slice change, {plane}, ms: median, slowest of {CHANGES}", _spread(page, plane)))
    page.keyboard.press("b")
    box: Any = page.locator("#axial").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    rows.append((f"the same with a drawing, axial, ms: median, slowest of {CHANGES}", _spread(page, "axial")))
    begun = time.monotonic()
    page.keyboard.press("Control+s")
    page.locator("#save:disabled").wait_for(timeout=PATIENCE)
    return [*rows, ("saving a drawing, s", f"{time.monotonic() - begun:.1f}")]


def _spread(page: "Page", plane: str) -> str:
    taken = page.evaluate(TURNING, [plane, CHANGES])
    return f"{statistics.median(taken):.0f}, {max(taken):.0f}"


def drawn_ct(shape: tuple[int, int, int]) -> sitk.Image:
    """A body with a bright organ and noise, in Hounsfield units, int16; noise is what makes its file as large as a
    real scan's."""
    width, height, depth = shape
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (8, height, width)).astype(np.int16)
    x, y = np.arange(width)[None] / width - 0.5, np.arange(height)[:, None] / height - 0.5
    body = (x / 0.43) ** 2 + (y / 0.35) ** 2 < 1
    volume = np.empty((depth, height, width), np.int16)
    for slice_ in range(depth):
        z = slice_ / depth - 0.55
        organ = ((x + 0.15) / 0.14) ** 2 + ((y + 0.05) / 0.12) ** 2 + (z / 0.2) ** 2 < 1
        volume[slice_] = np.where(organ, 120, np.where(body, 40, -1000)) + noise[slice_ % len(noise)]
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 0.7, 1.0))
    return image
