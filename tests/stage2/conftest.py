"""A small processed folder that Stage 2 can train and test on."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.datasets.catalog import get_dataset


def write_volume(path: Path, volume: np.ndarray) -> None:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((1.25, 1.25, 7.7))
    sitk.WriteImage(image, str(path))


def make_cohort(folder: Path, n_scans: int = 20, n_slices: int = 5, size: int = 256) -> Path:
    """20 scans of four bright rectangles ("organs") that move from scan to scan; class maps and superpixels too."""
    folder.mkdir(parents=True, exist_ok=True)
    class_map: dict[str, dict[str, list[int]]] = {name: {} for name in get_dataset("CHAOST2").classes}
    for scan in range(n_scans):
        rng = np.random.default_rng(scan)
        label = np.zeros((n_slices, size, size), dtype=np.uint8)
        for value in (1, 2, 3, 4):
            row, column = rng.integers(20, 150, size=2)
            label[1:-1, row : row + 50, column : column + 50][
                label[1:-1, row : row + 50, column : column + 50] == 0
            ] = value
        image = (label * 200.0 + rng.normal(300, 40, label.shape)).astype(np.float32)
        superpixels = label.astype(np.int32)
        superpixels[:, :16, :16] = 5
        write_volume(folder / f"image_{scan}.nii.gz", image)
        write_volume(folder / f"label_{scan}.nii.gz", label)
        write_volume(folder / f"superpix-MIDDLE_{scan}.nii.gz", superpixels)
        for name, value in get_dataset("CHAOST2").classes.items():
            class_map[name][str(scan)] = np.flatnonzero((label == value).any(axis=(1, 2))).tolist()
    (folder / "classmap_1.json").write_text(json.dumps(class_map))
    return folder


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    """Processed folder of 20 scans; not to be changed by a test."""
    return make_cohort(tmp_path_factory.mktemp("cohort"))
