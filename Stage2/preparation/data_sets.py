"""The raw data sets that can be prepared: how each is found in a download, and what is done to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.dataset_file import is_dataset_file
from Stage2.datasets.volumes import list_scans
from Stage2.io.names import IMAGE, LABEL, volume_name
from Stage2.preparation.raw.chaos import list_chaos_scans
from Stage2.preparation.raw.custom import list_custom_scans
from Stage2.preparation.raw.sabs import list_sabs_scans
from Stage2.preparation.raw.scan import RawScan, read_pair
from Stage2.preparation.raw.source import Source
from Stage2.preparation.steps.transform import CHAOS_TRANSFORM, SABS_TRANSFORM, VolumeTransform
from Stage2.preparation.transform_file import read_preparation

# Name on the command line -> name in the catalog.
KINDS = {"chaos": "CHAOST2", "sabs": "SABS"}


@dataclass(frozen=True)
class RawDataSet:
    """A data set before preparation.

    Attributes:
        data_set: what it becomes.
        transform: what is done to its volumes.
        list_scans: finds its scans in a download.
        reading: what decides the volumes that are read, beside their files, as JSON holds it.
    """

    data_set: DataSet
    transform: VolumeTransform
    list_scans: Callable[[Source], list[RawScan]]
    reading: Mapping[str, Any] = field(default_factory=dict)


def get_raw_data_set(name: str, drop_blank_slice: bool = False) -> RawDataSet:
    """The raw data set of this name.

    Args:
        name: chaos or CHAOST2, sabs or SABS, or the path of a data set file with a `preparation`.
        drop_blank_slice: leave out the blank last slices that resampling adds, whatever a file says.

    Raises:
        FileNotFoundError, ValueError: an unknown name, or something is wrong with the file.
    """
    data_set, reading = get_dataset(KINDS.get(name, name)), {}
    if is_dataset_file(name):
        layout, transform = read_preparation(Path(name))
        lister, reading = partial(list_custom_scans, data_set=data_set, layout=layout), layout.parameters()
    else:
        is_mr = data_set.modality == "MR"
        transform, lister = (CHAOS_TRANSFORM, list_chaos_scans) if is_mr else (SABS_TRANSFORM, list_sabs_scans)
    if drop_blank_slice:
        transform = replace(transform, drop_blank_slice=True)
    return RawDataSet(data_set, transform, lister, reading)


def list_converted_scans(source: Source, data_set: DataSet) -> list[RawScan]:
    """Scans of a folder that was converted: image_<id>.nii.gz, and label_<id>.nii.gz with numbers of classes.

    Raises:
        FileNotFoundError, ValueError: no scans, or labels for some of them only.
    """
    scan_ids = list_scans(source.path)
    labels = {scan_id: volume_name(LABEL, scan_id) for scan_id in scan_ids}
    missing = [name for name in labels.values() if name not in source.names]
    if missing and len(missing) < len(scan_ids):
        raise FileNotFoundError(f"{source.path} lacks {', '.join(missing)}; run convert again.")
    scans = []
    for scan_id in scan_ids:
        image, label = volume_name(IMAGE, scan_id), None if missing else labels[scan_id]
        reader = partial(read_pair, image=image, label=label, classes=dict(data_set.classes))
        scans.append(RawScan(scan_id, source, (image,) if label is None else (image, label), reader))
    return scans
