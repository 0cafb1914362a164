"""Preparation in memory: as training's, whatever grid the scan has, and masks come back to it."""

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import dice, drawn_scan

from Stage2.datasets.volumes import Statistics, own_statistics
from Stage2.inference.transform import (
    back_to_scan,
    normalise,
    prepare_image,
    prepare_masks,
    scan_transform,
    to_network_grid,
)
from Stage2.preparation.steps.normalise import (
    centre_crop_or_pad,
    clip_bright_end,
    crop_border,
    resample,
    resample_labels,
    window_intensities,
)


def hounsfield(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> sitk.Image:
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.normal(0, 300, size[::-1]).astype(np.float32))
    image.SetSpacing(spacing)
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def test_mr_is_prepared_as_training_prepares_it():
    scan, mask = drawn_scan((210, 170, 11), (1.0, 1.0, 5.0))
    transform = scan_transform("MR")
    expected = centre_crop_or_pad(resample(clip_bright_end(scan), (1.25, 1.25, 7.7)))
    prepared = prepare_image(scan, transform)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(prepared), sitk.GetArrayFromImage(expected)[: prepared.GetDepth()]
    )
    labels = sitk.GetArrayFromImage(centre_crop_or_pad(resample_labels(mask, (1.25, 1.25, 7.7))))
    masks = prepare_masks(mask, [2, 3], prepared, transform)
    for label in (2, 3):
        np.testing.assert_array_equal(masks[label], labels[: prepared.GetDepth()] == label)
    assert transform.foreground_threshold == pytest.approx(50.0001)


def test_ct_of_512_pixels_is_prepared_as_training_prepares_it():
    scan = hounsfield((512, 512, 2), (0.75, 0.75, 5.0))
    expected = resample(crop_border(window_intensities(scan)), (0.75 * 1.75, 0.75 * 1.75, 5.0))
    prepared = sitk.GetArrayFromImage(prepare_image(scan, scan_transform("CT")))
    whole = sitk.GetArrayFromImage(expected)[: len(prepared), :256, :256]  # training uses the first 256 of 257
    np.testing.assert_allclose(prepared, whole, atol=1e-4)  # float32 here, float64 there
    transform = scan_transform("CT", statistics=Statistics(100.0, 50.0))
    normalised = normalise(prepare_image(scan, transform), transform, scan)
    np.testing.assert_allclose(normalised, (prepared - 100) / 50, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((100, 100, 4), (1.0, 1.0, 5.0), (1.37, 1.37, 5.0)),
        ((100, 100, 9), (1.0, 1.0, 1.0), (1.37, 1.37, 3.0)),
        ((100, 100, 1), (1.0, 1.0, 1.0), (1.37, 1.37, 1.0)),
    ],
)
def test_ct_of_another_matrix_gets_the_voxels_of_training(size, spacing, expected):
    assert prepare_image(hounsfield(size, spacing), scan_transform("CT")).GetSpacing() == pytest.approx(expected)


def test_a_prepared_scan_is_only_normalised():
    rng = np.random.default_rng(0)
    volume = rng.gamma(2, 100, (3, 257, 257)).astype(np.float32)
    volume[-1] = 0
    scan = sitk.GetImageFromArray(volume)
    scan.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    transform = scan_transform("MR", prepared=True)
    prepared = prepare_image(scan, transform)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(prepared), volume[:, :256, :256])
    own = own_statistics(volume)  # of the whole file, as in training
    expected = (volume[:, :256, :256] - np.float32(own.mean)) / np.float32(own.std)
    np.testing.assert_array_equal(normalise(prepared, transform, scan), expected)
    with pytest.raises(ValueError, match="slices of 100 x 100 pixels; expected 256 x 256"):
        prepare_image(hounsfield((100, 100, 2), (1, 1, 1)), scan_transform("MR", prepared=True))


@pytest.mark.parametrize(
    ("size", "spacing", "axes"),
    [
        ((160, 128, 5), (1.25, 1.25, 7.7), "LAS"),
        ((160, 128, 5), (1.25, 1.25, 7.7), "PIR"),
        ((100, 80, 4), (2.0, 2.0, 10.0), "LPS"),
        ((200, 160, 19), (1.0, 1.0, 2.0), "ASL"),
        ((160, 128, 1), (1.25, 1.25, 30.0), "RAS"),
    ],
)
def test_what_goes_to_the_network_comes_back_to_its_voxels(size, spacing, axes):
    scan, mask = drawn_scan(size, spacing, axes=axes, shift=-15.0 if size[2] == 1 else 0.0)
    transform = scan_transform("MR")
    prepared = prepare_image(scan, transform)
    there = prepare_masks(mask, [2], prepared, transform)[2]
    back = back_to_scan(there.astype(np.float32), prepared, scan) > 0.5
    own = sitk.GetArrayFromImage(mask) == 2
    assert back.shape == own.shape
    least = 1.0 if spacing == (1.25, 1.25, 7.7) else 0.85
    assert dice(back, own) >= least


def test_outside_the_pixels_that_are_looked_at_nothing_is_found():
    scan = hounsfield((400, 300, 3), (1.25, 1.25, 7.7))
    transform = scan_transform("MR")
    prepared = prepare_image(scan, transform)
    everywhere = np.ones(prepared.GetSize()[::-1], dtype=np.float32)
    back = back_to_scan(everywhere, prepared, scan)
    assert back[:, 22:278, 72:328].min() == 1
    assert back[:, :21].max() == back[:, :, :71].max() == 0


def test_an_organ_that_fills_a_scan_does_not_go_on_outside():
    scan = hounsfield((100, 100, 3), (1.25, 1.25, 7.7))
    transform = scan_transform("MR")
    mask = prepare_masks(sitk.Cast(scan * 0 + 2, sitk.sitkUInt8), [2], prepare_image(scan, transform), transform)[2]
    assert mask.sum() == 3 * 100 * 100


def test_own_voxel_size_and_axes():
    scan, _ = drawn_scan()
    image = to_network_grid(scan, scan_transform("MR", spacing=(2.0, 2.0, 4.0), axes="RPI"))
    assert image.GetSpacing() == (2.0, 2.0, 4.0)
    assert image.GetDirection() == (-1, 0, 0, 0, 1, 0, 0, 0, -1)
    for wrong in (
        {"spacing": (1, 1)},
        {"spacing": (1, 1, 0)},
        {"axes": "XYZ"},
    ):
        with pytest.raises(ValueError, match="expected three"):
            scan_transform("MR", **wrong)
    with pytest.raises(ValueError, match="modality 'US' is unknown; choose one of MR, CT"):
        scan_transform("US")
