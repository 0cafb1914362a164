"""Slices of tested scans as panels of figures: the support, predictions, the truth; whole scans as films."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from Stage2.datasets.folds import EVERY_SUPPORT, part_of_slice
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.drawing.figures import Panel
from Stage2.drawing.masks import window_of
from Stage2.io.names import image_path, label_path, superpixel_path
from Stage2.io.nifti import read_header, read_voxels
from Stage2.reporting.runs import TestedRun
from Stage2.run_folders.layout import ADNET, prediction_path


class TestedCase(NamedTuple):
    """One class in one tested scan: the test, and the entry of both in its results."""

    run: TestedRun
    entry: Mapping


def read_upright(path: Path) -> np.ndarray:
    """All slices of a volume, (Z, 256, 256) or smaller, as radiologists see them: front up, the right side left."""
    volume = read_voxels(path)[:, :SLICE_SIZE, :SLICE_SIZE]
    to_side, to_front = nibabel.aff2axcodes(read_header(path).grid.affine)[:2]
    return volume[:, :: -1 if to_front == "A" else 1, :: -1 if to_side == "R" else 1]


def read_slice(path: Path, z: int) -> np.ndarray:
    """One axial slice of a volume, (256, 256), as radiologists see it; ValueError where it has not so many slices."""
    volume = read_upright(path)
    if not 0 <= z < len(volume):
        raise ValueError(f"{path} has {len(volume)} slices, but slice {z} was tested; name the scans that were tested")
    return volume[z]


def scan_entries(run: TestedRun, class_name: str) -> dict[str, Mapping]:
    """Scan id -> its entry in ``results.json``, of one class; scans without the class are left out."""
    entries = (entry for entry in run.results["scans"] if entry["class"] == class_name)
    return {entry["scan"]: entry for entry in entries if None not in (entry["z_min"], entry["z_max"])}


def stored_values(results: Mapping, label: int) -> list[int]:
    """Values that stand for a label in the label files of the data set that was tested."""
    mapping = results.get("label_values")
    return [label] if mapping is None else [int(value) for value, own in mapping.items() if own == label]


def best_median_worst(runs: Sequence[TestedRun], class_name: str) -> dict[str, TestedCase]:
    """Title -> case, of the highest, the middle (the lower one of two) and the lowest Dice of a class over all scans.

    Scans with an undefined Dice are left out; of few scans the same one may be several of these.
    """
    entries = [(run, entry) for run in runs for entry in scan_entries(run, class_name).values()]
    cases = [TestedCase(run, entry) for run, entry in entries if entry.get("dice") is not None]
    cases.sort(key=lambda case: case.entry["dice"])
    if not cases:
        return {}
    return {"best": cases[-1], "median": cases[(len(cases) - 1) // 2], "worst": cases[0]}


def case_panel(data: Path, case: TestedCase) -> Panel:
    """The slice of a case where the class is largest, with the prediction and the outline of the truth.

    Raises:
        FileNotFoundError, ValueError: the scan, its label or the prediction is not there.
    """
    scan, label = case.entry["scan"], case.entry["label"]
    truth, z = _largest_slice(data, case.run.results, case.entry)
    return Panel(
        read_slice(image_path(data, scan), z), drawn=truth,
        predicted=read_slice(prediction_path(case.run.folder, scan, label), z) > 0,
        text=f"Dice {case.entry['dice']:.2f}: fold {case.run.results['fold']}, scan {scan}, slice {z}",
    )  # fmt: skip


def organ_row(
    data: Path, methods: Mapping[str, Sequence[TestedRun]], class_name: str, scan: str | None, outline: bool = False
) -> list[Panel]:
    """Panels of one organ: a slice of the (first) support scan, every method's prediction, ground truth.

    The slice is the one of the scan where the organ is largest. A method that did not test the organ has an empty
    panel that says so.

    Args:
        data: processed folder of the runs.
        methods: heading -> tests of the method, of one or several label sets and folds.
        class_name: the organ.
        scan: query scan; None: the one that the last method segments best.
        outline: draw the outline of the truth on the predictions.

    Raises:
        FileNotFoundError, ValueError: the scan was not tested, the runs do not fit together, or a file is missing.
    """
    last = [TestedCase(run, e) for run in methods[list(methods)[-1]] for e in scan_entries(run, class_name).values()]
    if scan is None and last:
        scan = max(last, key=lambda case: -1.0 if case.entry.get("dice") is None else case.entry["dice"]).entry["scan"]
    chosen = next((case for case in last if case.entry["scan"] == scan), None)
    if chosen is None:
        known = ", ".join(case.entry["scan"] for case in last) or "none"
        raise ValueError(f"scan {scan} was not tested for {class_name}; choose one of {known}")
    results, entry = chosen.run.results, chosen.entry
    _check_one_support(chosen.run)
    if not results.get("support", {}).get(class_name):
        raise ValueError(f"{chosen.run.folder} does not tell the support of {class_name}; test this experiment again")
    support = results["support"][class_name][0]
    stored = stored_values(results, entry["label"])
    drawn, z = _largest_slice(data, results, entry)
    support_z = support["slices"][_part(data, results, entry, z, len(support["slices"]))]
    image = read_slice(image_path(data, scan), z)
    panels = [
        Panel(
            read_slice(image_path(data, support["scan"]), support_z),
            drawn=np.isin(read_slice(label_path(data, support["scan"]), support_z), stored),
            text=f"scan {support['scan']}, slice {support_z}",
        )
    ]
    for runs in methods.values():
        tested = [run for run in runs if class_name in run.results["class_means"]]
        if not tested:
            panels.append(Panel(image, text="not tested"))
            continue
        fitting = [run for run in tested if scan in scan_entries(run, class_name)]
        if len(fitting) > 1:
            raise ValueError(
                f"{fitting[0].folder} and {fitting[1].folder} share a heading and both tested {class_name} in scan "
                f"{scan}; give each its own, as HEADING=FOLDER"
            )
        own = fitting[0] if fitting else None
        if own is None or own.results.get("support", {}).get(class_name, [None])[0] != support:
            raise ValueError(
                f"{tested[0].folder} has another support or other scans for {class_name}; draw tests of one setting"
            )
        predicted = read_slice(prediction_path(own.folder, scan, entry["label"]), z) > 0
        dice = scan_entries(own, class_name)[scan].get("dice")
        text = f"Dice of the scan {'undefined' if dice is None else f'{dice:.2f}'}"
        panels.append(Panel(image, drawn if outline else None, predicted, text))
    panels.append(Panel(image, drawn=drawn, text=f"scan {scan}, slice {z}"))
    return panels


def organs_of_methods(methods: Mapping[str, Sequence[TestedRun]]) -> list[str]:
    """The organs that the last method tested, in the data set's order."""
    runs = methods[list(methods)[-1]]
    tested = list(dict.fromkeys(name for run in runs for name in run.results["class_means"]))
    labels = {entry["class"]: entry["label"] for run in runs for entry in run.results["scans"]}
    return sorted(tested, key=lambda name: labels.get(name, 0))


