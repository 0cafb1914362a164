"""Make the pictures of the page in docs/, from phantom scans and a network that learns for a minute.

Example: PYTHONPATH=. python tests/browser/make_pictures.py docs
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from Stage2.benchmarks.workbench_client import Client, served
from Stage2.benchmarks.workbench_page import OPTIONS, browser_program
from Stage2.datasets.volumes import list_scans
from Stage2.io.names import label_path

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = {"workbench": (1360, 820), "workbench_drawing": (1360, 820), "workbench_phone": (360, 740)}
NAMES = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
COLOURS_OF = {1: "#e6194b", 2: "#3cb44b", 3: "#4363d8", 4: "#f58231"}
COLOURS = 256  # of a picture, which keeps it small
MINUTES = 1.0


def prepare(client: Client, data: Path, scan_ids: list[str]) -> None:
    """An example with all organs, and masks of the other scans."""
    labels = [{"value": value, "name": name, "colour": COLOURS_OF[value]} for value, name in NAMES.items()]
    client.json("/api/labels", "PUT", {"labels": labels})
    client.ask(f"/api/scans/image_{scan_ids[0]}/drawing", "PUT", label_path(data, scan_ids[0]).read_bytes())
    client.json(f"/api/scans/image_{scan_ids[0]}/example", "PUT", {"example": True})
    client.run_job(kind="segment", minutes=MINUTES)


def open_scan(page: Page, client: Client, name: str) -> None:
    page.goto(f"{client.address}/?token={client.token}")
    page.locator("html[data-ready=true]").wait_for()
    page.locator(".scan").filter(has=page.get_by_text(name, exact=True)).click()
    page.locator("#layers button:enabled").first.wait_for()
    page.locator("#message:empty").wait_for(state="attached")
    box = page.locator("#axial").bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.45 * box["height"])


def take(page: Page, path: Path) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    picture = Image.open(path).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as started:
        program = ROOT / "tools" / "make_demo_data.py"
        subprocess.run([sys.executable, str(program), scratch, "--only", "mr", "--mr-scans", "4"], check=True)
        data = Path(scratch) / "MR"
        scan_ids = list_scans(data)
        with served(data, scan_ids, Path(scratch) / "scans") as client:
            prepare(client, data, scan_ids)
            browser = started.chromium.launch(executable_path=browser_program(), args=list(OPTIONS))
            for name, (width, height) in WINDOWS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                open_scan(page, client, f"image_{scan_ids[0 if name == 'workbench_drawing' else 1]}")
                if name == "workbench_drawing":
                    page.keyboard.press("o")
                if name == "workbench_phone":
                    page.locator("#toolbar").scroll_into_view_if_needed()
                    page.locator("#planes").evaluate("(planes) => planes.scrollIntoView({ block: 'end' })")
                take(page, out / f"{name}.png")
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
