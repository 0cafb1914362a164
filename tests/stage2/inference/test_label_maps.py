"""Labels at the voxels of a scan: the same as from whole probability maps, in any axes, whole or slab by slab."""

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan

from Stage2.inference.label_maps import labels_on_scan
from Stage2.inference.transform import back_to_scan, prepare_image, prepare_masks, scan_transform
from Stage2.segmentation.scans import label_map


def smooth(mask: np.ndarray) -> np.ndarray:
    """A mask as a probability that falls off at its edge."""
    image = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(mask.astype(np.float32)), 1.0)
    return sitk.GetArrayFromImage(image).clip(0, 1)


@pytest.mark.parametrize("at_once", [1 << 24, 1000, 1], ids=["whole", "some slices", "slice by slice"])
@pytest.mark.parametrize(
    ("size", "spacing", "axes"),
    [
        ((160, 128, 5), (1.25, 1.25, 7.7), "LAS"),
        ((100, 80, 6), (2.0, 2.0, 7.0), "RPI"),
        ((160, 128, 19), (1.25, 1.25, 2.0), "SLA"),
    ],
)
def test_labels_are_those_of_whole_probability_maps(size, spacing, axes, at_once, monkeypatch):
    scan, mask = drawn_scan(size, spacing, axes=axes)
    transform = scan_transform("MR")
    prepared = prepare_image(scan, transform)
    volumes = {label: smooth(own) for label, own in prepare_masks(mask, [2, 3], prepared, transform).items()}
    volumes[300] = np.zeros_like(volumes[2])
    volumes[5] = 0.9 * volumes[3]  # another organ is more probable
    expected = label_map({label: back_to_scan(volume, prepared, scan) for label, volume in volumes.items()})
    monkeypatch.setattr("Stage2.io.grid.VOXELS_AT_ONCE", at_once)
    found = labels_on_scan(volumes, prepared, scan)
    assert found.dtype == expected.dtype == np.uint16
    assert set(np.unique(found)) == {0, 2, 3}
    np.testing.assert_array_equal(found, expected)


def test_what_lies_outside_the_scan_is_left_out():
    scan, _ = drawn_scan()
    transform = scan_transform("MR")
    prepared = prepare_image(scan, transform)
    everywhere = {1: np.ones(prepared.GetSize()[::-1], dtype=np.float32)}
    far = sitk.Image(scan)
    far.SetOrigin([place + 1e4 for place in scan.GetOrigin()])
    assert labels_on_scan(everywhere, prepared, scan).all()
    assert not labels_on_scan(everywhere, prepared, far).any()
