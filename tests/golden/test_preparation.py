"""Processed MR and CT volumes against the published preparation: same voxels, but a crop moves the origin."""

import numpy as np
import pytest
import SimpleITK as sitk

from golden.weights import load_golden, sampled
from Stage2.preparation.raw.sabs import list_sabs_scans
from Stage2.preparation.raw.source import open_source
from Stage2.preparation.steps.convert import make_folder, plan_folder
from Stage2.preparation.steps.normalise import (
    CT_COARSENING,
    MR_SPACING,
    centre_crop_or_pad,
    clip_bright_end,
    crop_border,
    resample,
    resample_labels,
    window_intensities,
)
from Stage2.preparation.steps.transform import CHAOS_TRANSFORM, SABS_TRANSFORM, VolumeTransform, normalise_scan


def assert_transformed(raw: tuple, transform: VolumeTransform) -> None:
    golden, image, label = raw
    image, label = normalise_scan(image, label, transform)
    assert_image(image, golden["out_image"])
    assert np.array_equal(sitk.GetArrayFromImage(label), golden["out_label"])


def load(name: str, geometry: str) -> tuple[dict[str, np.ndarray], sitk.Image, sitk.Image]:
    golden = load_golden(name)
    images = []
    for kind in ("image", "label"):
        image = sitk.GetImageFromArray(golden[f"raw_{kind}"])
        image.SetSpacing(golden[f"{geometry}_spacing"].tolist())
        image.SetOrigin(golden[f"{geometry}_origin"].tolist())
        image.SetDirection(golden[f"{geometry}_direction"].tolist())
        images.append(image)
    return golden, *images


def assert_image(image: sitk.Image, expected: np.ndarray) -> None:
    voxels = sampled(sitk.GetArrayFromImage(image), expected)
    np.testing.assert_allclose(voxels, expected, rtol=0, atol=1e-3 * float(np.ptp(expected)))


def assert_geometry(image: sitk.Image, golden, raw: sitk.Image, first_voxel: list[int], kind: str) -> None:
    """Published spacing and direction; the origin is that of the voxel the crop starts with, on the uncropped grid."""
    np.testing.assert_allclose(image.GetSpacing(), golden[f"out_{kind}_spacing"], rtol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), golden[f"out_{kind}_direction"], atol=1e-6)
    assert image.GetSize() == tuple(golden[f"out_{kind}_size"])
    np.testing.assert_allclose(raw.GetOrigin(), golden[f"out_{kind}_origin"], atol=1e-6)
    np.testing.assert_allclose(
        image.GetOrigin(), raw.TransformContinuousIndexToPhysicalPoint([float(i) for i in first_voxel]), atol=1e-6
    )


@pytest.fixture(scope="module")
def mr():
    return load("s2e_mr.npz", "rawread")


@pytest.fixture(scope="module")
def ct():
    return load("s2e_ct.npz", "raw")


def test_mr_image(mr):
    golden, image, _ = mr
    clipped = clip_bright_end(image)
    assert sitk.GetArrayViewFromImage(clipped).max() == golden["hir"]
    resampled = resample(clipped, MR_SPACING)
    assert_image(resampled, golden["res_image"])
    out = centre_crop_or_pad(resampled)
    assert_image(out, golden["out_image"])
    assert_geometry(out, golden, resampled, [56, 56, 0], "image")


def test_mr_label(mr):
    golden, _, label = mr
    resampled = resample_labels(label, MR_SPACING)
    assert np.array_equal(sitk.GetArrayFromImage(resampled), golden["res_label"])
    out = centre_crop_or_pad(resampled)
    assert np.array_equal(sitk.GetArrayFromImage(out), golden["out_label"])
    assert_geometry(out, golden, resampled, [56, 56, 0], "label")


def coarse_spacing(image: sitk.Image) -> list[float]:
    x, y, z = image.GetSpacing()
    return [x * CT_COARSENING, y * CT_COARSENING, z]


def test_ct_image(ct):
    golden, image, _ = ct
    windowed = window_intensities(image)
    voxels = sitk.GetArrayFromImage(windowed)
    assert voxels.sum() == pytest.approx(float(golden["windowed_sum"]), rel=1e-9)
    published = golden["windowed_slice3"]
    np.testing.assert_allclose(sampled(voxels[3], published), published, rtol=0, atol=1e-3)
    out = resample(crop_border(windowed), coarse_spacing(windowed))
    assert_image(out, golden["out_image"])
    assert_geometry(out, golden, image, [32, 32, 0], "image")


def test_ct_label(ct):
    golden, _, label = ct
    out = resample_labels(crop_border(label), coarse_spacing(label))
    assert np.array_equal(sitk.GetArrayFromImage(out), golden["out_label"])
    assert_geometry(out, golden, label, [32, 32, 0], "label")


def test_transforms(mr, ct):
    assert_transformed(mr, CHAOS_TRANSFORM)
    assert_transformed(ct, SABS_TRANSFORM)


def test_a_download_of_sabs(ct, tmp_path):
    """Through files, process and manifest, as the command does it."""
    golden, *volumes = ct
    for part, volume in zip(("img", "label"), volumes, strict=True):
        (tmp_path / "raw" / part).mkdir(parents=True)
        sitk.WriteImage(volume, str(tmp_path / f"raw/{part}/{part}0001.nii.gz"))
    plan = plan_folder(list_sabs_scans(open_source(tmp_path / "raw")), tmp_path / "out", "SABS", SABS_TRANSFORM)
    make_folder(plan)
    assert_image(sitk.ReadImage(str(tmp_path / "out/image_0.nii.gz")), golden["out_image"])
    assert np.array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/label_0.nii.gz"))), golden["out_label"]
    )
