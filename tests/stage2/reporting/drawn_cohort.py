"""Three small scans with one organ, and tests of them, for figures."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.run_folders.layout import prediction_path


def write_volume(path: Path, volume: np.ndarray, direction: tuple[float, float] = (1, 1)) -> None:
    """A NIfTI file; a positive direction means towards the patient's left, or back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(volume)
    image.SetDirection((direction[0], 0, 0, 0, direction[1], 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def write_cohort(folder: Path) -> Path:
    """Scans 1, 2, 3 of 12 slices: class RK (label 2) on slices 2..10, largest on slice 8; superpixels too."""
    random = np.random.default_rng(0)
    for scan in (1, 2, 3):
        label = np.zeros((12, 32, 32), dtype=np.uint8)
        label[2:11, 4:8, 4:8] = 2
        label[8, 4:12, 4:12] = 2
        write_volume(folder / f"image_{scan}.nii.gz", random.normal(size=label.shape).astype(np.float32))
        write_volume(folder / f"label_{scan}.nii.gz", label)
        superpixels = np.zeros(label.shape, dtype=np.int32)
        superpixels[1:11, 2:16, 2:30], superpixels[1:11, 16:30, 2:30] = 1, 2
        write_volume(folder / f"superpix-MIDDLE_{scan}.nii.gz", superpixels)
    return folder


def write_tested(
    experiment: Path, dice: dict[str, float | None], support: Sequence[int], name: str = "RK", label: int = 2, **config
) -> Path:
    """A test of these scans; scan <n> is predicted with value <n> in a square of 16 pixels."""
    run = experiment / "1"
    values = {"precision": 0.5, "recall": 0.5}
    scans = [
        {"class": name, "label": label, "scan": scan, "z_min": 2, "z_max": 10, "dice": d} | values
        for scan, d in dice.items()
    ]
    results = {"protocol": "paper", "dataset": "CHAOST2", "fold": 0, "label_set": 0, "exclude_classes": []}
    results |= {"support": {name: [{"scan": "3", "slices": list(support)}]}, "scans": scans}
    results |= {"mean": {"dice": 0.5} | values}
    results |= {"class_means": {name: {"dice": 0.5, "scans": 2, "undefined": 0} | values}}
    for scan in dice:
        mask = np.zeros((12, 32, 32), dtype=np.uint8)
        mask[:, 4:8, 4:8] = int(scan)
        write_volume(prediction_path(run, scan, label), mask)
    (run / "results.json").write_text(json.dumps(results))
    (run / "config.json").write_text(json.dumps(config))
    return run
