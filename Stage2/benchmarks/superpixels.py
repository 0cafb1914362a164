"""How much faster several processes make superpixels than one, and how much memory they take together."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LOOK_EVERY_S = 0.05
PAGE_SIZE_KIB = 4


class Spent(NamedTuple):
    """Seconds of a command; MiB, the most that all its processes held together, and in the second half of the run."""

    seconds: float
    memory: float
    later_memory: float  # grows where memory is not given back


def measure_superpixels(folder: Path, dataset: str, scale: str, workers: Sequence[int], repeats: int) -> dict:
    """Number of processes -> the fastest of some runs of `prepare_data.py superpixels` in a folder, which take turns.

    Raises:
        ValueError: a run ended with an error.
    """
    rounds = [[_measure(folder, dataset, scale, number) for number in workers] for _ in range(repeats)]
    return {number: min(spent) for number, *spent in zip(workers, *rounds, strict=True)}


def _measure(folder: Path, dataset: str, scale: str, workers: int) -> Spent:
    command = [sys.executable, str(ROOT / "tools" / "prepare_data.py"), "superpixels", str(folder), "--force"]
    command += ["--dataset", dataset, "--scale", scale, "--workers", str(workers)]
    begun, seen = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            seen.append(tree_memory(process.pid))
            time.sleep(LOOK_EVERY_S)
        seconds, errors = time.perf_counter() - begun, process.stderr.read()
    if process.returncode:
        raise ValueError(f"{' '.join(command)} ended with {errors.strip().splitlines()[-1:]}")
    return Spent(seconds, max(seen), max(seen[len(seen) // 2 :]))


def tree_memory(pid: int) -> float:
    """Resident memory of a process and all its descendants, MiB; pages that they share count for each."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(int(status[1]), []).append(int(entry.name))
        resident[int(entry.name)] = int(status[21])
    pages, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        pages += resident.get(one, 0)
        waiting += children.get(one, [])
    return pages * PAGE_SIZE_KIB / 1024
