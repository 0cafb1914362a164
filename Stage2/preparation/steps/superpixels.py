"""Pseudo-labels, body masks and class maps for a processed folder, scan by scan over several processes."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from Stage1.files import remove_partial, whole_file, write_json
from Stage1.processes import Runner, run_jobs
from Stage2.datasets.catalog import DataSet
from Stage2.datasets.labels import class_labels
from Stage2.datasets.pseudo_labels import OURS, PseudoLabels
from Stage2.datasets.volumes import list_scans, read_class_map
from Stage2.io import names
from Stage2.io.grid import check_slice_size
from Stage2.io.nifti import check_label_file, read_header, read_voxels
from Stage2.io.volumes import read_volume, write_volume
from Stage2.preparation.steps.class_map import MIN_PIXELS, class_map, count_class_pixels
from Stage2.preparation.steps.pseudo_labels import check_scale, pseudo_label_volume, supervoxel_volume

logger = logging.getLogger(__name__)


class FolderSummary(NamedTuple):
    """What a preparation did.

    Attributes:
        scans: in the folder.
        made: scans whose pseudo-labels and mask were made now; those of the others were there.
        class_maps: "made", "kept", or "skipped" where the folder has no labels.
    """

    scans: int
    made: int
    class_maps: str


@dataclass(frozen=True)
class ProcessedScan:
    """A scan of a processed folder and what its files should be; it travels to processes.

    Attributes:
        folder, id: where it is, and its number as text.
        data_set: gives classes, values in the label files and foreground threshold.
        scale: of its pseudo-labels.
        labels: their kind.
    """

    folder: Path
    id: str
    data_set: DataSet
    scale: str
    labels: PseudoLabels = PseudoLabels.SUPERPIXELS

    def path(self, kind: str) -> Path:
        return self.folder / names.volume_name(kind, self.id)

    @property
    def segments(self) -> Path:
        """The file of its pseudo-labels."""
        return self.path(self.labels.kind(self.scale))

    @property
    def note(self) -> str:
        """Settings that decide the pseudo-labels, as kept in their header."""
        return self.labels.note(self.scale, self.data_set.foreground_threshold)

    @property
    def command(self) -> str:
        """What makes the pseudo-labels of the folder."""
        return self.labels.command(self.folder, self.data_set, self.scale)

    def read_label(self) -> np.ndarray:
        """Labels, (Z, H, W) uint8; raises as `read_voxels`, and a ValueError for a value that is no class."""
        path = self.path(names.LABEL)
        voxels = read_voxels(path)
        try:
            return class_labels(voxels, self.data_set.classes, self.data_set.label_values)
        except ValueError as error:
            remedy = "Correct its numbers, or name the data set whose numbers they are."
            raise ValueError(f"{path}: {error} {remedy}") from None

    def has_segments(self, foreign: bool = True) -> bool:
        """Whether pseudo-labels with these settings are there and not older than the image.

        Those of another program, whose settings are unknown, are taken with a warning where `foreign`.
        """
        try:
            found = read_header(self.segments)
        except (FileNotFoundError, ValueError):
            return False
        if not found.note.startswith(OURS):
            if foreign:
                logger.warning("%s was not made by this command and is kept; --force makes it anew.", self.segments)
            return foreign
        image, body = self.path(names.IMAGE), self.path(names.BODY)
        if found.note != self.note or found.size != read_header(image).size or not body.is_file():
            return False
        return min(path.stat().st_mtime_ns for path in (self.segments, body)) >= image.stat().st_mtime_ns


class ScanJob(NamedTuple):
    """What is to be done for a scan: make its pseudo-labels, count the pixels of every class in its label."""

    scan: ProcessedScan
    segments: bool
    count: bool


def prepare_folder(
    folder: Path, data_set: DataSet, *, out: Path | None = None, scale: str = "MIDDLE",
    workers: int = 1, force: bool = False, show_progress: bool = False,
    labels: PseudoLabels | None = PseudoLabels.SUPERPIXELS, run: Runner = run_jobs,
) -> FolderSummary:  # fmt: skip
    """Make superpix-<scale>_<id> or supervox-<scale>_<id>, fgmask_<id> and the class maps of a processed folder.

    What is there and not older than its image or label is kept, so an interrupted run goes on where it stopped. The
    result does not depend on the number of processes, each of which holds one scan at a time.

    Args:
        folder: with image_<id>.nii.gz and, for class maps, label_<id>.nii.gz for every image.
        data_set: gives classes and foreground threshold.
        out: where to write; images, labels and what else is there already are linked. Default: the folder itself.
        scale: of the pseudo-labels, a key of `SUPERPIXEL_SCALES`.
        workers: processes.
        force: make everything anew.
        show_progress: show a progress bar on stderr.
        labels: the kind of pseudo-labels to make; None: make the class maps only.
        run: spreads the work over processes.

    Raises:
        FileNotFoundError, ValueError: the folder is not a processed data set, or a file in it is damaged.
        OSError: something cannot be written.
    """
    check_settings(scale, workers)
    scan_ids = list_scans(folder)
    has_labels = check_scans(folder, scan_ids)
    if out is None or out.resolve() == folder.resolve():
        out = folder
    else:
        link_scans(folder, out, scan_ids, (names.IMAGE, names.LABEL) if has_labels else (names.IMAGE,))
    if not os.access(out, os.W_OK):
        raise PermissionError(f"{out} is read-only; write elsewhere with --out DIR.")
    remove_partial(out)
    places = [
        [ProcessedScan(place, scan_id, data_set, scale, labels or PseudoLabels.SUPERPIXELS) for scan_id in scan_ids]
        for place in (folder, out)
    ]
    scans = places[1]
    if out != folder and labels is not None and not force:
        _link_products(*places, has_labels)
    count = has_labels and (force or not _class_maps_done(out, scan_ids, data_set))
    jobs = [ScanJob(scan, labels is not None and (force or not scan.has_segments()), count) for scan in scans]
    to_do = [job for job in jobs if job.segments or job.count]
    # The longest first, so that no process has a long scan to do when the others have done theirs.
    to_do.sort(key=lambda job: job.scan.path(names.IMAGE).stat().st_size, reverse=True)
    hidden = not (show_progress and to_do)
    results = run(prepare_scan, to_do, workers)
    counts = dict(tqdm(results, total=len(to_do), desc=scans[0].labels.kind(scale), unit="scan", disable=hidden))
    remove_partial(out)  # of processes that were lost on the way
    if count:
        ordered = {scan_id: counts[scan_id] for scan_id in scan_ids}
        for minimum in sorted(MIN_PIXELS, reverse=True):  # classmap_1 last: where it is new, everything is
            write_json(names.class_map_path(out, minimum), class_map(ordered, data_set.classes, minimum), indent=None)
    class_maps = "made" if count else "kept" if has_labels else "skipped"
    return FolderSummary(len(scan_ids), sum(job.segments for job in jobs), class_maps)


def check_settings(scale: str, workers: int) -> None:
    """Refuse an unknown superpixel scale and fewer than one process.

    Raises:
        ValueError: one of them.
    """
    check_scale(scale)
    if workers < 1:
        raise ValueError(f"{workers} workers cannot work; use 1 or more.")


def check_scans(folder: Path, scan_ids: Sequence[str]) -> bool:
    """Whether the scans have labels; sizes and places are compared by header, voxels are not read.

    Raises:
        FileNotFoundError, ValueError: slices of another size than 256 x 256, some labels are missing, or a label's
            size, spacing, direction or origin differs from its image's.
    """
    labels = {scan_id: names.label_path(folder, scan_id) for scan_id in scan_ids}
    missing = [path.name for path in labels.values() if not path.is_file()]
    if missing and len(missing) < len(scan_ids):
        raise FileNotFoundError(
            f"{folder} has labels for some scans but lacks {', '.join(missing)}; add them, or take all labels away to "
            "go without class maps."
        )
    for scan_id, label in labels.items():
        image = names.image_path(folder, scan_id)
        check_slice_size(image, read_header(image).size)
        if not missing:
            check_label_file(label, image)
    return not missing


def link_scans(folder: Path, out: Path, scan_ids: Sequence[str], kinds: Sequence[str]) -> None:
    """Link (or copy, where links are impossible) the files of the scans into another folder.

    Raises:
        ValueError: the other folder holds files of other scans.
    """
    files = [names.volume_name(kind, scan_id) for scan_id in scan_ids for kind in kinds]
    found = [path.name for kind in (names.IMAGE, names.LABEL) for path in names.volumes_of(out, kind).values()]
    foreign = sorted(set(found) - set(files))
    foreign += [name for name in files if _is_there(out / name) and not _is_copy(out / name, folder / name)]
    if foreign:
        raise ValueError(
            f"{out} already holds {foreign[0]} that is not the one of {folder}; empty {out} or write to another folder."
        )
    for name in files:
        if not _is_there(out / name):
            _link(folder / name, out / name)


def prepare_scan(job: ScanJob) -> tuple[str, dict[str, list[int]] | None]:
    """Do one job; returns the scan's id and, where asked for, class name -> pixels per slice."""
    scan, data_set = job.scan, job.scan.data_set
    if job.segments:
        image = read_volume(scan.path(names.IMAGE))
        volume, threshold = sitk.GetArrayViewFromImage(image), data_set.foreground_threshold
        if scan.labels is PseudoLabels.SUPERVOXELS:
            numbers, masks = supervoxel_volume(volume, image.GetSpacing()[::-1], threshold, scan.scale)
        else:
            numbers, masks = pseudo_label_volume(volume, threshold, scan.scale)
        write_volume(scan.path(names.BODY), masks.astype(np.uint8), image, f"foreground > {threshold:g}")
        write_volume(scan.segments, numbers, image, scan.note)  # last: its presence says that the scan is done
    return scan.id, count_class_pixels(scan.read_label(), data_set.classes) if job.count else None


