"""The Python lines of README and of the pages for users run as they stand, but for the minutes of adapting."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from docs.pages import README, ROOT, code_blocks
from stage2.drawn import drawn_scan

from Stage2.models.few_shot import FewShotSegmenter


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """scan.nii.gz, mask.nii.gz (labels 2 and 3), query.nii.gz, of other grids, and 100100.pth of a small network."""
    folder = tmp_path_factory.mktemp("scans")
    scan, mask = drawn_scan()
    for name, image in (("scan", scan), ("mask", mask), ("query", drawn_scan((150, 120, 6), (1.4, 1.3, 6.5))[0])):
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    torch.manual_seed(0)
    torch.save(FewShotSegmenter("dlfcn_res18").state_dict(), folder / "100100.pth")
    return folder


PAGES = [README, ROOT / "docs" / "predict.md", ROOT / "docs" / "adapt.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_lines_segment_a_scan(page: Path, folder: Path, tmp_path: Path, monkeypatch):
    (lines,) = code_blocks(page, "python")
    assert page != README or len(lines.splitlines()) == 5
    monkeypatch.chdir(folder)
    (folder / "query_mask.nii.gz").unlink(missing_ok=True)
    (tmp_path / "lines.py").write_text(lines.replace("minutes=3", "minutes=0.05"))
    found = runpy.run_path(str(tmp_path / "lines.py"))["found"]
    assert found.labels.shape == found.probabilities[2].shape == (6, 120, 150)
    assert found.probabilities[2].dtype == np.float32 and set(np.unique(found.labels)) <= {0, 2, 3}
    assert 0 <= found.confidence[2] <= 1
    if "WriteImage" not in lines:
        return
    mask, query = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("query_mask", "query"))
    assert mask.GetSize() == query.GetSize() and mask.GetSpacing() == query.GetSpacing()
