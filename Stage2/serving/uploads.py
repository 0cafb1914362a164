"""Scans that clients send: a name that stays in the folder, voxels that are all there, nothing written over."""

import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

from Stage2.io.names import masks_among
from Stage2.io.nifti import NIFTI_SUFFIXES, check_voxels
from Stage2.io.text import one_line
from Stage2.serving.folder import Scan
from Stage2.serving.refusals import Refusal
from Stage2.serving.store import Store

SPARE = 256 << 20  # bytes of the disk that uploads leave free
LONGEST_NAME = 80
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")


def plain_name(name: str) -> str:
    """The name of a file that a client gave, without folders, of plain characters; raises Refusal where none is left.

    One without the ending of NIfTI gets .nii.gz.
    """
    last = re.split(r"[/\\]", name)[-1]
    ending = next((end for end in NIFTI_SUFFIXES if last.lower().endswith(end)), None)
    if ending is None and "." in last:
        raise Refusal(415, f"{one_line(last)[:LONGEST_NAME]} is no NIfTI file; expected .nii.gz or .nii: convert it.")
    stem = _UNUSUAL.sub("_", last[: -len(ending)] if ending else last).strip("._-")[:LONGEST_NAME]
    if not stem:
        raise Refusal(422, "the file has no name that can be kept; rename it.")
    return stem + (ending or NIFTI_SUFFIXES[0])


def save_file(store: Store, source: BinaryIO, path: Path) -> None:
    """Write what was sent to a path in the folder of uploads; raises Refusal where the disk is too full for it."""
    source.seek(0, os.SEEK_END)
    size = source.tell()
    source.seek(0)
    if shutil.disk_usage(store.root).free < size + SPARE:
        raise Refusal(507, "the disk of the folder is full; make room.")
    with path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def take_scan(store: Store, sent: Path, name: str) -> Scan:
    """Make what was sent a scan of the folder.

    Args:
        store: of the workbench.
        sent: the file; it is gone afterwards.
        name: that the client gave.

    Raises:
        Refusal: it is damaged, too large, there are too many, or one of this name is there.
        OSError: it cannot be written.
    """
    try:
        name = plain_name(name)
        target = store.root / name
        scans, most = store.scans(), store.settings.limits.scans
        if len(scans) >= most:
            raise Refusal(409, f"the folder holds {len(scans)} scans, and {most} are the most; use another folder.")
        stem = next(name.removesuffix(end) for end in NIFTI_SUFFIXES if name.endswith(end))
        if stem in masks_among([stem, *(scan.file.name for scan in scans)]):
            raise Refusal(409, f"{name} is named as the mask of another scan; rename it.")
        if any(scan.file.name == stem for scan in scans) or os.path.lexists(target):
            raise Refusal(409, f"{name} is in the folder already; rename the file.")
        try:
            check_voxels(sent)
        except (ValueError, FileNotFoundError) as error:
            raise Refusal(422, str(error).replace(str(sent), name)) from None
        _move_to_free(sent, target)
    finally:
        sent.unlink(missing_ok=True)
    store.look_again()
    return next(scan for scan in store.scans() if scan.file.path == target)


def _move_to_free(path: Path, target: Path) -> None:
    """Give a file a name that nothing has."""
    try:
        os.link(path, target)  # unlike a rename, never over something
    except FileExistsError:
        raise Refusal(409, f"{target.name} is in the folder already; rename the file.") from None
    except OSError:  # a file system without hard links
        with target.open("xb") as file, path.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