def _link_products(source: Sequence[ProcessedScan], target: Sequence[ProcessedScan], has_labels: bool) -> None:
    """Link what a folder has of pseudo-labels with these settings, and of class maps, into another that lacks them."""
    for there, here in zip(source, target, strict=True):
        if not _is_there(here.segments) and there.has_segments(foreign=False):
            _link(there.path(names.BODY), here.path(names.BODY))
            _link(there.segments, here.segments)
    folder, out, data_set = source[0].folder, target[0].folder, target[0].data_set
    scan_ids = [scan.id for scan in target]
    if has_labels and not _class_maps_done(out, scan_ids, data_set) and _class_maps_done(folder, scan_ids, data_set):
        for minimum in MIN_PIXELS:
            _link(names.class_map_path(folder, minimum), names.class_map_path(out, minimum))


def _class_maps_done(folder: Path, scan_ids: Sequence[str], data_set: DataSet) -> bool:
    sources = [names.label_path(folder, scan_id) for scan_id in scan_ids]
    sources += [data_set.source] if data_set.source is not None else []  # its label_values may have changed
    newest = max(path.stat().st_mtime_ns for path in sources)
    expected = {name: set(scan_ids) for name in data_set.classes}
    for minimum in MIN_PIXELS:
        try:
            found = {name: set(scans) for name, scans in read_class_map(folder, minimum).items()}
        except (FileNotFoundError, ValueError):
            return False
        if found != expected or names.class_map_path(folder, minimum).stat().st_mtime_ns < newest:
            return False
    return True


def _link(source: Path, target: Path) -> None:
    """A link to a file, or a copy of it where links are impossible."""
    with whole_file(target) as temporary:
        try:
            temporary.symlink_to(source.resolve())
        except OSError:
            shutil.copy2(source, temporary)


def _is_there(path: Path) -> bool:
    """Also true for a link that leads nowhere."""
    return path.is_symlink() or path.exists()


def _is_copy(path: Path, source: Path) -> bool:
    if path.is_symlink():
        return path.resolve() == source.resolve()
    theirs, ours = source.stat(), path.stat()
    return (ours.st_size, int(ours.st_mtime)) == (theirs.st_size, int(theirs.st_mtime))
