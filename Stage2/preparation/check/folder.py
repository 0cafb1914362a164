"""Is a processed folder complete and sound? Every file is read; what is wrong is said, what is there is listed."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

import numpy as np
from tqdm import tqdm

from Stage1.files import write_text
from Stage1.processes import run_jobs
from Stage2.datasets.catalog import DataSet
from Stage2.datasets.folds import Fold
from Stage2.datasets.volumes import list_scans
from Stage2.io.names import LABEL, volumes_of
from Stage2.preparation.check.cohort import check_cohort, list_folds
from Stage2.preparation.check.scan import ScanFacts, ScanJob, check_scan
from Stage2.preparation.steps.pseudo_labels import SCALES

REPORT = "check.json"
SHEETS = "contact_sheets"


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        folder: that was checked.
        data_set: its name.
        scale: of the superpixels that were checked.
        scans: facts of every scan, by number.
        folds: every fold; empty where the number of scans does not fit.
        problems: what is wrong, each in one sentence: file, found, expected, remedy.
        notes: what is unusual but may be right.
    """

    folder: Path
    data_set: str
    scale: str
    scans: list[ScanFacts]
    folds: list[Fold]
    problems: list[str]
    notes: list[str]

    def summary(self) -> list[str]:
        """Lines that tell what the folder holds."""
        lines = [f"{self.data_set}: {_range([facts.size[0] for facts in self.scans if facts.size])} slices in each of "]
        lines[0] += f"{len(self.scans)} scan(s)"
        counts = [facts.superpixels for facts in self.scans if "median" in facts.superpixels]
        if counts:
            middle = np.median([count["median"] for count in counts])
            lines.append(
                f"superpixels ({self.scale}) per slice: {min(c['min'] for c in counts):g} to "
                f"{max(c['max'] for c in counts):g}, median {middle:g}"
            )
        lines += [
            f"fold {number}: tests {', '.join(fold.test)}; support {', '.join(fold.support)}; trains on "
            f"{len(fold.train)} scan(s)"
            for number, fold in enumerate(self.folds)
        ]
        return lines


def check_folder(
    folder: Path,
    data_set: DataSet,
    *,
    scale: str = "MIDDLE",
    workers: int = 1,
    out: Path | None = None,
    show_progress: bool = False,
) -> CheckReport:
    """Check every file of a processed folder; write check.json and a contact sheet for every scan.

    Args:
        folder: with image_<id>.nii.gz, label_<id>.nii.gz and superpix-<scale>_<id>.nii.gz for every scan.
        data_set: that it should be.
        scale: superpixel scale to check.
        workers: processes.
        out: folder for check.json and contact_sheets/, made if needed. Default: the folder itself.
        show_progress: show a progress bar on stderr.

    Returns:
        The report; the folder is sound where it has no problems.

    Raises:
        FileNotFoundError, ValueError: the folder is none of scans with numbers, or the scale is unknown.
        OSError: the report cannot be written.
    """
    if scale not in SCALES:
        raise ValueError(f"superpixel scale {scale!r} is unknown; choose one of {', '.join(SCALES)}.")
    if workers < 1:
        raise ValueError(f"{workers} workers cannot work; use 1 or more.")
    scan_ids = list_scans(folder)
    target = folder if out is None else out
    _make_writable(target)
    (target / REPORT).unlink(missing_ok=True)  # what it said is no longer known to be true
    dataset = data_set.name if data_set.source is None else str(data_set.source)
    command = (
        f"python tools/prepare_data.py superpixels {quote(str(folder))} --dataset {quote(dataset)} --scale {scale}"
    )
    has_labels = bool(volumes_of(folder, LABEL))
    jobs = [
        ScanJob(
            folder=folder,
            scan_id=scan_id,
            command=command,
            classes=dict(data_set.classes),
            label_values=None if data_set.label_values is None else dict(data_set.label_values),
            threshold=data_set.foreground_threshold,
            scale=scale,
            has_label=has_labels,
            sheet=target / SHEETS / f"scan_{scan_id}.png",
        )
        for scan_id in scan_ids
    ]
    results = run_jobs(check_scan, jobs, workers)
    found = {
        facts.id: facts
        for facts in tqdm(results, total=len(jobs), desc="check", unit="scan", disable=not show_progress)
    }
    scans = [found[scan_id] for scan_id in scan_ids]

    folds, problems = [], [problem for facts in scans for problem in facts.problems]
    try:
        folds = list_folds(scan_ids, data_set)
    except ValueError as error:
        problems.append(f"{folder}: {error}")
    findings = check_cohort(folder, scans, data_set, folds, scale, command)
    report = CheckReport(folder, data_set.name, scale, scans, folds, problems + findings.problems, findings.notes)
    _write_report(target / REPORT, report)
    return report


def _write_report(path: Path, report: CheckReport) -> None:
    content = {
        "data_set": report.data_set,
        "sound": not report.problems,
        "problems": report.problems,
        "notes": report.notes,
        "superpixel_scale": report.scale,
        "folds": [asdict(fold) for fold in report.folds],
        "scans": [asdict(facts) for facts in report.scans],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def _make_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} is read-only; write the report elsewhere with --out DIR.")


def _range(values: Sequence[int]) -> str:
    if not values:
        return "no readable"
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"
