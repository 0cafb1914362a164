"""Steps from raw to processed volumes, on small volumes with a geometry that is easy to get wrong."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from Stage2.preparation.steps.normalise import (
    centre_crop_or_pad,
    clip_bright_end,
    crop_border,
    drop_blank_trailing_slice,
    labels_from_grey_values,
    resample,
    resample_labels,
    resampled_size,
    window_intensities,
)
from Stage2.preparation.steps.transform import VolumeTransform, normalise_scan


def make_image(voxels: np.ndarray, spacing=(1.5, 2.0, 4.0)) -> sitk.Image:
    """An image with an odd origin and a direction that turns and flips the axes."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin((-30.5, 12.25, 7.0))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, -1))
    return image


def voxels_of(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def test_only_voxels_above_the_percentile_change():
    image = make_image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10))
    clipped = clip_bright_end(image, 99.0)
    assert np.array_equal(voxels_of(clipped), np.minimum(voxels_of(image), 989))
    assert clipped.GetPixelID() == image.GetPixelID()
    assert clipped.GetOrigin() == image.GetOrigin() and clipped.GetDirection() == image.GetDirection()


def test_the_window_is_stretched_to_eight_bits():
    image = make_image(np.array([[[-1000, -125, 75, 275, 3000]]], np.int16))
    assert voxels_of(window_intensities(image)).ravel() == pytest.approx([0, 0, 127.5, 255, 255])


def test_a_volume_that_does_not_fill_the_window_is_stretched_more():
    image = make_image(np.array([[[0, 50, 100]]], np.int16))
    assert voxels_of(window_intensities(image)).ravel() == pytest.approx([0, 127.5, 255])


def test_a_volume_outside_the_window_has_no_contrast():
    with pytest.raises(ValueError, match=r"275.*Hounsfield"):
        window_intensities(make_image(np.full((1, 2, 2), 4000, np.int16)))


def test_a_volume_without_contrast_below_its_bright_end_is_refused():
    voxels = np.full((1, 20, 20), 5, np.int16)
    voxels[0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"all voxels have the same value, 5, but the brightest 0\.5 %"):
        clip_bright_end(make_image(voxels))


def test_voxels_in_another_unit_are_refused_before_memory_is_asked_for():
    image = make_image(np.zeros((2, 4, 4), np.int16))
    image.SetSpacing((5000.0, 5000.0, 7700.0))
    with pytest.raises(ValueError, match=r"resampled from 5000 x 5000 x 7700 mm to 1\.25 .* has 16001 x 16001 x 2001"):
        resample(image, (1.25, 1.25, 7.7))


def test_size_formula():
    assert resampled_size((288, 288, 8), (1.6, 1.6, 9.0), (1.25, 1.25, 7.7)) == [369, 369, 10]
    assert resampled_size((448, 448, 6), (0.75, 0.75, 5.0), (1.3125, 1.3125, 5.0)) == [257, 257, 7]


def linear_at(row: np.ndarray, place: float) -> float:
    """A row of voxels at a fractional place; half a voxel beyond its ends still has the end's value."""
    if not -0.5 <= place < len(row) - 0.5:
        return 0.0
    return float(np.interp(place, np.arange(len(row)), row))


def test_resampling_is_linear_along_each_axis():
    row = np.array([0.0, 10.0, 40.0, 20.0])
    image = make_image(np.tile(row, (2, 3, 1)))
    out = resample(image, (1.0, 2.0, 4.0))
    assert out.GetSize() == (7, 4, 3)
    assert out.GetOrigin() == image.GetOrigin()
    assert voxels_of(out)[0, 0] == pytest.approx([linear_at(row, i / 1.5) for i in range(7)])
    assert not voxels_of(out)[2].any()


def test_labels_are_resampled_value_by_value():
    """Halfway between 1 and 3 no value has more than one half: background, never a 2."""
    label = make_image(np.array([[[1, 1, 3, 3]]], np.uint8), spacing=(1.0, 1.0, 1.0))
    assert voxels_of(resample_labels(label, (0.5, 1.0, 1.0)))[0, 0].tolist() == [1, 1, 1, 0, 3, 3, 3, 0, 0]
    assert voxels_of(resample_labels(label, (0.4, 1.0, 1.0)))[0, 0].tolist() == [1, 1, 1, 1, 3, 3, 3, 3, 3, 0, 0]


def test_labels_lie_on_the_grid_of_the_image():
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 3, (3, 5, 4))
    image, label = make_image(voxels.astype(np.float64)), make_image(voxels.astype(np.uint8))
    for spacing in ((1.0, 1.0, 4.0), (3.0, 2.0, 8.0)):
        one, other = resample(image, spacing), resample_labels(label, spacing)
        assert one.GetSize() == other.GetSize() and one.GetOrigin() == other.GetOrigin()
        assert one.GetSpacing() == other.GetSpacing() and one.GetDirection() == other.GetDirection()


