"""SABS as downloaded: images with their labels, numbered in the order of their names."""

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.preparation.drawn_archives import draw_abdomen, write_sabs, write_volume

from Stage2.preparation.raw.sabs import list_sabs_scans
from Stage2.preparation.raw.source import open_source


@pytest.fixture
def tree(tmp_path):
    return write_sabs(tmp_path / "down", (1, 2, 21), side=32)


def test_scans_are_numbered_from_0_in_the_order_of_their_names(tree):
    scans = list_sabs_scans(open_source(tree))
    assert [scan.id for scan in scans] == ["0", "1", "2"]
    for scan, number in zip(scans, (1, 2, 21), strict=True):
        image, label = draw_abdomen(number, 32, 2)
        for volume, voxels in zip(scan.read(), (image - np.int16(200), label), strict=True):
            assert np.array_equal(sitk.GetArrayFromImage(volume), voxels)
            np.testing.assert_allclose(volume.GetSpacing(), (0.75, 0.75, 5))


@pytest.mark.parametrize("kept", ["RawData", "RawData/Training"])
def test_the_folder_may_be_given_at_any_depth(tree, kept):
    assert len(list_sabs_scans(open_source(tree / kept))) == 3


def label(tree, number=2):
    return tree / f"RawData/Training/label/label{number:04d}.nii.gz"


VOXELS = draw_abdomen(2, 32, 2)[1]
DAMAGES = {
    "a missing label": (lambda t: label(t).unlink(), r"img0002\.nii\.gz has no counterpart in RawData/Training/label"),
    "a missing image": (lambda t: (label(t).parents[1] / "img/img0002.nii.gz").unlink(), r"label0002.*no counterpart"),
    "no labels": (lambda t: [path.unlink() for path in label(t).parent.iterdir()], r"annotated scans in none"),
    "two trees": (lambda t: write_sabs(t / "again", (1,), 8), r"annotated scans in RawData/.*and again/.*one"),
    "a number twice": (
        lambda t: label(t).with_name("label002.nii.gz").write_bytes(b""),
        r"label0002\.nii\.gz and .*label002\.nii\.gz, which are one number",
    ),
    "another size": (
        lambda t: write_volume(label(t), np.zeros((3, 32, 32), np.uint8)),
        r"label0002.*32 x 32 x 3 voxels.*img0002.*32 x 32 x 2",
    ),
    "another place": (
        lambda t: write_volume(label(t), VOXELS, (0.75, 0.75, 4.0)),
        r"label0002.*lies elsewhere than img0002.*LPS, voxels of 0.75 x 0.75 x 4 mm against LPS",
    ),
    "an unknown label": (
        lambda t: write_volume(label(t), np.full((2, 32, 32), 14, np.uint8)),
        r"label0002\.nii\.gz: label values \[14\] belong to no class",
    ),
    "a fraction": (
        lambda t: write_volume(label(t), np.full((2, 32, 32), 1.5, np.float32)),
        r"label0002\.nii\.gz: label values \[1\.5\]",
    ),
    "not finite": (
        lambda t: write_volume(t / "RawData/Training/img/img0002.nii.gz", np.full((2, 32, 32), np.nan, np.float32)),
        r"img0002\.nii\.gz has 2048 voxel\(s\) that are not finite",
    ),
    "cut short": (lambda t: label(t).write_bytes(label(t).read_bytes()[:-9]), r"label0002.* truncated or damaged"),
    "no NIfTI": (lambda t: label(t).write_text("<html>"), r"label0002.*is no NIfTI file, or damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_fit_is_named(tree, name):
    damage, message = DAMAGES[name]
    damage(tree)
    with pytest.raises(ValueError, match=message):
        for scan in list_sabs_scans(open_source(tree)):
            scan.read()
