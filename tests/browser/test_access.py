"""The page by keyboard alone, in windows of a telephone and of a wall screen, and where nothing may be changed."""

import pytest
from browser.browsing import Desk, greenish, reddish, served

FOCUSED = "() => document.activeElement.id || document.activeElement.className"
OUTLINE = "() => parseFloat(getComputedStyle(document.activeElement).outlineWidth)"


def tab_to(desk: Desk, wanted: str, most: int = 60) -> None:
    for _ in range(most):
        desk.page.keyboard.press("Tab")
        if desk.page.evaluate(FOCUSED) == wanted:
            assert desk.page.evaluate(OUTLINE) >= 2, f"the focus on {wanted} is not to be seen"
            return
    raise AssertionError(f"{wanted} is not reached by Tab")


def test_an_organ_is_drawn_by_keys_alone(desk):
    keys = desk.page.keyboard
    tab_to(desk, "scan")
    keys.press("Enter")
    desk.page.locator("#message:empty").wait_for(state="attached")
    desk.page.locator("#example:disabled").wait_for()
    tab_to(desk, "axial")
    for key in ("b", "]", "PageUp", "Shift+ArrowLeft", "ArrowUp", "Space", "ArrowLeft", "ArrowLeft", "Space"):
        keys.press(key)
    keys.press("ArrowDown")  # the pen is lifted: nothing more is drawn
    assert desk.page.locator("#axial-place").inner_text() == "axial 7 of 10"
    desk.frame()
    assert reddish(desk.colour((28.5 / 80, 29.9 / 64)))
    keys.press("o")
    for key in ("Space", *["ArrowRight"] * 8, "Space", *["ArrowDown"] * 8, "Space", "Enter"):
        keys.press(key)
    drawn = desk.page.locator("#labels tr").first.locator("td").nth(2)
    desk.page.wait_for_timeout(500)
    assert float(drawn.inner_text()) > 1
    keys.press("Control+s")
    desk.saved()
    assert "drawn" in [scan["state"] for scan in desk.state()["scans"]]
    keys.press("w")
    before = desk.page.locator("#place").inner_text()
    keys.press("ArrowUp")
    assert desk.page.locator("#place").inner_text() != before


def test_help_opens_and_closes_by_keys(desk):
    desk.page.keyboard.press("?")
    help_ = desk.page.get_by_role("dialog", name="Help")
    help_.wait_for()
    assert help_.locator("kbd").count() > 15
    desk.page.keyboard.press("Escape")
    help_.wait_for(state="hidden")
    assert desk.page.evaluate(FOCUSED) == "axial", "the focus is back where it was"


def test_everything_has_a_name_for_screen_readers(desk):
    nameless = desk.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a, canvas[tabindex], progress")]
          .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("width, height", [(360, 740), (768, 1024), (3840, 2160)])
def test_the_page_fits_windows_of_every_width(desk, width, height):
    desk.page.set_viewport_size({"width": width, "height": height})
    desk.frame()
    assert desk.page.evaluate("() => document.scrollingElement.scrollWidth") <= width
    cut = desk.page.evaluate(
        """(width) => [...document.querySelectorAll("button, input, select, canvas")]
          .filter((one) => one.offsetParent && !one.closest("#scans") && !one.closest(".button"))
          .filter((one) => { const box = one.getBoundingClientRect(); return box.left < 0 || box.right > width + 1; })
          .map((one) => one.id || one.textContent)""",
        width,
    )
    assert cut == []
    box = desk.page.locator("#axial").bounding_box()
    assert box["width"] > 0.4 * min(width, 900) and box["height"] > 200
    desk.page.locator("#axial").scroll_into_view_if_needed()
    desk.page.locator("#axial").press("Home")
    desk.page.wait_for_timeout(50)
    assert desk.page.locator("#axial-place").inner_text() == "axial 10 of 10"
    assert desk.picture().max() > 150


def test_a_read_only_workbench_shows_and_changes_nothing(browser, folder):
    with served(folder, read_only=True) as address:
        page = browser.new_page()
        desk = Desk(page, address)
        desk.open_page()
        page.locator("#read-only").wait_for()
        desk.open_scan("a")
        assert page.locator(".writes:visible").count() == 0 and page.locator("#name-1").is_disabled()
        page.keyboard.press("b")
        desk.drag([desk.place("axial", (0.5, 0.5)), desk.place("axial", (0.6, 0.5))])
        colours = [desk.colour((share, 0.5)) for share in (0.53, 0.57)]
        assert not any(reddish(one) or greenish(one) for one in colours)
        page.close()
