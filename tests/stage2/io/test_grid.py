"""Slices have 256 x 256 pixels, and labels lie on their image."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.grid import check_same_place, check_same_size, check_slice_size

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
        ValueError, match=r"^a has size \(3, 5, 4\) .* but b has \(3, 4, 5\); both must lie on one grid"
    ):
        check_same_size(Path("a"), [3, 5, 4], Path("b"), (3, 4, 5))


def test_rounding_of_a_header_is_no_other_place(tmp_path):
    image = write(tmp_path / "image.nii.gz")
    label = write(tmp_path / "label.nii.gz", spacing=(1.2501, 1.25, 7.7001), origin=(-89.9, 20.0, 5.1))
    check_same_place(label, image, SIZE)


@pytest.mark.parametrize(
    ("geometry", "sentence"),
    [
        ({"spacing": (1.0, 1.0, 1.0)}, "voxels of 1 x 1 x 1 mm against 1.25 x 1.25 x 7.7 mm"),
        ({"spacing": (1.25, 1.25, 7.0)}, "voxels of 1.25 x 1.25 x 7 mm against 1.25 x 1.25 x 7.7 mm"),
        ({"origin": (-90.0, 21.25, 5.0)}, "corners up to 1.25 mm apart"),
        ({"direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}, "corners up to 17.5 mm apart"),
    ],
)
def test_a_label_placed_elsewhere_is_refused(tmp_path, geometry, sentence):
    image = write(tmp_path / "image.nii.gz")
    label = write(tmp_path / "label.nii.gz", **geometry)
    with pytest.raises(ValueError, match=f"label.nii.gz lies elsewhere than .*image.nii.gz: .*{sentence}"):
        check_same_place(label, image, SIZE)
