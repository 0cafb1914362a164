"""The command that makes supervoxels."""

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tool_modules import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two scans of a bright square, with labels."""
    for scan_id in ("3", "4"):
        voxels = np.zeros((2, 256, 256), np.float32)
        voxels[:, 50:150, 50:150] = 300
        for kind, array in (("image", voxels), ("label", (voxels > 0).astype(np.uint8))):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"{kind}_{scan_id}.nii.gz"))
    return tmp_path


def test_supervoxels_are_made_beside_what_there_is(cohort, caplog, capsys):
    prepare_data = load_tool("prepare_data")
    caplog.set_level(logging.INFO)
    command = ["supervoxels", str(cohort), "--dataset", "CHAOST2", "--workers", "1"]
    assert prepare_data.main(command) == prepare_data.main(command) == 0
    assert f"{cohort}: supervoxels of 2 scan(s) made, 0 there already; class maps made" in caplog.text
    assert f"{cohort}: supervoxels of 0 scan(s) made, 2 there already; class maps kept" in caplog.text
    assert len(list(cohort.glob("supervox-MIDDLE_*.nii.gz"))) == len(list(cohort.glob("fgmask_*.nii.gz"))) == 2
    assert not list(cohort.glob("superpix*"))
    assert prepare_data.main([*command[:1], str(cohort / "absent"), *command[2:]]) == 1
    assert "absent is not a folder" in capsys.readouterr().err
