"""A small cohort of its own data set, and the faults that users make in one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.datasets.catalog import get_dataset
from Stage2.io.volumes import read_volume

# Five scans in two folds.
OWN = replace(
    get_dataset("CHAOST2"),
    name="own",
    classes={"BG": 0, "LIVER": 1, "RK": 2, "LK": 3},
    evaluated=(1, 2, 3),
    label_sets={0: frozenset({1})},
    fold_boundaries=(0, 3, 5),
)
IDS = ("1", "2", "3", "5", "10")


def scan_voxels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A body with liver and left kidney beside each other, the right kidney nearer the front; (3, 256, 256)."""
    rng = np.random.default_rng(seed)
    label = np.zeros((3, 256, 256), np.uint8)
    label[:, 100 + seed : 140, 60:100] = 1
    label[:, 100:140, 160 - seed : 180] = 3
    label[:, 160:180, 70 : 90 + seed] = 2
    image = rng.normal(5, 2, label.shape).clip(0)
    image[:, 40:210, 40:210] += 150 + rng.normal(0, 10, (3, 170, 170))
    image += np.array([0, 300, 600, 450])[label]
    return image.astype(np.float32), label


def save(path: Path, voxels: np.ndarray, like: sitk.Image | None = None, **geometry: tuple) -> None:
    image = sitk.GetImageFromArray(voxels)
    if like is None:
        image.SetSpacing(geometry.get("spacing", (1.25, 1.25, 7.7)))
        image.SetDirection(geometry.get("direction", (1, 0, 0, 0, -1, 0, 0, 0, 1)))
    else:
        image.CopyInformation(like)
    sitk.WriteImage(image, str(path), useCompression=True)


def change(folder: Path, kind: str, scan_id: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    path = folder / f"{kind}_{scan_id}.nii.gz"
    image = read_volume(path)
    voxels = how(sitk.GetArrayFromImage(image))
    save(path, voxels, image if voxels.shape == image.GetSize()[::-1] else None)


def relabel(folder: Path, scan_id: str, numbers: dict[int, int]) -> None:
    table = np.arange(256, dtype=np.uint8)
    table[list(numbers)] = list(numbers.values())
    change(folder, "label", scan_id, lambda label: table[label])


def truncate(folder: Path, name: str, lost: int = 2000) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-lost])


def set_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def how(voxels: np.ndarray) -> np.ndarray:
        voxels[0, 0, 0] = value
        return voxels

    return how


def edit_class_map(folder: Path) -> None:
    path = folder / "classmap_100.json"
    content = json.loads(path.read_text())
    content["RK"]["5"] = [0]
    path.write_text(json.dumps(content))


def reverse_header(folder: Path, scan_id: str) -> None:
    for kind in ("image", "label", "superpix-MIDDLE"):
        path = folder / f"{kind}_{scan_id}.nii.gz"
        save(path, sitk.GetArrayFromImage(read_volume(path)), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))


def respace(folder: Path, scan_id: str) -> None:
    for kind in ("image", "label", "superpix-MIDDLE"):
        path = folder / f"{kind}_{scan_id}.nii.gz"
        save(path, sitk.GetArrayFromImage(read_volume(path)), spacing=(1.0, 1.0, 1.0))


def flip(folder: Path, scan_id: str, axis: int) -> None:
    for kind in ("image", "label", "superpix-MIDDLE"):
        change(folder, kind, scan_id, lambda voxels: np.flip(voxels, axis).copy())
