"""From the first stroke to the downloaded mask, by mouse, on one page; the tests go on from one another."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from browser.browsing import GRID, HOSTILE, LEFT, RIGHT, Desk, greenish, reddish
from stage2.drawn import dice, drawn_scan

# On the screen: the patient's right is at the left, the front at the top.
ORGAN_2 = (RIGHT[0], 1 - RIGHT[1])
ORGAN_3 = (LEFT[0], 1 - LEFT[1])
MIDDLE = 4  # slice through both organs, from 0


def drawing(desk: Desk, folder: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(desk.download("get-drawing", folder))))


def test_scans_are_listed_with_pictures_and_names_as_they_are(desk):
    names = desk.page.locator(".scan strong").all_inner_texts()
    assert sorted(names) == sorted(["a", "b", "c", HOSTILE])
    seen = desk.page.evaluate("() => [...document.querySelectorAll('.scan img')].map((image) => image.naturalWidth)")
    assert len(seen) == 4 and min(seen) > 30
    assert desk.page.locator("img[onerror]").count() == 0


def test_every_scan_stands_upright_whatever_its_axes(desk):
    pictures = []
    for name in ("a", "b", "c"):
        desk.open_scan(name)
        pictures.append([desk.picture(plane) for plane in ("axial", "coronal", "sagittal")])
    first = pictures[0]
    for other in pictures[1:]:
        for one, two in zip(first, other, strict=True):
            assert np.abs(one - two).mean() < 1.5  # texts and lines included
    right, left, air = (desk.colour(place)[0] for place in (ORGAN_2, ORGAN_3, (0.02, 0.02)))
    assert right > left + 30 > air + 60


def test_wheel_and_mouse_change_slice_window_and_zoom(desk):
    place = desk.page.locator("#axial-place")
    assert place.inner_text() == "axial 6 of 10"
    desk.turn_wheel(-2)
    assert place.inner_text() == "axial 8 of 10"
    desk.turn_wheel(3)
    assert place.inner_text() == "axial 5 of 10"
    body, plain = desk.colour((0.5, 0.3))[0], desk.page.locator("#place").inner_text()
    start = desk.place("axial", (0.5, 0.5))
    desk.drag([start, (start[0], start[1] - 40)], button="right")
    assert desk.colour((0.5, 0.3))[0] > body + 15, "dragged upwards, the picture is brighter"
    assert desk.page.locator("#place").inner_text() != plain
    desk.page.get_by_role("button", name="Auto window").click()
    desk.frame()
    assert desk.colour((0.5, 0.3))[0] == body


def test_organs_are_drawn_taken_back_erased_and_filled_between_slices(desk, tmp_path):
    desk.open_scan("a")
    desk.turn_wheel(1)  # slice 5 of 10: MIDDLE
    desk.page.get_by_role("button", name="Add organ").click()
    desk.page.locator("#name-2").wait_for()
    desk.page.locator("#label-2").check()
    desk.page.keyboard.press("o")
    desk.outline(ORGAN_2)
    assert greenish(desk.colour(ORGAN_2))
    desk.page.keyboard.press("Control+z")
    desk.frame()
    assert not greenish(desk.colour(ORGAN_2))
    desk.page.keyboard.press("Control+y")
    desk.frame()
    assert greenish(desk.colour(ORGAN_2))

    desk.page.keyboard.press("e")
    desk.drag([desk.place("axial", ORGAN_2), desk.place("axial", (ORGAN_2[0] + 0.03, ORGAN_2[1]))])
    assert not greenish(desk.colour(ORGAN_2))
    desk.page.keyboard.press("f")
    desk.drag([desk.place("axial", ORGAN_2)])
    assert greenish(desk.colour(ORGAN_2)), "the hole is enclosed, so it is filled"
    desk.drag([desk.place("axial", (0.5, 0.9))])
    assert "No outline encloses" in desk.page.locator("#message").inner_text()

    desk.page.keyboard.press("o")
    desk.turn_wheel(-2)  # slice 7
    desk.outline(ORGAN_2, radius=0.08)
    desk.page.keyboard.press("i")
    desk.page.get_by_text("1 slices filled in between.").wait_for()
    desk.page.keyboard.press("Control+s")
    desk.saved()
    labels = drawing(desk, tmp_path)
    assert np.unique(labels).tolist() == [0, 2]
    assert np.flatnonzero((labels == 2).any(axis=(1, 2))).tolist() == [4, 5, 6]
    truth = sitk.GetArrayFromImage(drawn_scan(**GRID)[1])
    areas = [np.count_nonzero(labels[slice_] == 2) for slice_ in (4, 5, 6)]
    assert areas[0] > areas[1] > areas[2] > 0
    assert dice(labels[MIDDLE] == 2, truth[MIDDLE] == 2) > 0.8
    scan = next(scan for scan in desk.state()["scans"] if scan["name"] == "a")
    assert scan["annotated_slices"] == [4, 5, 6] and scan["state"] == "drawn"


def test_a_job_is_followed_and_stopped(desk, folder):
    desk.page.locator("#example").check()
    desk.until(lambda state: any(scan["example"] for scan in state["scans"]))
    slow = folder / "slow"
    slow.touch()
    desk.page.locator("#segment").click()
    desk.page.locator(".job.running progress").wait_for()
    desk.page.locator(".job.running").get_by_role("button", name="Stop").click()
    desk.page.locator(".job.cancelled").get_by_text("stopped").wait_for()
    slow.unlink()


def test_others_are_segmented_seen_and_corrected(desk, folder, tmp_path):
    desk.page.locator("#segment").click()
    desk.page.locator(".job.done").wait_for()
    desk.page.locator(".scan .state.segmented").first.wait_for()
    ranks = desk.page.locator(".scan .rank").all_inner_texts()
    assert ranks == sorted(ranks) and len(ranks) == 3
    assert desk.page.locator(".scan strong").last.inner_text() == "a", "the example is not to be annotated again"

    desk.open_scan(HOSTILE)  # its grid is that of the example, whose drawing these jobs give back
    desk.turn_wheel(1)
    assert greenish(desk.colour(ORGAN_2)) and not greenish(desk.colour(ORGAN_3))
    shown = desk.colour(ORGAN_2)
    desk.page.locator("#opacity").fill("0.9")
    desk.frame()
    assert desk.colour(ORGAN_2)[1] - desk.colour(ORGAN_2)[0] > shown[1] - shown[0] + 20
    desk.page.keyboard.press("h")
    desk.frame()
    assert not greenish(desk.colour(ORGAN_2))
    desk.page.keyboard.press("h")
    row = desk.page.locator("#labels tr").filter(has=desk.page.locator("#name-2"))
    assert row.locator("td").nth(3).inner_text() == "1.5" and row.locator("td").nth(4).inner_text() != ""
    mask = desk.download("get-mask", tmp_path)
    assert np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(mask)))).tolist() == [0, 2]

    desk.page.keyboard.press("c")
    desk.page.locator("#label-1").check()
    desk.page.keyboard.press("o")
    desk.outline(ORGAN_3)
    assert reddish(desk.colour(ORGAN_3)) and greenish(desk.colour(ORGAN_2))
    desk.page.locator("#example").check()
    desk.until(lambda state: sum(scan["example"] for scan in state["scans"]) == 2)
    desk.page.locator("#segment").click()
    desk.page.locator(".job.done").nth(1).wait_for()


def test_all_is_there_after_a_reload(desk, tmp_path):
    desk.page.reload()
    desk.page.locator("html[data-ready=true]").wait_for()
    assert desk.scan(HOSTILE).locator(".state").inner_text().startswith(("corrected", "example"))
    desk.open_scan(HOSTILE)
    desk.turn_wheel(1)
    assert reddish(desk.colour(ORGAN_3)) and greenish(desk.colour(ORGAN_2))
    assert desk.page.locator("#example").is_checked() and desk.page.locator("#whole").is_checked()
    assert sitk.ReadImage(str(desk.download("get-drawing", tmp_path))).GetSize() == GRID["size"]
    assert desk.download("get-masks", tmp_path).stat().st_size > 100


def test_what_the_server_refuses_to_give_is_said(desk):
    before = len(desk.problems)
    desk.page.locator("#get-masks").evaluate("(link) => (link.search = '?scans=nothing')")
    desk.page.locator("#get-masks").click()
    desk.page.locator("#message").filter(has_text="is not here").wait_for()
    desk.until(lambda state: len(desk.problems) > before)
    del desk.problems[before:]  # the refusal itself


def test_a_scan_is_added(desk, tmp_path):
    scan = tmp_path / "added.nii.gz"
    sitk.WriteImage(drawn_scan(**GRID)[0], str(scan))
    desk.page.locator("#upload").set_input_files(scan)
    desk.scan("added").wait_for()
    wrong = tmp_path / "wrong.nii"
    wrong.write_text("no scan")
    before = len(desk.problems)
    desk.page.locator("#upload").set_input_files(wrong)
    desk.page.locator("#message").filter(has_text="wrong").wait_for()
    desk.until(lambda state: len(desk.problems) > before)
    del desk.problems[before:]  # the refusal itself


def test_the_organs_are_shown_in_3d(desk):
    desk.open_scan(HOSTILE)
    desk.page.locator("#solid").click()
    desk.page.locator("#solid-dialog[data-ready=true]").wait_for()
    content = desk.photograph("solid-canvas")
    assert (content[..., 1] > content[..., 0] + 40).sum() > 100 and (content[..., 0] > content[..., 1] + 40).sum() > 100
    desk.page.keyboard.press("Escape")
    desk.page.locator("#solid-dialog").wait_for(state="hidden")


def test_nothing_went_wrong_and_nothing_came_from_elsewhere(desk):
    assert desk.problems == []
    asked = [address for address in desk.asked if not address.startswith(("blob:", "data:"))]
    assert {address.split("/")[2] for address in asked} == {desk.address.split("/")[2]}
