"""From raw scans to a folder of image_<id>.nii.gz and label_<id>.nii.gz, scan by scan over several processes."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from Stage1.files import PARTIAL, hash_file, remove_partial
from Stage1.processes import Runner, run_jobs
from Stage2.io.names import IMAGE, LABEL, MANIFEST, volume_name, volumes_of
from Stage2.io.volumes import read_volume, write_volume
from Stage2.preparation.raw.scan import RawScan
from Stage2.preparation.raw.source import Source
from Stage2.preparation.steps.manifest import REMEDY, Manifest, program_versions, read_manifest
from Stage2.preparation.steps.transform import VolumeTransform, expect_plausible, normalise_scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be done in a folder.

    Attributes:
        out: the folder.
        transform: what is done to the volumes.
        converted_only: it is not done: they keep intensities and grids.
        manifest: content of the folder's manifest so far; of a new or forced one, empty.
        scans: all scans.
        to_make: those that are not there yet.
    """

    out: Path
    transform: VolumeTransform
    converted_only: bool
    manifest: Manifest
    scans: tuple[RawScan, ...]
    to_make: tuple[RawScan, ...]


def expect_apart(out: Path, source: Source) -> None:
    """Refuse to write into the source.

    Raises:
        ValueError: the folder lies in it.
    """
    if out.resolve().is_relative_to(source.path.resolve()):
        raise ValueError(f"{out} lies in {source.path}, which is only read; write to a folder elsewhere.")


def plan_folder(
    scans: Sequence[RawScan], out: Path, data_set: str, transform: VolumeTransform, converted_only: bool = False,
    *, reading: Mapping[str, Any] = MappingProxyType({}), force: bool = False,
) -> Plan:  # fmt: skip
    """Compare what is asked for with what a folder holds; nothing is written.

    Args:
        scans: of one source, at least one.
        out: folder to make or to complete.
        data_set: name of the data set.
        transform: what is done to the volumes, or would be if they were not `converted_only`.
        reading: what decides the raw volumes beside their files, as JSON holds it.
        force: make everything anew.

    Raises:
        ValueError: the folder was made with other settings or from other files, holds other scans, or lies in the
            source.
    """
    source = scans[0].source
    expect_apart(out, source)
    steps = {"step": "convert"} if converted_only else {"step": "normalise", **transform.parameters()}
    parameters = {**steps, **reading}
    found = None if force else read_manifest(out)
    ids = {scan.id for scan in scans}
    present = sorted((path.name, scan_id) for kind in (IMAGE, LABEL) for scan_id, path in volumes_of(out, kind).items())
    foreign = [name for name, scan_id in present if scan_id not in ids]
    if foreign:
        raise ValueError(
            f"{out} holds {foreign[0]}, a scan that {source.path} does not have ({len(foreign)} such file(s)); write "
            "to another folder, or take them away."
        )
    if found is None:
        if present and not force:
            raise ValueError(
                f"{out} holds {present[0][0]} but no {MANIFEST}, so it is unknown how it was made; {REMEDY}."
            )
        found = Manifest(data_set, parameters, str(source.path))
        return Plan(out, transform, converted_only, found, tuple(scans), tuple(scans))
    found.expect_settings(out, data_set, parameters)
    others = ", ".join(f"{name} {version}" for name, version in found.other_versions().items())
    if others:
        logger.warning("%s: scans were made by %s, now of another version; --force makes them anew.", out, others)
    to_make = []
    for scan in scans:
        entry = found.scans.get(scan.id)
        if entry is not None:
            changed = _changed_source(scan, entry["sources"])
            if changed:
                raise ValueError(f"{out}: scan {scan.id} was made from other files ({changed}); {REMEDY}.")
        if entry is None or not all((out / name).is_file() for name in entry["outputs"]):
            to_make.append(scan)
    return Plan(out, transform, converted_only, found, tuple(scans), tuple(to_make))


