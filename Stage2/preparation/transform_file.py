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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

from Stage2.datasets.dataset_file import Rule, checked_label_values, expect, is_number, nearest, read_yaml
from Stage2.preparation.steps.transform import VolumeTransform

SCAN = "{scan}"
ORIENTATIONS = ["".join(letters) for axes in permutations(("LR", "AP", "IS")) for letters in product(*axes)]


def _is_pattern(value: Any) -> bool:
    fits = isinstance(value, str) and value.count(SCAN) == 1
    return fits and not value.startswith("/") and ".." not in value.split("/")


def _is_list(value: Any, length: int, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(fits, value))


def _is_side(value: Any) -> bool:
    return value == "keep" or (is_number(value) and value > 0)


PATTERN = Rule(_is_pattern, f"expected a path below SRC with {SCAN} once, such as imagesTr/{SCAN}.nii.gz.")
VOLUMES = Rule(lambda path: not path.endswith("/"), "a folder; expected a volume for each scan: convert them to NIfTI.")
ORIENTATION = Rule(ORIENTATIONS.__contains__, "expected three of L or R, A or P, I or S, such as LPS.")
UP_TO_100 = Rule(
    lambda value: is_number(value) and 0 < value <= 100, "expected a number above 0, 100 at most.", float
)
# Of the keys that say what is done to a volume; the fields of `VolumeTransform` have their names but for the crop.
RULES = {
    "window": Rule(
        lambda value: _is_list(value, 2, is_number) and value[0] < value[1],
        "expected the lowest and the highest intensity, such as [-125, 275].",
        lambda value: (float(value[0]), float(value[1])),
    ),
    "percentile": UP_TO_100,
    "border": Rule(lambda value: type(value) is int and value >= 0, "expected a whole number of pixels, 0 or more."),
    "spacing": Rule(
        lambda value: _is_list(value, 3, _is_side),
        "expected mm along x, y, z, or keep, such as [1.25, 1.25, keep].",
        lambda value: tuple(None if side == "keep" else float(side) for side in value),
    ),
    "coarsening": UP_TO_100,
    "crop": Rule(
        lambda value: value in ("centre", "none"),
        "expected centre, which makes slices of 256 x 256, or none.",
        lambda value: value == "centre",
    ),
    "drop_blank_slice": Rule(lambda value: type(value) is bool, "expected true or false."),
}
MAY_BE_NULL = ("labels", "label_values", "orientation", "window", "percentile", "spacing", "coarsening")
KEYS = ("images", "labels", "label_values", "orientation", *RULES)


@dataclass(frozen=True)
class RawLayout:
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

    def parameters(self) -> dict[str, Any]:
        """What decides the content of the volumes that are read, as JSON holds it; not where their files lie."""
        values = self.label_values
        texts = None if values is None else {str(stored): label for stored, label in values.items()}
        return {"orientation": self.orientation, "label_values": texts}


def read_preparation(path: Path) -> tuple[RawLayout, VolumeTransform]:
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


def _checked(section: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[RawLayout, VolumeTransform]:
    for key in section:
        near = nearest(key, KEYS)
        expect(key in KEYS, f"preparation has {key}, which is no key of it; the nearest one is {near}.")
    given = {key: value for key, value in section.items() if value is not None or key not in MAY_BE_NULL}
    expect("images" in given, f"preparation has no images; give their place below SRC, such as imagesTr/{SCAN}.nii.gz.")
    has_labels = "labels" in given or "label_values" not in given
    expect(has_labels, "preparation has label_values but no labels; say where the label files lie.")
    layout = RawLayout(
        images=PATTERN.of("images", given["images"]),
        labels=VOLUMES.of("labels", PATTERN.of("labels", given["labels"])) if "labels" in given else None,
        label_values=checked_label_values(given.get("label_values"), content),
        orientation=ORIENTATION.of("orientation", given["orientation"]) if "orientation" in given else None,
    )
    for first, second, required in (("window", "percentile", True), ("spacing", "coarsening", False)):
        both, neither = {first, second} <= given.keys(), not {first, second} & given.keys()
        fits = not both and not (neither and required)
        expect(fits, f"preparation has {'both' if both else 'neither'} of {first} and {second}; give one of them.")
    steps = {key: rule.of(key, given[key]) for key, rule in RULES.items() if key in given}
    if "crop" in steps:
        steps["centre"] = steps.pop("crop")
    return layout, VolumeTransform(**steps)
