"""Is a processed folder complete and sound? Every file is read; what is wrong is said, what is there is listed."""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from Stage1.files import remove_partial, write_json
from Stage1.processes import Runner, run_jobs
from Stage2.datasets.catalog import DataSet
from Stage2.datasets.folds import split_fold
from Stage2.datasets.volumes import list_scans
from Stage2.io.names import LABEL, volumes_of
from Stage2.preparation.check.cohort import Cohort, check_cohort
from Stage2.preparation.check.scan import check_scan
from Stage2.preparation.steps.superpixels import ProcessedScan, check_settings

REPORT = "check.json"
SHEETS = "contact_sheets"


class CheckReport(NamedTuple):
    """What a check found: in the scans, what is wrong, and what is unusual but may be right, each in one sentence."""

    cohort: Cohort
    problems: list[str]
    notes: list[str]

    def summary(self) -> list[str]:
        """Lines that tell what the folder holds."""
        scans, folds = self.cohort.scans, self.cohort.folds
        depths = sorted({facts.size[0] for facts in scans if facts.size})
        slices = " to ".join(map(str, dict.fromkeys((depths[0], depths[-1])))) if depths else "no readable"
        lines = [f"{self.cohort.data_set.name}: {slices} slices in each of {len(scans)} scan(s)"]
        counts = [facts.superpixels for facts in scans if "median" in facts.superpixels]
        if counts:
            fewest, most = min(count["min"] for count in counts), max(count["max"] for count in counts)
            middle = np.median([count["median"] for count in counts])
            scale = self.cohort.scale
            lines.append(f"superpixels ({scale}) per slice: {fewest:g} to {most:g}, median {middle:g}")
        numbers = [facts.supervoxels["number"] for facts in scans if facts.supervoxels]
        if numbers:
            middle = np.median(numbers)
            lines.append(
                f"supervoxels ({self.cohort.scale}) per scan: {min(numbers)} to {max(numbers)}, median {middle:g}"
            )
        return lines + [
            f"fold {number}: tests {', '.join(fold.test)}; support {', '.join(fold.support)}; trains on "
            f"{len(fold.train)} scan(s)"
            for number, fold in enumerate(folds)
        ]


def check_folder(
    folder: Path, data_set: DataSet, *, scale: str = "MIDDLE",
    workers: int = 1, out: Path | None = None, show_progress: bool = False, run: Runner = run_jobs,
) -> CheckReport:  # fmt: skip
    """Check every file of a processed folder; write check.json and a contact sheet for every scan.

    Args:
        folder: with image_<id>.nii.gz, label_<id>.nii.gz and superpix-<scale>_<id>.nii.gz for every scan; supervoxels
            may be there as well.
        data_set: that it should be.
        scale: of the superpixels and supervoxels to check.
        workers: processes.
        out: folder for check.json and contact_sheets/, made if needed. Default: the folder itself.
        show_progress: show a progress bar on stderr.
        run: spreads the work over processes.

    Returns:
        The report; the folder is sound where it has no problems.

    Raises:
        FileNotFoundError, ValueError: the folder is none of scans with numbers, or the scale is unknown.
        OSError: the report cannot be written.
    """
    check_settings(scale, workers)
    scan_ids = list_scans(folder)
    target = folder if out is None else out
    target.mkdir(parents=True, exist_ok=True)
    if not os.access(target, os.W_OK):
        raise PermissionError(f"{target} is read-only; write the report elsewhere with --out DIR.")
    (target / REPORT).unlink(missing_ok=True)  # what it said is no longer known to be true
    remove_partial(target / SHEETS)
    has_label = bool(volumes_of(folder, LABEL))
    work = partial(check_scan, sheets=target / SHEETS, has_label=has_label)
    jobs = [ProcessedScan(folder, scan_id, data_set, scale) for scan_id in scan_ids]
    bar = tqdm(run(work, jobs, workers), total=len(jobs), desc="check", unit="scan", disable=not show_progress)
    found = {facts.id: facts for facts in bar}
    remove_partial(target / SHEETS)  # of processes that were lost on the way
    scans = [found[scan_id] for scan_id in scan_ids]

    folds, problems = [], [problem for facts in scans for problem in facts.problems]
    try:
        folds = [split_fold(scan_ids, data_set, fold) for fold in range(data_set.n_folds)]
    except ValueError as error:
        problems.append(f"{folder}: {error}")
    cohort = Cohort(folder, scans, data_set, folds, scale)
    more, notes = check_cohort(cohort)
    report = CheckReport(cohort, [*problems, *more], notes)
    content = {
        "data_set": data_set.name,
        "sound": not report.problems,
        "problems": report.problems,
        "notes": notes,
        "superpixel_scale": scale,
        "folds": [asdict(fold) for fold in folds],
        "scans": [asdict(facts) for facts in scans],
    }
    write_json(target / REPORT, content)
    return report
