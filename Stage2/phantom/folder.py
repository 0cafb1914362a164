"""Phantom demo cohort on disk: MR-like and CT-like scans and radiograph-like images, processed or as downloaded.

Everything follows from the seed: each scan and each image has a random stream of its own, so that the number of
processes changes nothing, and a folder that was interrupted is completed rather than made again.
"""

import json
import logging
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from Stage1.files import locked, remove_partial, whole_file, write_json
from Stage1.processes import run_jobs
from Stage2.datasets.catalog import get_dataset
from Stage2.io.names import MANIFEST
from Stage2.io.volumes import write_volume
from Stage2.phantom.anatomy import Tissue, build_anatomy
from Stage2.phantom.geometry import FIELD_OF_VIEW_MM, SLICE_THICKNESS_MM, place_subject, slice_positions
from Stage2.phantom.imaging import render_ct, render_mr
from Stage2.phantom.parts import ARCHIVES, BROKEN, FOLDERS, Part, chaos_patient
from Stage2.phantom.radiographs import draw_radiograph
from Stage2.phantom.raw import broken_image, draw_raw_ct, draw_raw_mr, write_archive, write_chaos_patient

logger = logging.getLogger(__name__)

SLICES = (18, 24)  # fewest and most slices of a scan
RADIOGRAPH_SIDE = (256, 320)  # pixels, range of the longest side

# Tissues of every class that the phantom knows, for each of the catalog's data sets.
CLASSES = {
    "CHAOST2": {
        "LIVER": (Tissue.LIVER, Tissue.LIVER_VESSEL),
        "RK": (Tissue.KIDNEY_RIGHT, Tissue.MEDULLA_RIGHT),
        "LK": (Tissue.KIDNEY_LEFT, Tissue.MEDULLA_LEFT),
        "SPLEEN": (Tissue.SPLEEN,),
    },
    "SABS": {
        "SPLEEN": (Tissue.SPLEEN,),
        "KID_R": (Tissue.KIDNEY_RIGHT, Tissue.MEDULLA_RIGHT),
        "KID_l": (Tissue.KIDNEY_LEFT, Tissue.MEDULLA_LEFT),
        "GALLBLADDER": (Tissue.GALLBLADDER,),
        "LIVER": (Tissue.LIVER, Tissue.LIVER_VESSEL),
        "STOMACH": (Tissue.STOMACH,),
        "AORTA": (Tissue.AORTA,),
        "IVC": (Tissue.VENA_CAVA,),
        "PANCREAS": (Tissue.PANCREAS,),
    },
}


