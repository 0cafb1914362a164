"""From raw scans to a folder of image_<id>.nii.gz and label_<id>.nii.gz, scan by scan over several processes."""

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from tqdm import tqdm

from Stage1.processes import run_jobs
from Stage2.io.grid import image_on_grid
from Stage2.io.names import IMAGE, LABEL, MANIFEST, volume_name, volumes_of
from Stage2.io.volumes import read_volume, write_volume
from Stage2.preparation.raw.scan import RawScan, RawVolumes
from Stage2.preparation.steps.manifest import (
    Manifest,
    expect_same_settings,
    first_changed_source,
    hash_file,
    other_versions,
    outputs_there,
    program_versions,
    read_manifest,
    sources_changed,
)
from Stage2.preparation.steps.transform import Recipe, normalise_scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be done in a folder.

    Attributes:
        out: the folder.
        manifest: its content so far; of a new or forced one, empty.
        scans: all scans.
        to_make: those that are not there yet.
    """

    out: Path
    manifest: Manifest
    scans: tuple[RawScan, ...]
    to_make: tuple[RawScan, ...]


@dataclass(frozen=True)
class ConversionJob:
    """What is to be done for one scan; travels to a process. No recipe: the scan is converted only."""

    scan: RawScan
    out: Path
    recipe: Recipe | None


def plan_folder(
    scans: Sequence[RawScan], out: Path, data_set: str, recipe: Recipe | None, *, force: bool = False
) -> Plan:
    """Compare what is asked for with what a folder holds; nothing is written.

    Args:
        scans: of one source, at least one.
        out: folder to make or to complete.
        data_set: name of the data set.
        recipe: what is done to the volumes; None: they are converted only.
        force: make everything anew.

    Raises:
        ValueError: the folder was made with other settings or from other files, holds other scans, or lies in the
            source.
    """
    source = scans[0].source.path
    if out.resolve() == source.resolve() or out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out} lies in {source}, which is only read; write to a folder elsewhere.")
    parameters = settings(recipe)
    found = None if force else read_manifest(out)
    ids = {scan.id for scan in scans}
    present = sorted((path.name, scan_id) for kind in (IMAGE, LABEL) for scan_id, path in volumes_of(out, kind).items())
    foreign = [name for name, scan_id in present if scan_id not in ids]
    if foreign:
        raise ValueError(
            f"{out} holds {foreign[0]}, a scan that {source} does not have ({len(foreign)} such file(s)); write to "
            "another folder, or take them away."
        )
    if found is None:
        if present and not force:
            raise ValueError(
                f"{out} holds {present[0][0]} but no {MANIFEST}, so it is unknown how it was made; write to another "
                "folder, or make everything anew with --force."
            )
        return Plan(out, Manifest(data_set, parameters, str(source)), tuple(scans), tuple(scans))
    expect_same_settings(out, found, data_set, parameters)
    others = ", ".join(f"{name} {version}" for name, version in other_versions(found).items())
    if others:
        logger.warning("%s: scans were made by %s, now of another version; --force makes them anew.", out, others)
    for scan in scans:
        if scan.id in found.scans:
            _expect_same_sources(out, found.scans[scan.id], scan)
    to_make = [scan for scan in scans if scan.id not in found.scans or not outputs_there(found.scans[scan.id], out)]
    return Plan(out, found, tuple(scans), tuple(to_make))


def settings(recipe: Recipe | None) -> dict[str, Any]:
    """What decides the files of a folder, as the manifest keeps it."""
    if recipe is None:
        return {"step": "convert"}
    return {"step": "normalise", **recipe.parameters()}


def make_folder(plan: Plan, recipe: Recipe | None, *, workers: int = 1, show_progress: bool = False) -> None:
    """Make what is missing. Each file appears whole, and the manifest names finished scans only, so that an
    interrupted run goes on where it stopped.

    Args:
        plan: of `plan_folder`.
        recipe: the one it was planned with.
        workers: processes.
        show_progress: a bar with the time left on stderr.

    Raises:
        FileNotFoundError, ValueError: a raw scan is damaged, incomplete or not as expected.
        OSError: something cannot be written.
    """
    if not plan.to_make:
        return
    plan.out.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(plan.out)
    manifest = plan.manifest
    for scan in plan.to_make:
        manifest.scans.pop(scan.id, None)
    manifest.source = str(plan.scans[0].source.path)
    manifest.write(plan.out)
    jobs = [ConversionJob(scan, plan.out, recipe) for scan in plan.to_make]
    done: Iterable[tuple[str, dict[str, Any]]] = run_jobs(make_scan, jobs, workers)
    if show_progress:
        done = tqdm(done, total=len(jobs), desc="convert" if recipe is None else "normalise", unit="scan")
    for scan_id, entry in done:
        manifest.scans[scan_id] = entry
        manifest.write(plan.out)


def make_scan(job: ConversionJob) -> tuple[str, dict[str, Any]]:
    """Do one job; returns the scan's id and its entry for the manifest."""
    scan = job.scan
    with scan.source.open(scan.files) as paths:
        sources = {name: {"sha256": hash_file(paths[name]), "stamp": scan.source.stamp(name)} for name in scan.files}
        image, label = scan.reader(paths)
    image, label = through_nifti(image, label)
    if job.recipe is not None:
        try:
            image, label = normalise_scan(image, label, job.recipe)
        except ValueError as error:
            raise ValueError(f"scan {scan.id} ({scan.source.path}: {scan.files[0]}): {error}") from None
    outputs = {volume_name(IMAGE, scan.id): image}
    if label is not None:
        outputs = {volume_name(LABEL, scan.id): label, **outputs}  # the image last: it says that there is a scan
    for name, volume in outputs.items():
        write_volume(job.out / name, sitk.GetArrayViewFromImage(volume), volume)
    return scan.id, {"sources": sources, "outputs": sorted(outputs), "versions": program_versions()}


def through_nifti(image: sitk.Image, label: sitk.Image | None) -> RawVolumes:
    """Volumes as they come back from NIfTI, which keeps their geometry in float32.

    The published preparation reads NIfTI files, and the number of slices after resampling can depend on the rounding;
    so does the result of `convert` and `normalise` one by one.
    """
    with tempfile.TemporaryDirectory(prefix="densemp-") as folder:
        path = Path(folder) / volume_name(IMAGE, "0")
        write_volume(path, sitk.GetArrayViewFromImage(image), image)
        rounded = read_volume(path)
    return rounded, None if label is None else image_on_grid(sitk.GetArrayViewFromImage(label), rounded)


def _remove_leftovers(out: Path) -> None:
    """Half-written files of a run that was killed."""
    for kind in (IMAGE, LABEL, MANIFEST):
        for path in out.glob(f".{kind}*.partial*"):
            path.unlink(missing_ok=True)


def _expect_same_sources(out: Path, entry: Mapping[str, Any], scan: RawScan) -> None:
    stamps = {name: scan.source.stamp(name) for name in scan.files}
    before = entry["sources"]
    suspects = [name for name in stamps if name in before and before[name]["stamp"] != stamps[name]]
    with scan.source.open(suspects) as paths:
        hashes = {name: hash_file(path) for name, path in paths.items()}
    changed = first_changed_source(entry, stamps, hashes)
    if changed is not None:
        raise sources_changed(out, scan.id, changed)
