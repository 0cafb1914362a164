"""Slices have 256 x 256 pixels, and labels lie on their image."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.grid import (
    at_right_angles,
    changed_voxels,
    check_same_size,
    check_slice_size,
    grid_of,
    on_grid_of,
    slabs_of,
)
from Stage2.io.nifti import check_label_file

SIZE = (3, 8, 6)
IMAGE = {"spacing": (1.25, 1.25, 7.7), "origin": (-90.0, 20.0, 5.0), "direction": (1, 0, 0, 0, -1, 0, 0, 0, 1)}


def write(path: Path, **geometry) -> Path:
    image = sitk.GetImageFromArray(np.zeros(SIZE, np.uint8))
    geometry = {**IMAGE, **geometry}
    image.SetSpacing(geometry["spacing"])
    image.SetOrigin(geometry["origin"])
    image.SetDirection(geometry["direction"])
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("size", [(1, 256, 256), (40, 257, 256), (256, 256, 256), (300, 257, 257)])
def test_slices_of_256_or_257_pixels_are_taken(size):
    check_slice_size(Path("image_1.nii.gz"), size)


@pytest.mark.parametrize("size", sorted({*permutations((30, 256, 256))} - {(30, 256, 256)}))
def test_a_wrong_order_of_axes_is_told(size):
    axis = ("first", "second")[size[::-1].index(30)]
    stored = " x ".join(map(str, size[::-1]))
    with pytest.raises(ValueError, match=f"image_1.* is an array of {stored} voxels, with its slices along the {axis}"):
        check_slice_size(Path("image_1.nii.gz"), size)


@pytest.mark.parametrize("size", [(30, 512, 512), (30, 192, 256), (30, 30, 256)])
def test_other_slice_sizes_are_told(size):
    with pytest.raises(ValueError, match=f"slices of {size[1]} x {size[2]} pixels; expected 256 x 256"):
        check_slice_size(Path("image_1.nii.gz"), size)


def test_sizes_must_agree():
    check_same_size(Path("a"), [3, 4, 5], Path("b"), (3, 4, 5))
    with pytest.raises(
        ValueError, match=r"^a has 4 x 5 x 3 voxels .* but b has 5 x 4 x 3; both must lie on one grid"
    ):
        check_same_size(Path("a"), [3, 5, 4], Path("b"), (3, 4, 5))


def test_rounding_of_a_header_is_no_other_place(tmp_path):
    image = write(tmp_path / "image.nii.gz")
    label = write(tmp_path / "label.nii.gz", spacing=(1.2501, 1.25, 7.7001), origin=(-89.9, 20.0, 5.1))
    check_label_file(label, image)


@pytest.mark.parametrize(
    ("geometry", "sentence"),
    [
        ({"spacing": (1.0, 1.0, 1.0)}, "LAS, voxels of 1 x 1 x 1 mm against LAS, voxels of 1.25 x 1.25 x 7.7 mm"),
        ({"spacing": (1.25, 1.25, 7.0)}, "voxels of 1.25 x 1.25 x 7 mm against LAS, voxels of 1.25 x 1.25 x 7.7 mm"),
        ({"origin": (-90.0, 21.25, 5.0)}, "corners up to 1.25 mm apart"),
        ({"direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}, "corners up to 17.5 mm apart"),
    ],
)
def test_a_label_placed_elsewhere_is_refused(tmp_path, geometry, sentence):
    image = write(tmp_path / "image.nii.gz")
    label = write(tmp_path / "label.nii.gz", **geometry)
    with pytest.raises(ValueError, match=f"label.nii.gz lies elsewhere than .*image.nii.gz: .*{sentence}"):
        check_label_file(label, image)


def drawn(size: tuple[int, int, int] = (5, 6, 7), direction: np.ndarray | None = None) -> sitk.Image:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 9, size).astype(np.uint8))
    image.SetSpacing((1.0, 1.5, 4.0))
    image.SetOrigin((-3.0, 12.0, 7.0))
    image.SetDirection(np.eye(3).ravel().tolist() if direction is None else direction.ravel().tolist())
    return image


def rotation(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


@pytest.mark.parametrize("size", [(5, 6, 7), (6, 6, 6)])
@pytest.mark.parametrize("tilt", [0, 20])
@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "RPI", "SLP", "PSR", "ILA"])
def test_a_mask_in_another_order_of_axes_is_turned_to_its_scan(size, tilt, axes):
    scan = drawn(size)
    mask = sitk.DICOMOrient(scan, axes)
    for image in (scan, mask):  # both tilted alike
        image.SetDirection((rotation(tilt) @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
        image.SetOrigin((rotation(tilt) @ image.GetOrigin()).tolist())
    turned = on_grid_of(mask, scan, "mask", "scan")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(turned), sitk.GetArrayFromImage(scan))
    np.testing.assert_allclose(grid_of(turned).corners, grid_of(scan).corners, atol=1e-6)


def test_a_mask_and_its_scan_must_share_their_voxels():
    scan = drawn()
    mask = sitk.Image(scan)
    mask.SetOrigin((-3.3, 12.0, 7.0))
    on_grid_of(mask, scan, "mask", "scan")  # a header rounded by another program
    with pytest.raises(ValueError, match=r"mask has 7 x 6 x 4 voxels .* but scan has 7 x 6 x 5; both must"):
        on_grid_of(mask[:, :, :4], scan, "mask", "scan")
    with pytest.raises(ValueError, match="lies elsewhere"):
        on_grid_of(drawn(direction=rotation(40)), scan, "mask", "scan")
    mask.SetDirection(np.diag([-1.0, 1, 1]).ravel().tolist())  # a flip about the first voxel: other places
    with pytest.raises(ValueError, match="lies elsewhere"):
        on_grid_of(mask, scan, "mask", "scan")


def test_axes_that_are_not_at_right_angles_are_refused_and_rounded_ones_made_straight():
    sheared = np.eye(3)
    sheared[1, 2] = np.tan(np.radians(15))
    with pytest.raises(ValueError, match=r"a\.nrrd has axes that are not at right angles \(shear\)"):
        at_right_angles(Path("a.nrrd"), drawn(direction=sheared))
    sheared[1, 2] = 1e-4
    direction = np.reshape(at_right_angles(Path("a.nrrd"), drawn(direction=sheared)).GetDirection(), (3, 3))
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("at_once", "count"), [(1 << 24, 1), (7 * 6 * 2, 3), (1, 5)])
def test_a_volume_is_worked_on_some_slices_at_a_time(at_once, count, monkeypatch):
    monkeypatch.setattr("Stage2.io.grid.VOXELS_AT_ONCE", at_once)
    scan = drawn()
    slabs = list(slabs_of(scan.GetSize()))
    assert len(slabs) == count
    assert [z for slab in slabs for z in range(5)[slab]] == list(range(5))
    changed = changed_voxels(scan, lambda voxels: voxels * np.float64(0.1), sitk.sitkFloat32)
    assert changed.GetPixelID() == sitk.sitkFloat32
    expected = (sitk.GetArrayFromImage(scan) * np.float64(0.1)).astype(np.float32)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(changed), expected)
    np.testing.assert_array_equal(grid_of(changed).affine, grid_of(scan).affine)
