"""A sound cohort, and a copy to spoil."""

import shutil
from pathlib import Path

import pytest
from stage2.preparation.check.spoiling import IDS, OWN, save, scan_voxels

from Stage2.preparation.steps.superpixels import prepare_folder


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("cohort")
    for number, scan_id in enumerate(IDS):
        image, label = scan_voxels(number)
        save(folder / f"image_{scan_id}.nii.gz", image)
        save(folder / f"label_{scan_id}.nii.gz", label)
    prepare_folder(folder, OWN)
    return folder


@pytest.fixture
def cohort(sound: Path, tmp_path: Path) -> Path:
    """A folder to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "cohort"))
