"""Raw scans of a data set of one's own, found by the patterns of its data set file."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from Stage2.datasets.catalog import DataSet
from Stage2.io.dicom import read_series
from Stage2.io.names import MANIFEST, masks_among
from Stage2.io.volumes import DETACHED, SUFFIXES, read_volume
from Stage2.preparation.raw.scan import RawScan, RawVolumes, read_label
from Stage2.preparation.raw.source import Source
from Stage2.preparation.transform_file import SCAN, RawLayout

logger = logging.getLogger(__name__)


def list_custom_scans(source: Source, data_set: DataSet, layout: RawLayout) -> list[RawScan]:
    """Scans that the patterns find, at any depth below the source.

    Where all {scan} are numbers, they are the scans' numbers; else scans are numbered from 0 in the order of their
    names (9 before 10). Without labels, what is named as the mask of another scan is left out with a warning
    (`Stage2.io.names.masks_among`).

    Raises:
        ValueError: no image, two for one scan, or an image without label or the other way round.
    """
    names = source.names
    labels = {} if layout.labels is None else _find(source, names, layout.labels)
    taken = {file for files in labels.values() for file in files}
    images = _find(source, [name for name in names if name not in taken], layout.images)
    if not images:
        raise ValueError(f"{source.path} has no {layout.images}; correct images in the data set file, or SRC.")
    if layout.labels is None:
        for mask in sorted(masks_among(images), key=_natural):
            what = images.pop(mask)[0]
            logger.warning("%s is named as the mask of another scan and is not taken for one.", source.path / what)
    else:
        for what, own, other in (("label", images, labels), ("image", labels, images)):
            lonely = sorted(own.keys() - other.keys(), key=_natural)
            if lonely:
                raise ValueError(
                    f"{source.path}: {own[lonely[0]][0]} has no {what} ({len(lonely)} such scan(s)); complete the "
                    "data, or correct images and labels in the data set file."
                )
    scans = []
    for text, number in _numbers(source, images).items():
        image, label = tuple(images[text]), tuple(labels.get(text, ()))
        reader = partial(
            read_custom_scan, image=image, label=label, is_series=layout.images.endswith("/"),
            classes=dict(data_set.classes), orientation=layout.orientation,
            label_values=None if layout.label_values is None else dict(layout.label_values),
        )  # fmt: skip
        scans.append(RawScan(id=str(number), source=source, files=(*image, *label), reader=reader))
    return sorted(scans, key=lambda scan: int(scan.id))


def read_custom_scan(
    paths: Mapping[str, Path], image: Sequence[str], label: Sequence[str], is_series: bool,
    classes: Mapping[str, int], label_values: Mapping[int, int] | None, orientation: str | None,
) -> RawVolumes:  # fmt: skip
    """Image and label of one scan.

    Args:
        paths: name -> file.
        image: names of the files of a DICOM series, or of a volume and of the file with its voxels.
        label: the same of the label; empty: there is none.
        is_series: the image is a DICOM series.
        classes, label_values: see `read_label`.
        orientation: where the axes are turned to run to; None: as stored.
    """
    first = paths[image[0]]
    volume = read_series([paths[name] for name in image]).image if is_series else read_volume(first)
    volumes = [volume]
    if label:
        named = first.parent if is_series else first
        volumes.append(read_label(paths[label[0]], volume, named, classes, label_values))
    if orientation is not None:
        volumes = [sitk.DICOMOrient(one, orientation) for one in volumes]
    return volumes[0], volumes[1] if label else None


def _find(source: Source, names: Sequence[str], pattern: str) -> dict[str, list[str]]:
    """Text of {scan} -> files of it: those of a folder, or a volume with the file that has its voxels."""
    parts = [
        "".join("[^/]*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", text))
        for text in pattern.removesuffix("/").split(SCAN)
    ]
    file = "/(?P<file>[^/]+)" if pattern.endswith("/") else ""
    search = re.compile(rf"(?P<place>(?:.*/)?{parts[0]}(?P<scan>[^/]+){parts[1]}){file}")
    found: dict[str, list[str]] = defaultdict(list)
    places: dict[str, str] = {}
    for name in names:
        match = search.fullmatch(name)
        if not match:
            continue
        other = places.setdefault(match["scan"], match["place"])
        if other != match["place"]:
            raise ValueError(
                f"{source.path} has {other} and {match['place']} for scan {match['scan']}; name one folder more of the "
                f"path than {pattern} does, or take one away."
            )
        found[match["scan"]].append(name)
        if name.endswith(DETACHED):
            found[match["scan"]] += _voxel_files(names, name)
    return dict(found)


def _voxel_files(names: Sequence[str], header: str) -> list[str]:
    stem = header.rsplit(".", 1)[0]
    return [name for name in names if name != header and name.startswith(f"{stem}.") and not name.endswith(SUFFIXES)]


def _numbers(source: Source, images: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Text of {scan} -> number of the scan."""
    if not all(text.isdecimal() for text in images):
        names = sorted(images, key=_natural)
        logger.info("Scans are numbered from 0 in the order of their names, %s first; %s has all.", names[0], MANIFEST)
        return {text: number for number, text in enumerate(names)}
    by_number: dict[int, str] = {}
    for text in images:
        other = by_number.setdefault(int(text), text)
        if other != text:
            raise ValueError(
                f"{source.path} has {images[other][0]} and {images[text][0]}, which are one number; take one away."
            )
    return {text: number for number, text in by_number.items()}


def _natural(text: str) -> list[tuple[int, str]]:
    """Key of an order in which 9 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
