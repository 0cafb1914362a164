"""A browser for all tests of the page; they skip where the machine has none, or no viewer was fetched."""

from collections.abc import Iterator

import pytest
from browser.browsing import Desk, fill, served

from Stage2.benchmarks.workbench_page import OPTIONS, browser_program
from Stage2.serving.app import VENDOR


@pytest.fixture(scope="module")  # with its event loop, it is gone before other tests begin
def browser() -> Iterator:
    try:
        program = browser_program()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if not (VENDOR / "niivue.js").is_file():
        pytest.skip("the page's viewer was not fetched: run bash tools/setup.sh --workbench")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("workbench") / "scans")


@pytest.fixture(scope="module")
def desk(browser, folder) -> Iterator[Desk]:
    """One page for all tests of a module, which go on from where the one before left it."""
    with served(folder) as address:
        page = browser.new_page(viewport={"width": 1360, "height": 820})
        page.set_default_timeout(20_000)
        desk = Desk(page, address)
        desk.open_page()
        yield desk
        page.close()
