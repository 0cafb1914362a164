"""SABS (Synapse, BTCV) as downloaded: img/img00NN.nii.gz with label/label00NN.nii.gz."""

import re
from collections import defaultdict
from functools import partial

from Stage2.datasets.catalog import get_dataset
from Stage2.preparation.raw.scan import RawScan, read_pair
from Stage2.preparation.raw.source import Source

_FILE = re.compile(r"(?P<folder>(?:.*/)?)(?P<part>img|label)/(?P=part)(?P<number>\d+)\.nii(?:\.gz)?")


def list_sabs_scans(source: Source) -> list[RawScan]:
    """The annotated scans, numbered from 0 in the order of their names, as published.

    Images of a folder without label folder beside it (the challenge's test set) are left out.

    Raises:
        ValueError: there is none, several folders of them, or an image without label or the other way round.
    """
    folders: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: {"img": {}, "label": {}})
    for name in source.names:
        match = _FILE.fullmatch(name)
        if not match:
            continue
        of_part = folders[match["folder"]][match["part"]]
        other = of_part.setdefault(int(match["number"]), name)
        if other != name:
            raise ValueError(f"{source.path} has {other} and {name}, which are one number; take one away.")
    annotated = {folder: parts for folder, parts in folders.items() if parts["label"]}
    if len(annotated) != 1:
        found = " and ".join(f"{folder or './'}label" for folder in annotated) or "none"
        raise ValueError(
            f"{source.path} has annotated scans in {found}; expected RawData.zip or its unpacked folder, with one "
            "img/img00NN.nii.gz and label/label00NN.nii.gz side by side."
        )
    ((folder, parts),) = annotated.items()
    for part, other in (("img", "label"), ("label", "img")):
        lonely = [parts[part][number] for number in sorted(parts[part].keys() - parts[other].keys())]
        if lonely:
            raise ValueError(
                f"{source.path}: {lonely[0]} has no counterpart in {folder}{other} ({len(lonely)} such file(s)); "
                "download what is missing, or take it away."
            )
    classes = dict(get_dataset("SABS").classes)
    return [
        RawScan(
            id=str(place),
            source=source,
            files=(parts["img"][number], parts["label"][number]),
            reader=partial(read_pair, image=parts["img"][number], label=parts["label"][number], classes=classes),
        )
        for place, number in enumerate(sorted(parts["img"]))
    ]
