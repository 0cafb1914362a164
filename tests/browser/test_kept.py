"""What is drawn stays: when its scan is segmented after it, when the tool changes; what is taken back is gone."""

import numpy as np
import SimpleITK as sitk
from browser.browsing import HOSTILE, LEFT, RIGHT, Desk, reddish
from stage2.drawn import drawn_scan

ORGAN_2 = (RIGHT[0], 1 - RIGHT[1])
ORGAN_3 = (LEFT[0], 1 - LEFT[1])
FEW = (80, 64, 8)  # voxels of another grid


def told(desk: Desk, name: str = HOSTILE) -> dict:
    return next(scan for scan in desk.state()["scans"] if scan["name"] == name)


def save(desk: Desk) -> None:
    desk.page.keyboard.press("Control+s")
    desk.saved()


def test_a_drawing_stays_when_its_scan_is_segmented(desk, tmp_path):
    desk.open_scan("a")
    desk.page.keyboard.press("o")
    desk.outline(ORGAN_3)
    desk.page.locator("#example").check()
    desk.until(lambda state: any(scan["example"] for scan in state["scans"]))
    desk.open_scan(HOSTILE)
    desk.outline(ORGAN_2)
    save(desk)
    assert desk.page.locator("#item-mask").is_hidden()
    desk.page.locator("#segment").click()
    desk.page.locator(".job.done").wait_for()
    assert told(desk)["state"] == "segmented"
    desk.open_scan("b")
    desk.open_scan(HOSTILE)
    assert reddish(desk.colour(ORGAN_2)) and not reddish(desk.colour(ORGAN_3))
    desk.turn_wheel(1)
    desk.outline(ORGAN_2)
    save(desk)
    assert len(told(desk)["annotated_slices"]) == 2
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(desk.download("get-drawing", tmp_path))))
    assert np.count_nonzero(labels.any(axis=(1, 2))) == 2
    assert desk.download("get-mask", tmp_path).name.endswith("_mask.nii.gz")


def test_what_is_taken_back_is_no_drawing(desk, folder):
    desk.open_scan("b")
    before = (folder / "b_mask.nii.gz").read_bytes()
    desk.page.keyboard.press("c")
    desk.page.locator("#whole:checked").wait_for()
    save(desk)
    assert told(desk, "b")["drawn"]
    desk.page.keyboard.press("Control+z")
    assert not desk.page.locator("#whole").is_checked()
    save(desk)
    assert told(desk, "b").items() >= {"drawn": False, "example": False, "state": "segmented"}.items()
    assert (folder / "b_mask.nii.gz").read_bytes() == before
    assert desk.page.locator("#item-drawing").is_hidden() and desk.page.locator("#item-mask").is_visible()


def test_a_stroke_counts_whose_pen_is_down_when_the_tool_changes(desk):
    desk.open_scan(HOSTILE)
    desk.page.keyboard.press("b")
    desk.page.mouse.move(*desk.place("axial", ORGAN_3))
    desk.page.mouse.down()
    desk.page.mouse.move(*desk.place("axial", (ORGAN_3[0] + 0.02, ORGAN_3[1])))
    desk.page.keyboard.press("o")
    desk.page.mouse.up()
    desk.page.locator("#save:enabled").wait_for()
    desk.frame()
    assert reddish(desk.colour(ORGAN_3))
    desk.page.keyboard.press("Control+z")
    desk.frame()
    assert not reddish(desk.colour(ORGAN_3))
    save(desk)


def test_a_drawing_that_does_not_fit_any_more_is_told_of_and_the_scan_is_shown(desk, folder):
    sitk.WriteImage(drawn_scan(size=FEW, spacing=(2.5, 2.5, 4.8))[0], str(folder / f"{HOSTILE}.nii.gz"))
    before = len(desk.problems)
    desk.page.reload()
    desk.page.locator("html[data-ready=true]").wait_for()
    desk.scan(HOSTILE).click()
    desk.page.locator("#message").filter(has_text="both must lie on one grid").wait_for()
    desk.until(lambda state: len(desk.problems) > before)
    del desk.problems[before:]  # the refusal itself
    assert desk.page.locator("#axial-place").inner_text() == "axial 5 of 8"
    desk.page.keyboard.press("o")
    desk.outline(ORGAN_2)
    save(desk)
    assert told(desk)["state"] == "drawn"
    assert desk.problems == []
