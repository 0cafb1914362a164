"""Names of the files of a processed folder: image_<id>.nii.gz, label_<id>.nii.gz, superpix-<scale>_<id>.nii.gz, ...

<id> is the number of a scan as text.
"""

from collections.abc import Iterable
from pathlib import Path

SUFFIX = ".nii.gz"
IMAGE, LABEL, BODY = "image", "label", "fgmask"  # kinds of volumes, with `superpixel_kind`, `supervoxel_kind`
SUPERPIXELS, SUPERVOXELS = "superpix", "supervox"
MANIFEST = "manifest.json"  # beside the volumes: what the folder was made from
# What people add to the name of a scan to name its mask; the plain name last, as it may be that of the scan.
MASK_ENDINGS = tuple(
    sign + word for word in ("mask", "label", "labels", "seg", "segmentation", "gt") for sign in ("_", "-", ".")
) + ("",)


def superpixel_kind(scale: str) -> str:
    """The kind of volume that holds superpixels of a scale."""
    return f"{SUPERPIXELS}-{scale}"


def supervoxel_kind(scale: str) -> str:
    """The kind of volume that holds supervoxels of a scale."""
    return f"{SUPERVOXELS}-{scale}"


def volume_name(kind: str, scan_id: str) -> str:
    """File name of a volume of a scan."""
    return f"{kind}_{scan_id}{SUFFIX}"


def image_path(folder: Path, scan_id: str) -> Path:
    """The image of a scan."""
    return folder / volume_name(IMAGE, scan_id)


def label_path(folder: Path, scan_id: str) -> Path:
    """The label of a scan."""
    return folder / volume_name(LABEL, scan_id)


def superpixel_path(folder: Path, scan_id: str, scale: str) -> Path:
    """The superpixels of a scan."""
    return folder / volume_name(superpixel_kind(scale), scan_id)


def supervoxel_path(folder: Path, scan_id: str, scale: str) -> Path:
    """The supervoxels of a scan."""
    return folder / volume_name(supervoxel_kind(scale), scan_id)


def body_path(folder: Path, scan_id: str) -> Path:
    """The body masks of a scan."""
    return folder / volume_name(BODY, scan_id)


def class_map_path(folder: Path, min_pixels: int | str) -> Path:
    """The class map of slices with at least so many pixels of a class."""
    return folder / f"classmap_{min_pixels}.json"


def volumes_of(folder: Path, kind: str) -> dict[str, Path]:
    """Scan id -> file, of all volumes of a kind in a folder, by name."""
    found = sorted(folder.glob(volume_name(kind, "*")))
    return {path.name.removeprefix(f"{kind}_").removesuffix(SUFFIX): path for path in found}


def class_maps_of(folder: Path) -> list[Path]:
    """All class maps in a folder, by name."""
    return sorted(folder.glob(class_map_path(folder, "*").name))


def label_name_of(image: str) -> str:
    """What a label is called whose image has this name; names of another form stay as they are."""
    start = f"{IMAGE}_"
    return f"{LABEL}_{image.removeprefix(start)}" if image.startswith(start) else image


def masks_among(names: Iterable[str]) -> set[str]:
    """Those of some names of volumes that belong to another one of them: its mask, its label, its superpixels.

    Endings of masks count in capitals too.
    """
    names = set(names)
    masks = {
        name for name in names for ending in MASK_ENDINGS
        if ending and name.lower().endswith(ending) and name[: -len(ending)] in names
    }  # fmt: skip
    for name in names:
        if name.startswith(f"{IMAGE}_"):
            scan_id = name.removeprefix(f"{IMAGE}_")
            masks |= {f"{LABEL}_{scan_id}", f"{BODY}_{scan_id}"}
            starts, end = (f"{SUPERPIXELS}-", f"{SUPERVOXELS}-"), f"_{scan_id}"
            masks |= {other for other in names if other.startswith(starts) and other.endswith(end)}
    return names & masks
