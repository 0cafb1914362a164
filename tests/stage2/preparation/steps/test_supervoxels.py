"""A processed folder gains supervoxels, in the manner of superpixels."""

import numpy as np
import SimpleITK as sitk
from stage2.preparation.steps import test_superpixels
from stage2.preparation.steps.test_superpixels import GEOMETRY, MR, make_newer, stamps

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.pseudo_labels import PseudoLabels
from Stage2.io.nifti import read_header
from Stage2.io.volumes import read_volume
from Stage2.preparation.steps.pseudo_labels import supervoxel_volume
from Stage2.preparation.steps.superpixels import prepare_folder

SUPERVOXELS = PseudoLabels.SUPERVOXELS
cohort = test_superpixels.cohort  # a fixture


def test_supervoxels_are_made_like_superpixels(cohort, tmp_path):
    prepare_folder(cohort, MR)
    before = stamps(cohort)
    assert prepare_folder(cohort, MR, labels=SUPERVOXELS) == (3, 3, "kept")
    assert {path.name for path in cohort.iterdir()} - set(before) == {
        f"supervox-MIDDLE_{scan_id}.nii.gz" for scan_id in ("1", "2", "10")
    }
    image, made = read_volume(cohort / "image_10.nii.gz"), cohort / "supervox-MIDDLE_10.nii.gz"
    wanted, masks = supervoxel_volume(sitk.GetArrayFromImage(image), GEOMETRY["spacing"][::-1], MR.foreground_threshold)
    assert wanted.max() >= 2
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(made)), wanted)
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(cohort / "fgmask_10.nii.gz")), masks)
    assert read_header(made).note == "Felzenszwalb 3D scale 1 sigma 1 min_size 5000; foreground > 50.0001"
    assert read_volume(made).GetOrigin() == image.GetOrigin()
    assert prepare_folder(cohort, MR, labels=SUPERVOXELS).made == prepare_folder(cohort, MR).made == 0
    assert prepare_folder(cohort, MR, labels=SUPERVOXELS, out=tmp_path / "out") == (3, 0, "kept")
    made.unlink()
    make_newer(cohort / "image_2.nii.gz")
    assert prepare_folder(cohort, MR, labels=SUPERVOXELS, workers=2).made == 2
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(made)), wanted)


def test_supervoxels_of_another_threshold_are_made_anew(cohort):
    prepare_folder(cohort, MR, labels=SUPERVOXELS)
    assert prepare_folder(cohort, get_dataset("SABS"), labels=SUPERVOXELS).made == 3
