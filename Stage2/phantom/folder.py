"""Phantom demo cohort on disk: MR-like and CT-like scans and radiograph-like images, processed or as downloaded.

Everything follows from the seed: each scan and each image has a random stream of its own, so that the number of
processes changes nothing, and a folder that was interrupted is completed rather than made again.
"""

import fcntl
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from Stage2.datasets.catalog import get_dataset
from Stage2.io.names import MANIFEST
from Stage2.phantom.anatomy import Tissue, build_anatomy
from Stage2.phantom.geometry import FIELD_OF_VIEW_MM, SLICE_THICKNESS_MM, place_subject, slice_positions
from Stage2.phantom.imaging import render_ct, render_mr
from Stage2.phantom.parts import ARCHIVES, BROKEN, FOLDERS, Part
from Stage2.phantom.radiographs import draw_radiograph
from Stage2.phantom.raw import (
    broken_image,
    chaos_patient,
    draw_raw_ct,
    draw_raw_mr,
    write_archive,
    write_chaos_patient,
)

logger = logging.getLogger(__name__)

SLICES = (18, 24)  # fewest and most slices of a scan
RADIOGRAPH_SIDE = (256, 320)  # pixels, range of the longest side

# Tissues of every class that the phantom knows; the numbers are the catalog's.
CHAOST2_TISSUES = {
    "LIVER": (Tissue.LIVER, Tissue.LIVER_VESSEL),
    "RK": (Tissue.KIDNEY_RIGHT, Tissue.MEDULLA_RIGHT),
    "LK": (Tissue.KIDNEY_LEFT, Tissue.MEDULLA_LEFT),
    "SPLEEN": (Tissue.SPLEEN,),
}
SABS_TISSUES = {
    "SPLEEN": (Tissue.SPLEEN,),
    "KID_R": (Tissue.KIDNEY_RIGHT, Tissue.MEDULLA_RIGHT),
    "KID_l": (Tissue.KIDNEY_LEFT, Tissue.MEDULLA_LEFT),
    "GALLBLADDER": (Tissue.GALLBLADDER,),
    "LIVER": (Tissue.LIVER, Tissue.LIVER_VESSEL),
    "STOMACH": (Tissue.STOMACH,),
    "AORTA": (Tissue.AORTA,),
    "IVC": (Tissue.VENA_CAVA,),
    "PANCREAS": (Tissue.PANCREAS,),
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
    data_set, classes = ("CHAOST2", CHAOST2_TISSUES) if kind == "mr" else ("SABS", SABS_TISSUES)
    label = np.zeros(tissue.shape, np.uint8)
    for name, tissues in classes.items():
        label[np.isin(tissue, tissues)] = get_dataset(data_set).classes[name]
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
    """
    final, started = out / part.folder_name, out / f".{part.folder_name}.partial"
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
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
        folder.mkdir(exist_ok=True)
        _write_manifest(folder, part)
        if missing:
            _make_items(folder, part, missing, workers)
        if content and (missing or not (folder / archive).is_file()):
            temporary = folder / f".tmp_{archive}"
            write_archive(temporary, folder / content)
            temporary.replace(folder / archive)
        if replaced:
            shutil.rmtree(final)
        if not in_place:
            started.rename(final)
    return True


def _make_items(folder: Path, part: Part, indices: list[int], workers: int) -> None:
    """Make the items of these indices in processes and log how far it is."""
    # Spawned, not forked: a fork of a process with threads (OpenCV, ITK) can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(indices)), mp_context=context, initializer=_start_worker) as pool:
        tasks = [pool.submit(partial(_make_item, folder, part), index) for index in indices]
        try:
            for done, task in enumerate(as_completed(tasks), start=1):
                task.result()
                if done * 10 // len(tasks) > (done - 1) * 10 // len(tasks):
                    logger.info("%s: %d of %d", part.folder_name, done, len(tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _make_item(folder: Path, part: Part, index: int) -> None:
    names = part.files()[index]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if part.kind in ("radiographs", "roco"):
        encoded = _encoded_radiograph(part.seed, index)
        if part.kind == "roco" and index < part.count and index % 100 in BROKEN:
            encoded = broken_image(encoded, BROKEN.index(index % 100))
        with _whole(folder / names[0]) as temporary:
            temporary.write_bytes(encoded)
    elif part.kind == "chaos":
        image, tissue, spacing = draw_raw_mr(random_stream(part.seed, part.kind, index), part.size)
        with _whole(folder / names[0]) as temporary:
            temporary.mkdir()
            write_chaos_patient(temporary, image, labels_of(tissue, "mr"), spacing, chaos_patient(index))
    else:
        spacing = None
        if part.kind == "sabs":
            image, tissue, spacing = draw_raw_ct(random_stream(part.seed, part.kind, index), part.size)
            label = labels_of(tissue, "ct")
        else:
            image, label = make_scan(part.kind, part.seed, index, part.size)
        for name, volume in zip(names, (label, image), strict=True):
            with _whole(folder / name) as temporary:
                sitk.WriteImage(_as_itk(volume, spacing), str(temporary), useCompression=True, compressionLevel=1)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which gets its name when it is whole."""
    temporary = path.with_name(f".tmp_{path.name}")
    if temporary.is_dir():  # of an interrupted run
        shutil.rmtree(temporary)
    yield temporary
    temporary.replace(path)


def _encoded_radiograph(seed: int, index: int) -> bytes:
    rng = random_stream(seed, "radiographs", index)
    image = draw_radiograph(rng, int(rng.integers(RADIOGRAPH_SIDE[0], RADIOGRAPH_SIDE[1] + 1)))
    quality = int(rng.integers(80, 96))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _as_itk(volume: np.ndarray, spacing: tuple[float, float, float] | None = None) -> sitk.Image:
    """Volume (Z, H, W) with the axes (row index grows to the front) and, if none is given, the spacing of the processed
    CHAOS volumes."""
    image = sitk.GetImageFromArray(volume)
    pixel = FIELD_OF_VIEW_MM / volume.shape[1]
    image.SetSpacing(spacing or (pixel, pixel, SLICE_THICKNESS_MM))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    reach = (volume.shape[1] - 1) / 2 * image.GetSpacing()[0]
    image.SetOrigin((-reach, reach, 0))
    return image


def random_stream(seed: int, kind: str, index: int) -> np.random.Generator:
    """Random numbers of one subject or image: the same whatever else is made, and by how many processes."""
    return np.random.default_rng([seed, list(FOLDERS).index(kind), index])


def _start_worker() -> None:
    """One thread, since the processes share the cores already; Ctrl-C and the end of the parent are the pool's end."""
    cv2.setNumThreads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep a second generator out of the folder until this one has ended, however it ends."""
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_manifest(folder: Path) -> dict | None:
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def _write_manifest(folder: Path, part: Part) -> None:
    temporary = folder / f".tmp_{MANIFEST}"
    temporary.write_text(json.dumps(part.manifest(), indent=2) + "\n")
    temporary.replace(folder / MANIFEST)


def _mismatch(folder: Path, part: Part) -> str:
    found = _read_manifest(folder)
    if found is None:
        return f"{folder} has no {MANIFEST}, so it is not demo data; expected none of that name: choose another OUT."
    differences = [
        f"{key} {found.get(key)} instead of {value}"
        for key, value in part.manifest().items()
        if found.get(key) != value
    ]
    return (
        f"{folder} was made with other parameters ({', '.join(differences)}); "
        "pass --overwrite to make it again, or choose another OUT."
    )
