"""What the check says of supervoxels, in the folder of scans that superpixels are checked in."""

import re
from dataclasses import replace

import numpy as np
from stage2.preparation.check.spoiling import IDS, OWN, change

from Stage2.datasets.pseudo_labels import PseudoLabels
from Stage2.preparation.check.folder import check_folder
from Stage2.preparation.steps.superpixels import prepare_folder


def test_supervoxels_will_do_without_superpixels(cohort):
    prepare_folder(cohort, OWN, labels=PseudoLabels.SUPERVOXELS)
    for scan_id in IDS:
        (cohort / f"superpix-MIDDLE_{scan_id}.nii.gz").unlink()
    assert check_folder(cohort, OWN).problems == []
    (cohort / "supervox-MIDDLE_3.nii.gz").unlink()
    told = check_folder(cohort, OWN).problems
    assert ["superpix-MIDDLE_<id>.nii.gz is missing for scans 1, 2, 3, 5, 10" in told[0], len(told)] == [True, 2]
    assert "supervox-MIDDLE_<id>.nii.gz is missing for scan 3" in told[1]


def test_supervoxels_are_checked_where_there_are_any(cohort):
    without = check_folder(cohort, OWN)
    assert without.cohort.scans[0].supervoxels == {} and "supervoxels" not in " ".join(without.summary())
    prepare_folder(cohort, OWN, labels=PseudoLabels.SUPERVOXELS)
    sheet = (cohort / "contact_sheets" / "scan_1.png").read_bytes()
    report = check_folder(cohort, OWN)
    assert report.problems == []
    assert (cohort / "contact_sheets" / "scan_1.png").read_bytes() != sheet
    numbers = [facts.supervoxels["number"] for facts in report.cohort.scans]
    assert min(numbers) >= 2 and all(facts.supervoxels["pairs"] >= 2 for facts in report.cohort.scans)
    assert f"supervoxels (MIDDLE) per scan: {min(numbers)} to {max(numbers)}" in " ".join(report.summary())

    (cohort / "supervox-MIDDLE_2.nii.gz").unlink()
    change(cohort, "supervox-MIDDLE", "3", lambda voxels: voxels[:2])
    change(cohort, "supervox-MIDDLE", "5", lambda voxels: voxels * (np.arange(3) == 1)[:, None, None].astype(np.int32))
    told = check_folder(cohort, replace(OWN, foreground_threshold=60)).problems
    assert [problem for problem in told if "supervox-MIDDLE_<id>.nii.gz is missing for scan 2; expected" in problem]
    assert [problem for problem in told if re.search(r"supervox-MIDDLE_3\S+ has 256 x 256 x 2 voxels", problem)]
    assert [p for p in told if re.search(r"MIDDLE_5\S+ has \d+ supervoxel\(s\), of which none shows in two succ", p)]
    assert [p for p in told if re.search(r"supervox-MIDDLE_1\S+ was made with other settings \(Felzenszwalb 3D", p)]
