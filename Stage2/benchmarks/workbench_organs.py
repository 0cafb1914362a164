"""Organs of many scans through the workbench: what a person does, how long the network takes, how good masks are."""

import gzip
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from Stage2.benchmarks.workbench_client import Client, served
from Stage2.benchmarks.workbench_person import Effort, corrected, drawn_organs
from Stage2.datasets.volumes import list_scans
from Stage2.evaluation.metrics import compute_metrics, mean_of_defined
from Stage2.io.names import label_path
from Stage2.io.nifti import read_voxels
from Stage2.io.volumes import read_volume, write_volume


def measure_organs(data: Path, scans: int, rounds: int, minutes: float, every: int) -> list[tuple[str, ...]]:
    """Rows of annotated scans, strokes and clicks, minutes of drawing and of waiting, mean Dice of organs.

    Dice is of the scans that are annotated in no round, so that its rows compare.

    Args:
        data: processed folder of MR scans with labels.
        scans: of it that are served.
        rounds: annotated scans, one after the other.
        minutes: of processor time of each adaptation.
        every: slices from one that is drawn to the next.

    Raises:
        FileNotFoundError, ValueError: the folder lacks scans or labels, or a job failed.
    """
    scan_ids = list_scans(data)[:scans]
    if len(scan_ids) <= rounds:
        raise ValueError(f"{data} gives {len(scan_ids)} scans for {rounds} rounds; serve more, or do fewer rounds.")
    truths = {f"image_{scan_id}": read_voxels(label_path(data, scan_id)) for scan_id in scan_ids}
    labels = sorted({int(value) for truth in truths.values() for value in np.unique(truth) if value})
    effort, waited, masks, steps, annotated = Effort(), 0.0, {}, [], []
    name = f"image_{scan_ids[0]}"
    with tempfile.TemporaryDirectory() as scratch, served(data, scan_ids, Path(scratch) / "scans") as client:
        for _ in range(rounds):
            scan = read_volume(Path(scratch) / "scans" / f"{name}.nii.gz")
            given = (truths[name], labels, every, scan.GetSpacing()[0])
            drawn, own = corrected(masks[name], *given) if masks else drawn_organs(*given)
            effort += own
            _send(client, name, drawn, scan, Path(scratch) / "drawn.nii.gz")
            annotated.append(name)
            waited += client.run_job(kind="segment", minutes=minutes) / 60
            effort += Effort(clicks=1)
            masks = {own: _mask(client, own) for own in truths if own not in annotated}
            steps.append((effort, waited, dict(masks)))
            name = _next(client, masks)
    unseen = [own for own in truths if own not in annotated]
    return [
        (
            str(place), f"{done.strokes} + {done.clicks}", f"{done.minutes:.1f}", f"{wait:.1f}",
            f"{_mean_dice(found, truths, unseen, labels):.3f}",
        )
        for place, (done, wait, found) in enumerate(steps, start=1)
    ]  # fmt: skip


def _send(client: Client, name: str, drawn: np.ndarray, scan: sitk.Image, path: Path) -> None:
    write_volume(path, drawn, scan)
    client.ask(f"/api/scans/{name}/drawing", "PUT", path.read_bytes())
    client.json(f"/api/scans/{name}/example", "PUT", {"example": True})


def _mask(client: Client, name: str) -> np.ndarray:
    content = gzip.decompress(client.ask(f"/api/scans/{name}/mask.nii.gz"))
    return np.asanyarray(nibabel.Nifti1Image.from_bytes(content).dataobj).T


def _next(client: Client, masks: dict[str, np.ndarray]) -> str:
    """The scan that the workbench names next."""
    ranked = [scan for scan in client.json("/api/state")["scans"] if scan["next"] is not None and scan["id"] in masks]
    return min(ranked, key=lambda scan: scan["next"])["id"]


def _mean_dice(
    found: dict[str, np.ndarray], truths: dict[str, np.ndarray], names: Sequence[str], labels: Sequence[int]
) -> float:
    """Over organs, of their means over scans that have them."""
    spacing = (1.0, 1.0, 1.0)
    scores = [
        mean_of_defined(
            [compute_metrics(found[own] == label, truths[own] == label, spacing, ["dice"])["dice"] for own in names]
        )
        for label in labels
    ]
    return mean_of_defined(scores)
