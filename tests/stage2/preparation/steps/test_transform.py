"""Raw images that a window cannot be for are named before anything is made of them."""

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.preparation.steps.transform import CHAOS_TRANSFORM, SABS_TRANSFORM, VolumeTransform, expect_plausible


def draw_ct() -> np.ndarray:
    """Hounsfield units of a body in air, with bone, (4, 64, 64)."""
    image = np.random.default_rng(0).normal(-1000, 15, (4, 64, 64))
    image[:, 12:52, 12:52] += 1050
    image[:, 30:36, 30:36] += 700
    return image.clip(-1024).astype(np.int16)


def check(voxels: np.ndarray, transform: VolumeTransform = SABS_TRANSFORM) -> None:
    expect_plausible(sitk.GetImageFromArray(voxels), transform)


def test_hounsfield_units_are_taken_with_or_without_padding(caplog):
    padded = draw_ct()
    padded[:, :4] = -3024
    for voxels in (draw_ct(), padded, draw_ct()[:, 12:52, 12:52] - 200):
        check(voxels)
    check(draw_ct() + 1024, VolumeTransform(window=(900, 1300)))  # a window for values as they are stored
    check(draw_ct() + 1024, CHAOS_TRANSFORM)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda ct: ct + np.int16(1024), "from 0 to 1"),
        (lambda ct: np.where(np.arange(64) < 6, -2000, ct + np.int16(1024)).astype(np.int16), "from 0 to 1"),
        (lambda ct: (ct + 1024) / 4095, "from 0 to 0"),
        (lambda ct: np.abs(ct / 3), "from 0"),
    ],
    ids=["no offset", "no offset, padded", "scaled to [0, 1]", "an MR"],
)
def test_what_is_not_in_hounsfield_units_is_refused(change, found):
    voxels = change(draw_ct())
    with pytest.raises(ValueError, match=rf"^its values run {found}.*Hounsfield units.*lacks its offset.*choose a win"):
        check(voxels)


def test_positive_values_inside_the_window_are_a_warning(caplog):
    check(draw_ct().clip(0, 200) + np.int16(1))
    assert "is for a CT in Hounsfield units" in caplog.text


def test_a_window_that_clips_nearly_everything_is_refused():
    with pytest.raises(ValueError, match=r"^100.0 % of its voxels lie outside the window from 400 to 600"):
        check(draw_ct(), VolumeTransform(window=(400, 600)))