def test_an_empty_label_stays_empty():
    out = resample_labels(make_image(np.zeros((2, 4, 4), np.int16)), (1.0, 1.0, 4.0))
    assert out.GetSize() == (7, 9, 3) and out.GetPixelID() == sitk.sitkUInt8 and not voxels_of(out).any()


@pytest.mark.parametrize("value", [0.5, -1.0, 300.0])
def test_values_that_are_no_labels_are_refused(value):
    with pytest.raises(ValueError, match="whole numbers"):
        resample_labels(make_image(np.array([[[0.0, value]]])), (1.0, 1.0, 1.0))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_crop_and_pad_keep_every_voxel_at_its_place(width, height, new_width, new_height):
    voxels = np.arange(2 * height * width, dtype=np.float64).reshape(2, height, width) + 5
    image = make_image(voxels)
    out = centre_crop_or_pad(image, (new_width, new_height))
    assert out.GetSize() == (new_width, new_height, 2)
    kept = 0
    for index in np.ndindex(out.GetSize()):
        place = image.TransformPhysicalPointToIndex(out.TransformIndexToPhysicalPoint(index))
        inside = all(0 <= i < n for i, n in zip(place, image.GetSize(), strict=True))
        assert out[index] == (image[place] if inside else 5.0)
        kept += inside
    assert kept == min(width, new_width) * min(height, new_height) * 2


def test_an_odd_pixel_goes_to_the_far_side():
    row = make_image(np.array([[[1.0, 2.0, 3.0, 4.0]]]))
    assert voxels_of(centre_crop_or_pad(row, (1, 1))).ravel().tolist() == [2]
    assert voxels_of(centre_crop_or_pad(row, (7, 1))).ravel().tolist() == [1, 1, 2, 3, 4, 1, 1]


def test_labels_are_padded_with_background():
    """An organ in every voxel would go on in all that is added."""
    scan = np.full((3, 100, 100), 90, np.uint8)
    scan[:, :50] = 91
    volumes = [make_image(voxels, (1.25, 1.25, 4.0)) for voxels in (scan, np.full_like(scan, 2))]
    image, label = map(voxels_of, normalise_scan(*volumes, VolumeTransform(percentile=99.5)))
    assert (image >= 90).all() and label.sum() == 2 * 3 * 100 * 100


@pytest.mark.parametrize("pixel_type", [np.int16, np.float32])
def test_outside_a_scan_with_negative_values_there_is_none_above_its_minimum(pixel_type):
    voxels = np.random.default_rng(0).integers(-900, -100, (3, 90, 90)).astype(pixel_type)
    transform = VolumeTransform(percentile=99.5, spacing=(1.25, 1.25, None))
    image = voxels_of(normalise_scan(make_image(voxels), None, transform)[0])
    assert image.shape[0] == 4 and image.max() < -100
    assert (image[3] == voxels.min()).all() and (image[:, 0] == voxels.min()).all()
    dropped = normalise_scan(make_image(voxels), None, replace(transform, drop_blank_slice=True))[0]
    assert np.array_equal(voxels_of(dropped), image[:3])


def test_border_crop_moves_the_origin():
    image = make_image(np.arange(2 * 6 * 5).reshape(2, 6, 5))
    out = crop_border(image, 2)
    assert out.GetSize() == (1, 2, 2)
    assert out.GetOrigin() == image.TransformIndexToPhysicalPoint((2, 2, 0))
    assert np.array_equal(voxels_of(out), voxels_of(image)[:, 2:-2, 2:-2])


def test_a_border_as_wide_as_the_slice_is_refused():
    with pytest.raises(ValueError, match=r"6 x 4.*2"):
        crop_border(make_image(np.zeros((1, 6, 4))), 2)


def test_a_blank_last_slice_is_dropped_from_image_and_label():
    voxels = np.ones((3, 2, 2))
    voxels[2] = 0
    image, label = drop_blank_trailing_slice(make_image(voxels), make_image(np.full((3, 2, 2), 4, np.uint8)))
    assert image.GetDepth() == label.GetDepth() == 2
    assert image.GetOrigin() == label.GetOrigin() == make_image(voxels).GetOrigin()
    again, none = drop_blank_trailing_slice(image)
    assert again.GetDepth() == 2 and none is None


def test_grey_values_have_fixed_labels_whichever_are_present():
    assert labels_from_grey_values(np.array([[0, 252], [126, 0]], np.uint8)).tolist() == [[0, 4], [2, 0]]
    assert labels_from_grey_values(np.array([0, 63, 126, 189, 252])).tolist() == [0, 1, 2, 3, 4]


def test_unknown_grey_values_are_refused():
    with pytest.raises(ValueError, match=r"\[64, 255\]"):
        labels_from_grey_values(np.array([0, 255, 64], np.uint8))