def volume_panels(data: Path, run: TestedRun, scan: str) -> list[Panel]:
    """Every slice of a scan with all classes of a test: predictions filled, the truth as outlines, a number per class.

    Args:
        data: processed folder of the run.
        run: the test.
        scan: a tested scan.

    Raises:
        FileNotFoundError, ValueError: the scan was not tested, or a file is missing.
    """
    _check_one_support(run)
    tested = list(dict.fromkeys(entry["scan"] for entry in run.results["scans"]))
    if scan not in tested:
        raise ValueError(f"scan {scan} was not tested in {run.folder}; choose one of {', '.join(tested)}")
    image = read_upright(image_path(data, scan))
    label = read_upright(label_path(data, scan))
    drawn, predicted = np.zeros(image.shape, dtype=np.uint8), np.zeros(image.shape, dtype=np.uint8)
    for number, name in enumerate(run.results["class_means"], start=1):
        entry = scan_entries(run, name).get(scan)
        if entry is not None:
            drawn[np.isin(label, stored_values(run.results, entry["label"]))] = number
            predicted[read_upright(prediction_path(run.folder, scan, entry["label"])) > 0] = number
    window = window_of(image)
    return [Panel(image[z], drawn[z], predicted[z], f"slice {z}", window) for z in range(len(image))]


def superpixel_rows(data: Path, scan: str, scale: str, slices: Sequence[int] | None, count: int) -> dict[str, tuple]:
    """Slices of a scan for `superpixel_figure`: text -> (image, superpixels, label or None).

    Args:
        data: processed folder.
        scan: id of the scan.
        scale: of the superpixels, MIDDLE or SMALL.
        slices: which; None: `count` of those with superpixels, evenly spaced.

    Raises:
        FileNotFoundError, ValueError: a file is missing or damaged, or a slice is not there.
    """
    image = read_upright(image_path(data, scan))
    superpixels = read_upright(superpixel_path(data, scan, scale)).astype(np.int32)
    label_file = label_path(data, scan)
    label = read_upright(label_file) if label_file.is_file() else None
    if slices is None:
        shown = np.flatnonzero((superpixels > 0).any(axis=(1, 2)))
        if not len(shown):
            raise ValueError(f"scan {scan} has no superpixel in any slice; check the body mask of {data}")
        slices = [int(shown[(2 * n + 1) * len(shown) // (2 * count)]) for n in range(min(count, len(shown)))]
    outside = [z for z in slices if not 0 <= z < len(image)]
    if outside:
        raise ValueError(f"scan {scan} has no slice {outside[0]}; choose 0 to {len(image) - 1}")
    return {f"slice {z}": (image[z], superpixels[z], None if label is None else label[z]) for z in slices}


def _check_one_support(run: TestedRun) -> None:
    """Raise ValueError for a test of every support: its scores are means, and no masks are theirs."""
    if run.results.get("support_idx") == EVERY_SUPPORT:
        raise ValueError(
            f"{run.folder} tried every support in turn, and its scores are means over them; draw a test of one support."
        )


def _part(data: Path, results: Mapping, entry: Mapping, z: int, n_parts: int) -> int:
    """Part of a slice that shows the class, as the published protocols cut it."""
    if results["protocol"] != ADNET:
        return part_of_slice(z, entry["z_min"], entry["z_max"], n_parts)
    from Stage2.segmentation.matching import parts_of_chunks  # torch, which other figures do not need

    truth = np.isin(read_upright(label_path(data, entry["scan"])), stored_values(results, entry["label"]))
    shown = np.flatnonzero(truth.any(axis=(1, 2)))
    return int(parts_of_chunks(len(truth), shown, n_parts)[z])


def _largest_slice(data: Path, results: Mapping, entry: Mapping) -> tuple[np.ndarray, int]:
    """The truth of a class in the slice where it is largest, (H, W) bool, and the slice."""
    truth = np.isin(read_upright(label_path(data, entry["scan"])), stored_values(results, entry["label"]))
    z_min, z_max = entry["z_min"], entry["z_max"]
    if not z_min <= z_max < len(truth):
        raise ValueError(f"scan {entry['scan']} has {len(truth)} slices, but slices {z_min} to {z_max} were tested")
    z = z_min + int(truth[z_min : z_max + 1].sum(axis=(1, 2)).argmax())
    return truth[z], z
