"""What a person asks for: the scans, the network, and how scans are to be prepared for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.volumes import Statistics
from Stage2.inference.network import run_config
from Stage2.inference.transform import ScanTransform, scan_transform
from Stage2.io.axes import axes_of
from Stage2.io.scans import ScanFile
from Stage2.segmentation.method import Method

WARN_BELOW = 0.5


@dataclass(frozen=True)
class Request:
    """Everything that a call asks for.

    Attributes:
        supports: scans with their masks.
        query: a scan, or a folder of them.
        checkpoint: snapshot, or run folder.
        labels: to segment, as in the masks.
        out: folder to write to.
        modality, dataset, like, axes, prepared, ct_statistics: how scans are prepared, see `transform_for`.
        method: how queries are segmented.
        clean_up: keep the largest piece of each organ and fill its holes.
        encoder_name: that the checkpoint must have; None: any.
        precision, device: of the encoder.
        cache: folder of support features; None: none.
        probabilities, report: write them too.
        truth: ground truth, a file or a folder; None: nothing is scored.
        warn_below: confidence under which a warning is given.
        force: do again what is done.
    """

    supports: Sequence[tuple[Path, Path]]
    query: Path
    checkpoint: Path
    labels: Sequence[int]
    out: Path
    modality: str | None = None
    dataset: str | None = None
    like: Path | None = None
    axes: str | None = None
    prepared: bool = False
    ct_statistics: tuple[float, float] | None = None
    method: Method = field(default_factory=Method)
    clean_up: bool = False
    encoder_name: str | None = None
    precision: str = "fp32"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cache: Path | None = None
    probabilities: bool = False
    report: bool = False
    truth: Path | None = None
    warn_below: float = WARN_BELOW
    force: bool = False


def data_set_of(request: Request, snapshot: Path) -> DataSet | None:
    """The data set that is named, else that of the run which made the snapshot, else none.

    Raises:
        FileNotFoundError, ValueError: the one that is named is unknown, or is at odds with the modality.
    """
    if request.dataset is not None:
        data_set = get_dataset(request.dataset)
        if request.modality not in (None, data_set.modality):
            raise ValueError(
                f"--modality {request.modality} and --dataset {request.dataset}, which is {data_set.modality}, "
                "contradict each other; leave one out."
            )
        return data_set
    trained_on = run_config(snapshot).get("dataset")
    try:
        return None if trained_on is None else get_dataset(trained_on)
    except (OSError, ValueError):  # the file of an own data set may lie elsewhere now
        return None


def transform_for(request: Request, data_set: DataSet | None) -> ScanTransform:
    """How scans are prepared: modality and threshold of a data set or of a modality, voxel size and axes of an image.

    Raises:
        FileNotFoundError, ValueError: no modality is known, or the image to follow cannot be read.
    """
    modality = request.modality or (None if data_set is None else data_set.modality)
    if modality is None:
        raise ValueError(
            "the snapshot lies in no run folder that tells what it was trained on; name --modality MR or CT, or a "
            "--dataset."
        )
    settings: dict = {"prepared": request.prepared}
    if data_set is not None and data_set.modality == modality:
        settings["foreground_threshold"] = data_set.foreground_threshold
    if request.like is not None:
        image = ScanFile(request.like).read()
        settings |= {"spacing": image.GetSpacing(), "axes": axes_of(image)}
    if request.axes is not None:
        settings["axes"] = request.axes
    if request.ct_statistics is not None:
        if modality != "CT" or not request.ct_statistics[1] > 0:
            raise ValueError(
                "--ct-statistics MEAN STD is for CT, with a deviation above 0; MR is normalised by itself."
            )
        settings["statistics"] = Statistics(*request.ct_statistics)
    return scan_transform(modality, **settings)


def label_name(data_set: DataSet | None, value: int) -> str:
    """Name of a value in a mask, as the data set has it; "label 2" where it has none."""
    if data_set is not None:
        label = value if data_set.label_values is None else data_set.label_values.get(value)
        for name, own in data_set.classes.items():
            if own == label and own:
                return name
    return f"label {value}"
