"""A cohort of tiny scans: time for each scan and the driver's memory as it grows, serial and over Ray."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import SimpleITK as sitk
import torch

from Stage1.cluster import OBJECT_STORE
from Stage2.benchmarks.memory import resident_memory
from Stage2.inference.job import PredictionJob
from Stage2.inference.request import Request
from Stage2.models.few_shot import FewShotSegmenter

SIDE, SPACING = 48, (6.0, 6.0, 10.0)  # pixels, mm


@dataclass
class Spent:
    """What a cohort took.

    Attributes:
        seconds: from the call to its end.
        at: seconds from the call to each record.
        memory: MiB of the driver at each record.
    """

    seconds: float = 0.0
    at: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def per_scan(self, start: int, stop: int) -> float:
        """Seconds for each scan from one record to another."""
        return (self.at[stop - 1] - self.at[start]) / (stop - 1 - start)


def measure_cohort(folder: Path, n_scans: int, slices: int, cores: Iterable[int]) -> dict[str, Spent]:
    """Segment a drawn cohort by prototypes of an untrained ResNet-18, a thread for each process.

    Args:
        folder: for scans and masks; empty.
        n_scans: of the cohort.
        slices: of each scan.
        cores: of a Ray cluster on this machine, one after another; the serial launcher comes first.
    """
    voxels = np.random.default_rng(0).normal(100, 20, (slices, SIDE, SIDE)).astype(np.float32)
    voxels[:, 12:30, 15:35] += 150
    mask = np.zeros(voxels.shape, np.uint8)
    mask[:, 12:30, 15:35] = 1
    for name, own in (("scan", voxels), ("mask", mask)):
        image = sitk.GetImageFromArray(own)
        image.SetSpacing(SPACING)
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    (folder / "queries").mkdir()
    for number in range(n_scans):
        os.link(folder / "scan.nii.gz", folder / "queries" / f"{number:05d}.nii.gz")
    torch.manual_seed(0)
    torch.save(FewShotSegmenter("dlfcn_res18").state_dict(), folder / "0.pth")
    spent = {"serial": _measure(folder, "serial", None)}
    for count in cores:
        with _own_cluster(count) as ray:
            spent[f"ray, {count} core(s)"] = _measure(folder, f"ray_{count}", ray)
    return spent


def table_of(spent: Mapping[str, Spent]) -> tuple[str, Sequence[str], list[Sequence[str]]]:
    """Title, header and rows: how the first hundred scans compare with the last, and the launchers with the serial."""
    serial = next(iter(spent.values()))
    n_scans, rows = len(serial.at), []
    some = min(100, n_scans // 2)
    for name, own in spent.items():
        first, last = own.per_scan(0, some), own.per_scan(n_scans - some, n_scans)
        mean = own.per_scan(0, n_scans)
        rows.append(
            (name, f"{own.seconds:.1f}", f"{1e3 * mean:.1f}", f"{serial.per_scan(0, n_scans) / mean:.2f}",
             f"{1e3 * first:.1f}", f"{1e3 * last:.1f}", f"{own.memory[some - 1]:.0f}", f"{own.memory[-1]:.0f}")
        )  # fmt: skip
    header = (
        "launcher", "s in all", "ms a scan", "serial / this", f"first {some}, ms", f"last {some}, ms",
        f"driver after {some}, MiB", "at the end",
    )  # fmt: skip
    return f"A cohort of {n_scans} tiny scans", header, rows


@contextmanager
def _own_cluster(cores: int) -> Iterator[ModuleType]:
    import ray

    ray.init(
        "local", num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="error",
        object_store_memory=OBJECT_STORE,
    )  # fmt: skip
    try:
        yield ray
    finally:
        ray.shutdown()


def _measure(folder: Path, name: str, ray: ModuleType | None) -> Spent:
    spent, begun = Spent(), time.monotonic()

    def note(records: Iterable) -> Iterator:
        for record in records:
            spent.at.append(time.monotonic() - begun)
            spent.memory.append(resident_memory())
            yield record

    given = {"supports": [(folder / "scan.nii.gz", folder / "mask.nii.gz")], "checkpoint": folder / "0.pth"}
    request = Request(
        query=folder / "queries", out=folder / name, labels=[1], approach="prototypes", modality="MR", threads=1,
        device="cpu", **given,
    )  # fmt: skip
    PredictionJob(request).run(ray, note)
    spent.seconds = time.monotonic() - begun
    return spent