def make_scan(kind: str, seed: int, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One phantom scan.

    Args:
        kind: "mr" (CHAOST2 labels) or "ct" (SABS labels).
        seed: seed of the cohort.
        index: position of the subject in the cohort, from 0.
        size: height and width in pixels; the field of view stays 320 mm.

    Returns:
        image (Z, size, size) float32 and label (Z, size, size) uint8. Rows run from the patient's back to the front,
        columns from right to left, slices from the feet to the head, as in the processed CHAOS volumes.
    """
    rng = random_stream(seed, kind, index)
    heights = slice_positions(rng, int(rng.integers(SLICES[0], SLICES[1] + 1)))
    tissue = build_anatomy(rng, place_subject(rng, heights, size))
    image = (render_mr if kind == "mr" else render_ct)(rng, tissue)
    return image, labels_of(tissue, kind)


def labels_of(tissue: np.ndarray, kind: str) -> np.ndarray:
    """Labels (Z, H, W) uint8 of a tissue map: those of CHAOST2 for "mr", of SABS for "ct"."""
    data_set = get_dataset("CHAOST2" if kind == "mr" else "SABS")
    label = np.zeros(tissue.shape, np.uint8)
    for name, tissues in CLASSES[data_set.name].items():
        label[np.isin(tissue, tissues)] = data_set.classes[name]
    return label


def make_part(out: Path, part: Part, workers: int, overwrite: bool = False) -> bool:
    """Write one folder of the cohort, or complete it; it appears under its name when all its files are there.

    Args:
        out: folder of the cohort; the part goes to a folder in it.
        workers: number of processes.
        overwrite: replace a folder that this generator made with other parameters.

    Returns:
        whether anything was written.

    Raises:
        ValueError: the folder exists with other parameters, or was not made by this generator.
        OSError: it cannot be written, or another process works there.
    """
    final, started = out / part.folder_name, out / f".{part.folder_name}.partial"
    with locked(out):
        replaced = final.exists() and _read_manifest(final) != part.manifest()
        if replaced and (_read_manifest(final) is None or not overwrite):
            raise ValueError(_mismatch(final, part))
        in_place = final.exists() and not replaced
        folder = final if in_place else started
        if not in_place and started.exists() and _read_manifest(started) != part.manifest():
            shutil.rmtree(started)
        missing = [i for i, names in enumerate(part.files()) if not all((folder / name).exists() for name in names)]
        archive, content = ARCHIVES.get(part.kind, (MANIFEST, ""))
        if in_place and not missing and (folder / archive).is_file():
            return False
        for place in {folder, *((folder / name).parent for names in part.files() for name in names)}:
            remove_partial(place)
        write_json(folder / MANIFEST, part.manifest(), indent=2)
        if missing:
            _make_items(folder, part, missing, workers)
        if content and (missing or not (folder / archive).is_file()):
            with whole_file(folder / archive) as temporary:
                write_archive(temporary, folder / content)
        if replaced:
            shutil.rmtree(final)
        if not in_place:
            started.rename(final)
    return True


def _make_items(folder: Path, part: Part, indices: list[int], workers: int) -> None:
    """Make the items of these indices in processes and log how far it is."""
    for done, _ in enumerate(run_jobs(partial(_make_item, folder, part), indices, workers, apart=True), 1):
        if done * 10 // len(indices) > (done - 1) * 10 // len(indices):
            logger.info("%s: %d of %d", part.folder_name, done, len(indices))


def _make_item(folder: Path, part: Part, index: int) -> None:
    names = part.files()[index]
    rng = random_stream(part.seed, part.kind, index)
    if part.kind in ("radiographs", "roco"):
        encoded = _encoded_radiograph(part.seed, index)
        if part.kind == "roco" and index < part.count and index % 100 in BROKEN:
            encoded = broken_image(encoded, BROKEN.index(index % 100))
        with whole_file(folder / names[0]) as temporary:
            temporary.write_bytes(encoded)
    elif part.kind == "chaos":
        image, tissue, spacing = draw_raw_mr(rng, part.size)
        with whole_file(folder / names[0]) as temporary:
            temporary.mkdir()
            write_chaos_patient(temporary, image, labels_of(tissue, "mr"), spacing, chaos_patient(index))
    else:
        spacing = None
        if part.kind == "sabs":
            image, tissue, spacing = draw_raw_ct(rng, part.size)
            label = labels_of(tissue, "ct")
        else:
            image, label = make_scan(part.kind, part.seed, index, part.size)
        for name, volume in zip(names, (label, image), strict=True):
            write_volume(folder / name, volume, _grid_of(volume, spacing))


def _encoded_radiograph(seed: int, index: int) -> bytes:
    rng = random_stream(seed, "radiographs", index)
    image = draw_radiograph(rng, int(rng.integers(RADIOGRAPH_SIDE[0], RADIOGRAPH_SIDE[1] + 1)))
    quality = int(rng.integers(80, 96))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _grid_of(volume: np.ndarray, spacing: tuple[float, float, float] | None) -> sitk.Image:
    """An image of a volume's size (Z, H, W) with the axes (row index grows to the front) and, if none is given, the
    spacing of the processed CHAOS volumes."""
    image = sitk.Image(*volume.shape[::-1], sitk.sitkUInt8)
    pixel = FIELD_OF_VIEW_MM / volume.shape[1]
    image.SetSpacing(spacing or (pixel, pixel, SLICE_THICKNESS_MM))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    reach = (volume.shape[1] - 1) / 2 * image.GetSpacing()[0]
    image.SetOrigin((-reach, reach, 0))
    return image


def random_stream(seed: int, kind: str, index: int) -> np.random.Generator:
    """Random numbers of one subject or image: the same whatever else is made, and by how many processes."""
    return np.random.default_rng([seed, list(FOLDERS).index(kind), index])


def _read_manifest(folder: Path) -> dict | None:
    """What this generator wrote of a folder; None where the folder is not its own, such as prepared scans."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "generator_version" in found else None


def _mismatch(folder: Path, part: Part) -> str:
    found = _read_manifest(folder)
    if found is None:
        return f"{folder} has no {MANIFEST} of demo data, so it is kept as it is; choose another OUT."
    asked = part.manifest().items()
    differing = [f"{key} {found.get(key)} instead of {value}" for key, value in asked if found.get(key) != value]
    remedy = "pass --overwrite to make it again, or choose another OUT"
    return f"{folder} was made with other parameters ({', '.join(differing)}); {remedy}."