def make_folder(plan: Plan, *, workers: int = 1, show_progress: bool = False, run: Runner = run_jobs) -> int:
    """Make what is missing. Each file appears whole, and the manifest names finished scans only, so that an
    interrupted run goes on where it stopped.

    Args:
        plan: of `plan_folder`.
        workers: processes.
        show_progress: a bar with the time left on stderr.
        run: spreads the work over processes.

    Returns:
        How many scans were made.

    Raises:
        FileNotFoundError, ValueError: a raw scan is damaged, incomplete or not as expected.
        OSError: something cannot be written.
    """
    if not plan.to_make:
        return 0
    remove_partial(plan.out)
    manifest = plan.manifest
    for scan in plan.to_make:
        manifest.scans.pop(scan.id, None)
    manifest.source = str(plan.scans[0].source.path)
    manifest.write(plan.out)
    work = partial(make_scan, out=plan.out, transform=plan.transform, converted_only=plan.converted_only)
    done = run(work, plan.to_make, workers)
    title = "convert" if plan.converted_only else "normalise"
    for scan_id, entry in tqdm(done, total=len(plan.to_make), desc=title, unit="scan", disable=not show_progress):
        manifest.scans[scan_id] = entry
        manifest.write(plan.out)
    remove_partial(plan.out)  # of processes that were lost on the way
    return len(plan.to_make)


def make_scan(
    scan: RawScan, out: Path, transform: VolumeTransform, converted_only: bool
) -> tuple[str, dict[str, Any]]:
    """Write the files of one scan; returns its id and its entry for the manifest."""
    with scan.source.open(scan.files, out) as paths:
        sources = {name: {"sha256": hash_file(paths[name]), "stamp": scan.source.stamp(name)} for name in scan.files}
        image, label = scan.reader(paths)
    round_geometry(out, image, label)
    try:
        expect_plausible(image, transform)
        if not converted_only:
            image, label = normalise_scan(image, label, transform)
    except ValueError as error:
        raise ValueError(f"scan {scan.id} ({scan.source.path}: {scan.files[0]}): {error}") from None
    outputs = {volume_name(IMAGE, scan.id): image}
    if label is not None:
        outputs = {volume_name(LABEL, scan.id): label, **outputs}  # the image last: it says that there is a scan
    for name, volume in outputs.items():
        write_volume(out / name, sitk.GetArrayViewFromImage(volume), volume)
    if label is None:
        (out / volume_name(LABEL, scan.id)).unlink(missing_ok=True)  # of a data set that had labels
    return scan.id, {"sources": sources, "outputs": sorted(outputs), "versions": program_versions()}


def round_geometry(place: Path, *volumes: sitk.Image | None) -> None:
    """Give volumes of one grid their geometry as it comes back from NIfTI, which keeps it in float32.

    For that a small file lies in a folder, where a later run removes it if this one is killed.

    The published preparation reads NIfTI files, and the number of slices after resampling can depend on the rounding;
    so does the result of `convert` and `normalise` one by one.
    """
    first = volumes[0][:2, :2, :2]
    with tempfile.TemporaryDirectory(PARTIAL, ".grid.", place) as folder:
        path = Path(folder) / volume_name(IMAGE, "0")
        write_volume(path, np.zeros(first.GetSize()[::-1], np.uint8), first)
        rounded = read_volume(path)
    for volume in volumes:
        if volume is not None:
            volume.SetSpacing(rounded.GetSpacing())
            volume.SetOrigin(rounded.GetOrigin())
            volume.SetDirection(rounded.GetDirection())


def _changed_source(scan: RawScan, before: dict[str, Any]) -> str | None:
    """What differs between the sources that a scan was made from and those at hand; None where they are the same."""
    stamps = {name: scan.source.stamp(name) for name in scan.files}
    suspects = [name for name in stamps if name in before and before[name]["stamp"] != stamps[name]]
    with scan.source.open(suspects) as paths:
        changed = [name for name, path in paths.items() if before[name]["sha256"] != hash_file(path)]
    for what, differing in (
        ("is new", stamps.keys() - before.keys()), ("is gone", before.keys() - stamps.keys()), ("has changed", changed),
    ):  # fmt: skip
        if differing:
            return f"{min(differing)} {what}"
    return None
