"""Truths are found by name and never an image; masks of all kinds are whole numbers on the grid of their scan."""

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan

from Stage2.inference.masks import find_truth, mask_on_scan, reach_neighbours, read_truth
from Stage2.io.scans import ScanFile


@pytest.mark.parametrize(
    ("query", "there", "expected"),
    [
        ("image_3.nii.gz", ["image_3.nii.gz", "label_3.nii.gz"], "label_3.nii.gz"),
        ("image_3.nii.gz", ["image_3.nii.gz", "image_3_mask.nii.gz"], "image_3_mask.nii.gz"),
        ("image_3.nii.gz", ["image_3.nii.gz"], None),
        ("image_3.nii", ["label_3.nii"], "label_3.nii"),
        ("p2.nii.gz", ["p2.nii.gz"], "p2.nii.gz"),
        ("p2.nii.gz", ["p2.nii.gz", "p2_mask.nii.gz"], "p2_mask.nii.gz"),
        ("p2.nii.gz", ["p2_seg.nii.gz", "p20.nii.gz"], "p2_seg.nii.gz"),
        ("p2", ["p2-label.nii.gz"], "p2-label.nii.gz"),
        ("p2.nii.gz", ["p20.nii.gz", "p2_t1.nii.gz"], None),
    ],
)
def test_truth_is_found_by_name(tmp_path, query, there, expected):
    for name in there:
        (tmp_path / name).touch()
    query = ScanFile(tmp_path / "scans" / query)
    if expected is not None:
        assert find_truth(tmp_path, query) == tmp_path / expected
        return
    with pytest.raises(FileNotFoundError, match=r"holds no ground truth of .*; expected .*.nii.gz"):
        find_truth(tmp_path, query)


def test_the_query_itself_is_no_truth(tmp_path):
    (tmp_path / "p2.nii.gz").touch()
    with pytest.raises(FileNotFoundError, match=r"expected p2_mask.nii.gz or p2.nii.gz"):
        find_truth(tmp_path, ScanFile(tmp_path / "p2.nii.gz"))


@pytest.fixture
def truth(tmp_path):
    """Write a changed mask of the drawn scan, and read it as the truth of labels 2 and 3."""
    scan, mask = drawn_scan((20, 16, 3), (10.0, 10.0, 10.0))

    def read(change, labels=(2, 3)):
        values = change(sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(mask))
        image = sitk.GetImageFromArray(values)
        image.CopyInformation(scan)
        sitk.WriteImage(image, str(tmp_path / "t.nii.gz"))
        return read_truth(tmp_path / "t.nii.gz", scan, ScanFile(tmp_path / "q.nii.gz"), labels)

    return read


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda scan, mask: mask * np.float32(0.9999), "values such as .*; expected whole numbers"),
        (lambda scan, mask: np.minimum(mask, 1) * 0.99999999, "values such as 0.99999999; expected whole numbers"),
        (lambda scan, mask: (mask > 0).astype(np.uint8) * 255, r"label 2 is not in .*t.nii.gz; it holds \[255\]"),
        (lambda scan, mask: mask * 0, "is empty: it marks no voxel"),
        (lambda scan, mask: -mask.astype(np.int16), "values such as -3"),
        (lambda scan, mask: scan, "an image is no ground truth"),
        (lambda scan, mask: scan + 1.0, "expected whole numbers"),
        (lambda scan, mask: np.arange(mask.size, dtype=np.int16).reshape(mask.shape), "960 values, as an image has"),
    ],
)
def test_a_truth_that_is_none_is_refused(truth, change, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        truth(change)
    assert "\n" not in str(error.value)


def test_a_label_that_a_truth_lacks_is_named(truth, caplog):
    truth(lambda scan, mask: np.where(mask == 3, 0, mask))
    assert "label 3 is not in" in caplog.text and "holds [2]" in caplog.text
    caplog.clear()
    truth(lambda scan, mask: mask)
    assert not caplog.text


def test_masks_are_on_the_grid_of_their_scan():
    scan, mask = drawn_scan((20, 16, 3), (10.0, 10.0, 10.0))
    assert mask_on_scan(mask, scan, "m", "s").GetDirection() == scan.GetDirection()
    with pytest.raises(ValueError, match="m has 20 x 16 x 2 voxels"):
        mask_on_scan(mask[:, :, 1:], scan, "m", "s")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reach", [1, 2])
def test_drawn_slices_stand_for_their_neighbours(axis, reach):
    """Of organ 1 in slices 1 and 5, of organ 2 in slice 2; each row shows them at pixels of its own."""
    slices = np.zeros((8, 2, 3), dtype=np.uint8)
    slices[1, 0, 0], slices[5, 0, 1], slices[2, 1, 2], slices[2, 0, 1] = 1, 1, 2, 2
    expected = slices.copy()
    for label, places in ((1, (1, 5)), (2, (2,))):
        for z in range(8):
            if z not in places:
                nearest = min(places, key=lambda place, z=z: abs(place - z))
                for row in range(2):
                    for column in range(3):
                        near = abs(nearest - z) <= reach and slices[nearest, row, column] == label
                        if near and expected[z, row, column] == 0:
                            expected[z, row, column] = label
    found = reach_neighbours(np.moveaxis(slices, 0, axis), axis, {1: [1, 5], 2: [2], 3: []}, reach)
    np.testing.assert_array_equal(np.moveaxis(found, axis, 0), expected)
    assert expected.any(axis=(1, 2)).sum() > 3
