"""Superpixels, body masks and class maps for a processed folder, scan by scan over several processes."""

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from Stage1.files import write_text
from Stage1.processes import run_jobs
from Stage2.datasets.catalog import DataSet
from Stage2.datasets.labels import class_labels
from Stage2.datasets.volumes import list_scans
from Stage2.io.grid import check_slice_size
from Stage2.io.names import (
    BODY,
    IMAGE,
    LABEL,
    body_path,
    class_map_path,
    image_path,
    label_path,
    superpixel_kind,
    superpixel_path,
    volume_name,
    volumes_of,
)
from Stage2.io.nifti import check_label_file, read_header, read_voxels
from Stage2.io.volumes import read_volume, write_volume
from Stage2.preparation.steps.class_map import MIN_PIXELS, class_map, count_class_pixels
from Stage2.preparation.steps.pseudo_labels import SCALES, pseudo_label_volume

OURS = "Felzenszwalb "  # start of the description in our superpixel files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What a preparation did.

    Attributes:
        scans: in the folder.
        made: scans whose superpixels and mask were made now; those of the others were there.
        class_maps: "made", "kept", or "skipped" where the folder has no labels.
    """

    scans: int
    made: int
    class_maps: str


@dataclass(frozen=True)
class ScanJob:
    """What is to be done for one scan; travels to a process, so it holds plain values only.

    Attributes:
        folder: to read and write.
        scan_id: id of the scan.
        classes: class name -> label value.
        label_values: value in the label file -> label value; None: labels are stored as they are.
        threshold: foreground threshold.
        scale: superpixel scale.
        superpixels: make superpixels and mask.
        count: count the pixels of every class in the label.
    """

    folder: Path
    scan_id: str
    classes: dict[str, int]
    label_values: dict[int, int] | None
    threshold: float
    scale: str
    superpixels: bool
    count: bool

    def path(self, kind: str) -> Path:
        return self.folder / volume_name(kind, self.scan_id)


def prepare_folder(
    folder: Path,
    data_set: DataSet,
    *,
    out: Path | None = None,
    scale: str = "MIDDLE",
    workers: int = 1,
    force: bool = False,
    show_progress: bool = False,
    superpixels: bool = True,
) -> Summary:
    """Make superpix-<scale>_<id>, fgmask_<id> and the class maps of a processed folder.

    What is there and not older than its image or label is kept, so an interrupted run goes on where it stopped. The
    result does not depend on the number of processes, each of which holds one scan at a time.

    Args:
        folder: with image_<id>.nii.gz and, for class maps, label_<id>.nii.gz for every image.
        data_set: gives classes and foreground threshold.
        out: where to write; images and labels are linked there. Default: the folder itself.
        scale: superpixel scale, a key of `pseudo_labels.SCALES`.
        workers: processes.
        force: make everything anew.
        show_progress: show a progress bar on stderr.
        superpixels: False: make the class maps only.

    Raises:
        FileNotFoundError, ValueError: the folder is not a processed data set, or a file in it is damaged.
        OSError: something cannot be written.
    """
    if scale not in SCALES:
        raise ValueError(f"superpixel scale {scale!r} is unknown; choose one of {', '.join(SCALES)}.")
    if workers < 1:
        raise ValueError(f"{workers} workers cannot work; use 1 or more.")
    scan_ids = list_scans(folder)
    has_labels = check_scans(folder, scan_ids)
    target = folder
    if out is not None and out.resolve() != folder.resolve():
        link_scans(folder, out, scan_ids, (IMAGE, LABEL) if has_labels else (IMAGE,))
        target = out
    if not os.access(target, os.W_OK):
        raise PermissionError(f"{target} is read-only; write elsewhere with --out DIR.")
    maps_needed = has_labels and (force or not _class_maps_done(target, scan_ids, data_set))
    jobs = [
        ScanJob(
            folder=target,
            scan_id=scan_id,
            classes=dict(data_set.classes),
            label_values=None if data_set.label_values is None else dict(data_set.label_values),
            threshold=data_set.foreground_threshold,
            scale=scale,
            superpixels=superpixels
            and (force or not _superpixels_done(target, scan_id, data_set.foreground_threshold, scale)),
            count=maps_needed,
        )
        for scan_id in scan_ids
    ]
    to_do = [job for job in jobs if job.superpixels or job.count]
    # The longest first, so that no process has a long scan to do when the others have done theirs.
    to_do.sort(key=lambda job: job.path(IMAGE).stat().st_size, reverse=True)
    results = run_jobs(prepare_scan, to_do, workers)
    if show_progress and to_do:
        results = tqdm(results, total=len(to_do), desc=superpixel_kind(scale), unit="scan")
    counts = dict(results)
    if maps_needed:
        ordered = {scan_id: counts[scan_id] for scan_id in scan_ids}
        for minimum in sorted(MIN_PIXELS, reverse=True):  # classmap_1 last: where it is new, everything is
            maps = class_map(ordered, data_set.classes, minimum)
            write_text(class_map_path(target, minimum), json.dumps(maps) + "\n")
    return Summary(
        scans=len(scan_ids),
        made=sum(job.superpixels for job in jobs),
        class_maps="made" if maps_needed else "kept" if has_labels else "skipped",
    )


def check_scans(folder: Path, scan_ids: Sequence[str]) -> bool:
    """Whether the scans have labels; sizes and places are compared by header, voxels are not read.

    Raises:
        FileNotFoundError, ValueError: slices of another size than 256 x 256, some labels are missing, or a label's
            size, spacing, direction or origin differs from its image's.
    """
    labels = {scan_id: label_path(folder, scan_id) for scan_id in scan_ids}
    missing = [path.name for path in labels.values() if not path.is_file()]
    if missing and len(missing) < len(scan_ids):
        raise FileNotFoundError(
            f"{folder} has labels for some scans but lacks {', '.join(missing)}; add them, or take all labels away to "
            "go without class maps."
        )
    for scan_id, label in labels.items():
        image = image_path(folder, scan_id)
        check_slice_size(image, read_header(image).size)
        if not missing:
            check_label_file(label, image)
    return not missing


def link_scans(folder: Path, out: Path, scan_ids: Sequence[str], kinds: Sequence[str]) -> None:
    """Link (or copy, where links are impossible) the files of the scans into another folder.

    Raises:
        ValueError: the other folder holds files of other scans.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = [volume_name(kind, scan_id) for scan_id in scan_ids for kind in kinds]
    foreign = sorted({path.name for kind in (IMAGE, LABEL) for path in volumes_of(out, kind).values()} - set(names))
    foreign += [name for name in names if _is_there(out / name) and not _is_copy(out / name, folder / name)]
    if foreign:
        raise ValueError(
            f"{out} already holds {foreign[0]} that is not the one of {folder}; empty {out} or write to another folder."
        )
    for name in names:
        if _is_there(out / name):
            continue
        source = (folder / name).resolve()
        try:
            (out / name).symlink_to(source)
        except OSError:
            partial = out / f".{name}.{os.getpid()}.partial"
            try:
                shutil.copy2(source, partial)
                partial.replace(out / name)
            finally:
                partial.unlink(missing_ok=True)


