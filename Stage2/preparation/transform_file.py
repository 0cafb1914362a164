"""The `preparation` of a data set file: where its raw files lie and what is done to them (docs/datasets.md).

preparation:
  images: imagesTr/liver_{scan}.nii.gz    # path below SRC, {scan} is what names a scan; a folder ends with /: DICOM
  labels: labelsTr/liver_{scan}.nii.gz    # optional
  label_values: {1: 1, 2: 1}              # optional: value in the label files -> number of a class
  orientation: LPS                        # optional: where columns, rows and slices run to
  window: [-125, 275]                     # or percentile: 99.5
  border: 32                              # optional: pixels cut off each in-plane border
  spacing: [1.25, 1.25, keep]             # mm along x, y, z; or coarsening: 1.75, a factor in-plane
  crop: centre                            # optional: centre (to 256 x 256) or none
  drop_blank_slice: true                  # optional
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import permutations, product
from pathlib import Path
from typing import Any

from Stage2.datasets.dataset_file import checked_label_values, read_yaml
from Stage2.preparation.steps.transform import Recipe

KEYS = (
    "images",
    "labels",
    "label_values",
    "orientation",
    "window",
    "percentile",
    "border",
    "spacing",
    "coarsening",
    "crop",
    "drop_blank_slice",
)
SCAN = "{scan}"
ORIENTATIONS = frozenset("".join(letters) for axes in permutations(("LR", "AP", "IS")) for letters in product(*axes))


@dataclass(frozen=True)
class Layout:
    """Where the raw files of a data set lie.

    Attributes:
        images, labels: patterns of paths below the source; `labels` is None where there are none.
        label_values: value in the label files -> number of a class; None: they hold these numbers.
        orientation: where the axes x, y, z are turned to run to, such as LPS; None: as stored.
    """

    images: str
    labels: str | None = None
    label_values: Mapping[int, int] | None = None
    orientation: str | None = None


def read_preparation(path: Path) -> tuple[Layout, Recipe]:
    """What a data set file says of its preparation.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no such part, or the first thing wrong with it, after the file's name.
    """
    content = read_yaml(path)
    try:
        section = content.get("preparation") if isinstance(content, Mapping) else None
        if not isinstance(section, Mapping):
            raise ValueError(
                "preparation is missing; to prepare raw data, say there where the files lie and what is done to them "
                "(docs/datasets.md)."
            )
        return _checked(section, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(section: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[Layout, Recipe]:
    for key in section:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1, cutoff=0)[0]
            raise ValueError(f"preparation has {key}, which is no key of it; the nearest one is {near}.")
    if "images" not in section:
        raise ValueError(f"preparation has no images; give their place below SRC, such as imagesTr/{SCAN}.nii.gz.")
    labels = section.get("labels")
    label_values = section.get("label_values")
    if label_values is not None and labels is None:
        raise ValueError("preparation has label_values but no labels; say where the label files lie.")
    layout = Layout(
        images=_pattern("images", section["images"]),
        labels=None if labels is None else _label_pattern(labels),
        label_values=checked_label_values(label_values, content),
        orientation=_orientation(section.get("orientation")),
    )
    _expect_one_of(section, "window", "percentile", required=True)
    _expect_one_of(section, "spacing", "coarsening", required=False)
    recipe = Recipe(
        window=_window(section.get("window")),
        percentile=_number("percentile", section.get("percentile"), 0, 100),
        border=_border(section.get("border", 0)),
        spacing=_spacing(section.get("spacing")),
        coarsening=_number("coarsening", section.get("coarsening"), 0, 100),
        centre=_crop(section.get("crop", "centre")),
        drop_blank_slice=_flag("drop_blank_slice", section.get("drop_blank_slice", False)),
    )
    return layout, recipe


def _expect_one_of(section: Mapping[str, Any], first: str, second: str, *, required: bool) -> None:
    given = [key for key in (first, second) if section.get(key) is not None]
    if len(given) == 2 or (required and not given):
        found = "both" if given else "neither"
        raise ValueError(f"preparation has {found} of {first} and {second}; give one of them.")


def _pattern(key: str, value: Any) -> str:
    if not isinstance(value, str) or value.count(SCAN) != 1 or value.startswith("/") or ".." in value.split("/"):
        raise ValueError(
            f"{key} is {value!r}; expected a path below SRC with {SCAN} once, such as imagesTr/{SCAN}.nii.gz."
        )
    return value


def _label_pattern(value: Any) -> str:
    if _pattern("labels", value).endswith("/"):
        raise ValueError(f"labels is {value!r}, a folder; expected a volume for each scan: convert them to NIfTI.")
    return value


def _orientation(value: Any) -> str | None:
    if value is not None and value not in ORIENTATIONS:
        raise ValueError(f"orientation is {value!r}; expected three of L or R, A or P, I or S, such as LPS.")
    return value


def _window(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)) or value[0] >= value[1]:
        raise ValueError(f"window is {value!r}; expected the lowest and the highest intensity, such as [-125, 275].")
    return float(value[0]), float(value[1])


def _number(key: str, value: Any, above: float, most: float) -> float | None:
    if value is not None and not (_is_number(value) and above < value <= most):
        raise ValueError(f"{key} is {value!r}; expected a number above {above}, {most} at most.")
    return None if value is None else float(value)


def _border(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"border is {value!r}; expected a whole number of pixels, 0 or more.")
    return value


def _spacing(value: Any) -> tuple[float | None, float | None, float | None] | None:
    if value is None:
        return None
    fits = isinstance(value, list) and len(value) == 3
    if not fits or not all(side == "keep" or (_is_number(side) and side > 0) for side in value):
        raise ValueError(f"spacing is {value!r}; expected mm along x, y, z, or keep, such as [1.25, 1.25, keep].")
    x, y, z = (None if side == "keep" else float(side) for side in value)
    return x, y, z


def _crop(value: Any) -> bool:
    if value not in ("centre", "none"):
        raise ValueError(f"crop is {value!r}; expected centre, which makes slices of 256 x 256, or none.")
    return value == "centre"


def _flag(key: str, value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{key} is {value!r}; expected true or false.")
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
