"""Axes: whatever order a scan is stored in, its voxels stay where they are in the patient."""

import math
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.axes import MAX_TILT, axes_of, check_axes, direction_of, slice_axis, tilt, upright

CODES = ["".join(order) for letters in product("LR", "PA", "SI") for order in permutations(letters)]


def numbered(size: tuple[int, int, int] = (4, 3, 2)) -> sitk.Image:
    image = sitk.GetImageFromArray(np.arange(math.prod(size), dtype=np.float32).reshape(size[::-1]) + 1)
    image.SetSpacing((1.0, 2.0, 5.0))
    image.SetOrigin((7.0, -3.0, 11.0))
    return image


def tilted(image: sitk.Image, degrees: float, axis: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> sitk.Image:
    """The same voxels on a grid turned about an axis: a patient who lay askew."""
    rotation = sitk.VersorTransform(axis, math.radians(degrees))
    turned = sitk.Image(image)
    turned.SetDirection((np.reshape(rotation.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))).flatten())
    return turned


def places(image: sitk.Image) -> dict[float, tuple[float, ...]]:
    """Value of every voxel -> where it lies."""
    return {
        image[index]: tuple(np.round(image.TransformIndexToPhysicalPoint(index), 6))
        for index in product(*map(range, image.GetSize()))
    }


def test_all_48_orders_of_axes_are_reached_without_moving_a_voxel():
    assert len(set(CODES)) == 48
    image = numbered()
    for code in CODES:
        turned = upright(image, code)
        assert axes_of(turned) == code
        assert places(turned) == places(image)
        np.testing.assert_allclose(np.reshape(turned.GetDirection(), (3, 3)), direction_of(code), atol=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 3.0, 30.0])
def test_tilt_is_the_angle(degrees):
    assert tilt(tilted(numbered(), degrees, (0.0, 0.6, 0.8))) <= degrees + 1e-6
    assert tilt(tilted(numbered(), degrees)) == pytest.approx(degrees, abs=1e-5)


def test_a_small_tilt_stays_and_a_large_one_is_resampled_where_it_lies():
    blob = np.zeros((20, 40, 40), dtype=np.float32)
    blob[9:12, 24:29, 10:15] = 100.0
    image = sitk.GetImageFromArray(blob)
    image.SetSpacing((1.0, 1.0, 2.0))
    small, large = tilted(image, MAX_TILT - 1), tilted(image, 25.0, (0.6, 0.0, 0.8))
    assert upright(small, "LPS").GetDirection() == small.GetDirection()
    result = upright(large, "RAI")
    np.testing.assert_allclose(np.reshape(result.GetDirection(), (3, 3)), direction_of("RAI"))
    assert centre_of_mass(result) == pytest.approx(centre_of_mass(large), abs=0.3)  # mm
    volume = [sitk.GetArrayFromImage(one).sum() * math.prod(one.GetSpacing()) for one in (result, large)]
    assert volume[0] == pytest.approx(volume[1], rel=0.03)  # the grid holds all of it


def test_outside_a_tilted_scan_lies_its_minimum_or_0():
    for lowest, outside in ((-900.0, -900.0), (5.0, 0.0)):
        voxels = np.full((4, 8, 8), 40.0, np.float32)
        voxels[2, 4, 4] = lowest
        image = tilted(sitk.GetImageFromArray(voxels), 25.0)
        assert sitk.GetArrayFromImage(upright(image, "LPS"))[0, 0, 0] == outside


def centre_of_mass(image: sitk.Image) -> tuple[float, ...]:
    weights = sitk.GetArrayFromImage(image)
    index = [float((weights * grid).sum() / weights.sum()) for grid in np.indices(weights.shape)][::-1]
    return image.TransformContinuousIndexToPhysicalPoint(index)


@pytest.mark.parametrize(("code", "axis"), [("LAS", 0), ("LSA", 1), ("SAL", 2), ("IRP", 2)])
def test_slices_lie_along_the_patients_length(code, axis):
    assert slice_axis(upright(numbered(), code)) == axis


@pytest.mark.parametrize("axes", ["", "LA", "LAX", "LRS", "las", "LASS"])
def test_other_codes_are_refused(axes):
    with pytest.raises(ValueError, match="expected three letters, one each of L/R, P/A and S/I"):
        check_axes(axes)
