"""Downloads as their sites give them, tiny: a CHAOS tree of DICOM and PNG files and a SABS tree of NIfTI files."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from Stage2.io.dicom import kept_locale

GREY = np.array([0, 63, 126, 189, 252], np.uint8)  # of labels 0 to 4
SPACING = (5.0, 5.0, 8.0)  # mm, of the CHAOS scans
SIDE, DEPTH = 64, 6


def draw_abdomen(seed: int = 0, side: int = SIDE, depth: int = DEPTH) -> tuple[np.ndarray, np.ndarray]:
    """Image int16 and label uint8, (Z, H, W) in the order of DICOM: columns to the left, rows to the back, head last.

    Liver on the right (small columns), spleen on the left, kidneys behind; they differ from slice to slice.
    """
    z, y, x = np.mgrid[:depth, :side, :side]
    unit = side / 64
    label = np.zeros((depth, side, side), np.uint8)
    for value, row, column, radius in ((1, 24, 18, 11), (2, 42, 22, 6), (3, 42, 44, 6), (4, 28, 50, 8)):
        middle = (depth - 1) / 2 + (value - 2.5) * 0.1 * depth
        shrunk = 1 - ((z - middle) / depth) ** 2
        label[np.hypot(y - row * unit, x - column * unit) < radius * unit * shrunk] = value
    body = np.hypot(y - 32 * unit, x - 34 * unit) < 28 * unit
    noise = np.random.default_rng(seed).normal(0, 8, label.shape)
    return (body * (300 + 100.0 * label + 10 * z + noise)).clip(0).astype(np.int16), label


def write_slice(
    path: Path,
    voxels: np.ndarray,
    height: float,
    number: int,
    compressor: str | None = None,
    **tags: str,
) -> None:
    """One DICOM file, (H, W) integers at a height (mm); tags as in `_0028_1053="2"`."""
    image = sitk.GetImageFromArray(voxels[None])
    image.SetSpacing(SPACING)
    values = {
        "0008|0060": "MR",
        "0008|0018": f"1.2.3.{number}",
        "0020|000e": "1.2.3.4",
        "0020|0013": str(number),
        "0020|0032": f"-150\\-160\\{height}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0018|0050": "8",
    }
    values |= {key[1:].replace("_", "|"): value for key, value in tags.items()}
    for key, value in values.items():
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.SetUseCompression(compressor is not None)
    if compressor is not None:
        writer.SetCompressor(compressor)
    with kept_locale():
        writer.Execute(image)


def write_series(folder: Path, voxels: np.ndarray, order: Sequence[int] | None = None, **options: str) -> list[Path]:
    """A DICOM series of (Z, H, W), the file of slice z named by its place in `order`; returns the files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for z, place in enumerate(range(len(voxels)) if order is None else order):
        write_slice(folder / f"{place}.dcm", voxels[z], SPACING[2] * z - 20, z + 1, **options)
    return sorted(folder.iterdir())


def write_chaos_scan(
    folder: Path,
    seed: int = 0,
    name_of: Callable[[int], str] = lambda number: f"IMG-0004-{number:05d}",
    **options: str,
) -> tuple[np.ndarray, np.ndarray]:
    """T2SPIR/DICOM_anon and T2SPIR/Ground below a folder; returns image and label in the order of DICOM."""
    image, label = draw_abdomen(seed)
    dicom, ground = folder / "T2SPIR/DICOM_anon", folder / "T2SPIR/Ground"
    for part in (dicom, ground):
        part.mkdir(parents=True)
    for z in range(len(image)):
        write_slice(dicom / f"{name_of(z + 1)}.dcm", image[z], SPACING[2] * z - 20, z + 1, **options)
        Image.fromarray(GREY[label[z]]).save(ground / f"IMG-0004-{z + 1:05d}.png")
    return image, label


def write_chaos(folder: Path, ids: tuple[int, ...] = (1, 2)) -> Path:
    """The tree of CHAOS_Train_Sets.zip, with the parts that are not used."""
    for scan_id in ids:
        write_chaos_scan(folder / f"Train_Sets/MR/{scan_id}", seed=scan_id)
        other = folder / f"Train_Sets/MR/{scan_id}/T1DUAL/DICOM_anon/InPhase"
        other.mkdir(parents=True)
        (other / "IMG-0004-00002.dcm").write_bytes(b"not looked at")
    (folder / "Train_Sets/CT/1/DICOM_anon").mkdir(parents=True)
    (folder / "Train_Sets/CT/1/DICOM_anon/i0000,0000b.dcm").write_bytes(b"not looked at")
    return folder


def write_volume(path: Path, voxels: np.ndarray, spacing: tuple[float, ...] = (0.75, 0.75, 5.0)) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)


def write_sabs(folder: Path, numbers: tuple[int, ...] = (1, 2, 21), side: int = 512, depth: int = 2) -> Path:
    """The tree of RawData.zip, with the test set that has no labels."""
    for number in numbers:
        image, label = draw_abdomen(number, side, depth)
        write_volume(folder / f"RawData/Training/img/img{number:04d}.nii.gz", image - np.int16(200))
        write_volume(folder / f"RawData/Training/label/label{number:04d}.nii.gz", label)
    write_volume(folder / "RawData/Testing/img/img0061.nii.gz", np.zeros((2, 8, 8), np.int16))
    return folder


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))
    return archive


def digest(folder: Path) -> Mapping[str, bytes]:
    """Name -> content of the volumes and class maps of a processed folder."""
    names = (*folder.glob("*.nii.gz"), *folder.glob("classmap_*.json"))
    return {path.name: path.read_bytes() for path in names}
