"""The phantom cohort as its real counterparts are downloaded: CHAOS's DICOM tree, Synapse's NIfTI files."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from Stage2.datasets.catalog import CHAOS_GREY_VALUES
from Stage2.io.dicom import kept_locale
from Stage2.phantom.anatomy import build_anatomy
from Stage2.phantom.geometry import place_subject, slice_positions
from Stage2.phantom.imaging import ct_hounsfield, mr_magnitude

COVERED_MM = (145.0, 185.0)  # from the first slice to the last
MR_FIELD_MM, MR_THICKNESS_MM = (390.0, 430.0), (7.5, 9.0)
MR_MATRIX = (1.0, 1.125, 1.25)  # sizes of the slices, relative: 256, 288, 320
CT_FIELD_MM, CT_THICKNESS_MM = (350.0, 390.0), 5.0
CT_MATRIX = 2.0  # 512
UID_ROOT = "1.2.826.0.1.3680043.2.1125.1"  # that of ITK's example files; no institution's
DICOM_TAGS = {
    "0008|0008": "ORIGINAL\\PRIMARY\\M_SE\\M\\SE",
    "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
    "0008|0020": "20170101",
    "0008|0030": "120000",
    "0008|0060": "MR",
    "0008|103e": "T2W_SPIR",
    "0010|0010": "Anonymized",
    "0020|0037": "1\\0\\0\\0\\1\\0",
}


def draw_raw_mr(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One MR scan as the scanner gives it.

    Args:
        rng: the subject's stream.
        size: smallest size of a slice; the subject's is up to a quarter larger.

    Returns:
        image (Z, H, W) uint16, tissue (Z, H, W) uint8, both as `build_anatomy` orders them, and the spacing (x, y, z).
    """
    matrix = round(size * rng.choice(MR_MATRIX))
    field, thickness = rng.uniform(*MR_FIELD_MM), round(rng.uniform(*MR_THICKNESS_MM), 1)
    pixel = round(field / matrix, 4)
    heights = slice_positions(rng, round(rng.uniform(*COVERED_MM) / thickness) + 1, thickness)
    tissue = build_anatomy(rng, place_subject(rng, heights, matrix, pixel * matrix))
    return np.rint(mr_magnitude(rng, tissue)).astype(np.uint16), tissue, (pixel, pixel, thickness)


def write_chaos_patient(folder: Path, image: np.ndarray, label: np.ndarray, spacing: tuple, patient: int) -> None:
    """T2SPIR/DICOM_anon/*.dcm and T2SPIR/Ground/IMG-*-NNNNN.png of one patient, in DICOM's axes.

    DICOM rows run to the back, so the volumes' rows, which run to the front, are turned over. Slices are numbered from
    the feet, in the PNG's name and as the DICOM instance; names of DICOM files are in another order.

    Args:
        folder: of the patient, which exists.
        image, label: (Z, H, W), rows to the front, columns to the patient's left, slices to the head.
        spacing: (x, y, z) in mm.
        patient: its number.
    """
    dicom, ground = folder / "T2SPIR" / "DICOM_anon", folder / "T2SPIR" / "Ground"
    dicom.mkdir(parents=True)
    ground.mkdir()
    grey = np.zeros(256, np.uint8)
    grey[list(CHAOS_GREY_VALUES.values())] = list(CHAOS_GREY_VALUES)
    names = np.random.default_rng(patient).permutation(len(image)) + 1
    corner = -(image.shape[1] - 1) / 2 * spacing[0]
    for z, (plane, drawn) in enumerate(zip(image[:, ::-1], label[:, ::-1], strict=True)):
        tags = {
            "0008|0018": f"{UID_ROOT}.{patient}.3.{z + 1}",
            "0010|0020": str(patient),
            "0018|0050": f"{spacing[2]:g}",
            "0018|0088": f"{spacing[2]:g}",
            "0020|000d": f"{UID_ROOT}.{patient}.1",
            "0020|000e": f"{UID_ROOT}.{patient}.2",
            "0020|0052": f"{UID_ROOT}.{patient}.4",
            "0020|0011": "2",
            "0020|0013": str(z + 1),
            "0020|0032": f"{corner:.4f}\\{corner:.4f}\\{z * spacing[2]:.4f}",
        }
        _write_dicom(dicom / f"IMG-0004-{names[z]:05d}.dcm", np.ascontiguousarray(plane), spacing, tags)
        encoded = cv2.imencode(".png", grey[drawn])[1]
        (ground / f"IMG-0002-{z + 1:05d}.png").write_bytes(encoded.tobytes())


def draw_raw_ct(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One CT scan: image (Z, H, W) int16 in Hounsfield units, tissue, spacing, as `draw_raw_mr`; 2 `size` a slice."""
    matrix = round(size * CT_MATRIX)
    pixel = round(rng.uniform(*CT_FIELD_MM) / matrix, 4)
    heights = slice_positions(rng, round(rng.uniform(*COVERED_MM) / CT_THICKNESS_MM) + 1, CT_THICKNESS_MM)
    tissue = build_anatomy(rng, place_subject(rng, heights, matrix, pixel * matrix))
    image = np.clip(np.rint(ct_hounsfield(rng, tissue)), -1024, 3071).astype(np.int16)
    return image, tissue, (pixel, pixel, CT_THICKNESS_MM)


def broken_image(encoded: bytes, kind: int) -> bytes:
    """What a download of an image sometimes leaves: the first half of it, nothing, or the page of an error."""
    page = b"<html><head><title>404 Not Found</title></head><body>The file was not found.</body></html>\n"
    return (encoded[: len(encoded) // 2], b"", page)[kind % 3]


def write_archive(path: Path, folder: Path) -> None:
    """Zip all files below a folder under the folder's own name, always with the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_dir():
                continue
            member = zipfile.ZipInfo(file.relative_to(folder.parent).as_posix(), (2020, 1, 1, 0, 0, 0))
            packed = file.suffix in (".gz", ".png", ".jpg")
            member.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.writestr(member, file.read_bytes(), compresslevel=1)


def _write_dicom(path: Path, plane: np.ndarray, spacing: tuple, tags: dict[str, str]) -> None:
    """One slice (H, W) uint16; GDCM fills in the rest of the header."""
    # A picture of two dimensions: from one of three GDCM makes an object of the enhanced kind, which CHAOS has not.
    image = sitk.GetImageFromArray(plane)
    image.SetSpacing(spacing[:2])
    for tag, value in {**DICOM_TAGS, **tags}.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    with kept_locale():
        writer.Execute(image)