def prepare_scan(job: ScanJob) -> tuple[str, dict[str, list[int]] | None]:
    """Do one job; returns the scan's id and, where asked for, class name -> pixels per slice."""
    if job.superpixels:
        image = read_volume(job.path(IMAGE))
        numbers, masks = pseudo_label_volume(sitk.GetArrayViewFromImage(image), job.threshold, job.scale)
        write_volume(job.path(BODY), masks.astype(np.uint8), image, f"foreground > {job.threshold:g}")
        # Last, because its presence says that the scan is done.
        write_volume(job.path(superpixel_kind(job.scale)), numbers, image, superpixel_note(job.threshold, job.scale))
    if not job.count:
        return job.scan_id, None
    label = read_voxels(job.path(LABEL))
    try:
        return job.scan_id, count_class_pixels(class_labels(label, job.classes, job.label_values), job.classes)
    except ValueError as error:
        raise ValueError(f"{job.path(LABEL)}: {error}") from None


def superpixel_note(threshold: float, scale: str) -> str:
    """Settings that decide the superpixels, as kept in their header."""
    settings = " ".join(f"{name} {value:g}" for name, value in SCALES[scale].items())
    return f"{OURS}{settings}; foreground > {threshold:g}"


def _superpixels_done(folder: Path, scan_id: str, threshold: float, scale: str) -> bool:
    path = superpixel_path(folder, scan_id, scale)
    mask_path = body_path(folder, scan_id)
    if not path.is_file():
        return False
    try:
        header = read_header(path)
    except ValueError:
        return False
    if not header.note.startswith(OURS):
        logger.warning("%s was not made by this command and is kept; --force makes it anew.", path)
        return True
    image = image_path(folder, scan_id)
    return (
        header.note == superpixel_note(threshold, scale)
        and header.size == read_header(image).size
        and mask_path.is_file()
        and min(path.stat().st_mtime_ns, mask_path.stat().st_mtime_ns) >= image.stat().st_mtime_ns
    )


def _class_maps_done(folder: Path, scan_ids: Sequence[str], data_set: DataSet) -> bool:
    sources = [label_path(folder, scan_id) for scan_id in scan_ids]
    sources += [data_set.source] if data_set.source is not None else []  # its label_values may have changed
    newest = max(path.stat().st_mtime_ns for path in sources)
    for minimum in MIN_PIXELS:
        path = class_map_path(folder, minimum)
        if not path.is_file() or path.stat().st_mtime_ns < newest:
            return False
        try:
            content = json.loads(path.read_text())
        except ValueError:
            return False
        expected = {name: set(scan_ids) for name in data_set.classes}
        if not isinstance(content, Mapping) or {name: set(scans) for name, scans in content.items()} != expected:
            return False
    return True


def _is_there(path: Path) -> bool:
    """Also true for a link that leads nowhere."""
    return path.is_symlink() or path.exists()


def _is_copy(path: Path, source: Path) -> bool:
    if path.is_symlink():
        return path.resolve() == source.resolve()
    theirs, ours = source.stat(), path.stat()
    return (ours.st_size, int(ours.st_mtime)) == (theirs.st_size, int(theirs.st_mtime))
