"""A small processed folder that Stage 2 can train and test on, and a small network with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from stage2.drawn import drawn_scan

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.episodes import three_channels
from Stage2.inference.feature_cache import FeatureCache
from Stage2.inference.network import Network, load_network
from Stage2.inference.transform import normalise, prepare_image, scan_transform
from Stage2.models.few_shot import FewShotSegmenter


def write_volume(path: Path, volume: np.ndarray) -> None:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((1.25, 1.25, 7.7))
    sitk.WriteImage(image, str(path))


def make_cohort(folder: Path, n_scans: int = 20, n_slices: int = 5, size: int = 256) -> Path:
    """20 scans of four bright rectangles ("organs") that move from scan to scan, with class maps and pseudo-labels."""
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
        write_volume(folder / f"supervox-MIDDLE_{scan}.nii.gz", superpixels)
        for name, value in get_dataset("CHAOST2").classes.items():
            class_map[name][str(scan)] = np.flatnonzero((label == value).any(axis=(1, 2))).tolist()
    (folder / "classmap_1.json").write_text(json.dumps(class_map))
    return folder


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    """Processed folder of 20 scans; not to be changed by a test."""
    return make_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory) -> Path:
    """A snapshot of an untrained ResNet-18 whose batch norm has met a drawn scan: it finds drawn organs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = FewShotSegmenter("dlfcn_res18")
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.5
    scan, transform = drawn_scan()[0], scan_transform("MR")
    slices = normalise(prepare_image(scan, transform), transform, scan)
    with torch.no_grad():
        model.train().encode(three_channels(slices))
    path = tmp_path_factory.mktemp("run") / "snapshots" / "7.pth"
    path.parent.mkdir()
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def network(snapshot: Path) -> Network:
    return load_network(snapshot)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> FeatureCache:
    """Features of the drawn support, which many tests share."""
    return FeatureCache(tmp_path_factory.mktemp("features"))
