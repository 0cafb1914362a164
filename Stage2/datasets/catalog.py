"""The data sets: classes, label sets, folds, thresholds. Every such fact stands here, or in the file of an own one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from Stage2.datasets.dataset_file import is_dataset_file, read_dataset_file

SUPERPIXEL_SUFFIX = "_Superpix"

# Felzenszwalb parameters (observation scale, Gaussian sigma in pixels, smallest segment in pixels) by the name of the
# superpixel scale. MIDDLE is the one all published experiments use; SMALL gives finer segments.
SUPERPIXEL_SCALES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "MIDDLE": MappingProxyType({"scale": 1, "sigma": 1.0, "min_size": 400}),
        "SMALL": MappingProxyType({"scale": 1, "sigma": 0.8, "min_size": 100}),
    }
)

# What normalises CT: the voxels of the fold's training volumes, as ALPNet does, or each volume's own, as ADNet's line.
TRAINING, VOLUME = CT_STATISTICS = ("training", "volume")

# Grey value of the CHAOS MR ground truth PNGs -> label. The published preparation ranks the values that a scan has,
# which shifts the labels where an organ is missing; the table is fixed instead.
CHAOS_GREY_VALUES: Mapping[int, int] = MappingProxyType({0: 0, 63: 1, 126: 2, 189: 3, 252: 4})


@dataclass(frozen=True)
class DataSet:
    """What a processed data set is.

    Attributes:
        name: short name, as in run folders.
        modality: "MR" (each volume normalised by itself) or "CT" (see `CT_STATISTICS`).
        classes: class name -> label value, background first, in order of value.
        evaluated: label values that experiments train on or test.
        label_sets: label set -> label values of its training classes; the other evaluated ones are tested.
        fold_boundaries: boundaries b_0 < ... < b_K in the list of scans; fold k tests scans b_k to b_{k+1} - 1.
        foreground_threshold: a voxel of a processed volume above this value can belong to the body.
        default_folder: processed folder, relative to the repository root; None: there is none.
        label_values: value in the label files -> label; None: labels are stored as they are.
        source: the file that describes the data set; None: it is built in.
        spacing: of every processed volume along x, y, z in mm; None: scans keep spacings of their own.
    """

    name: str
    modality: str
    classes: Mapping[str, int]
    evaluated: tuple[int, ...]
    label_sets: Mapping[int, frozenset[int]]
    fold_boundaries: tuple[int, ...]
    foreground_threshold: float
    default_folder: str | None = None
    label_values: Mapping[int, int] | None = None
    source: Path | None = None
    spacing: tuple[float, float, float] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """As it travels to a process: a mapping that cannot be changed cannot be pickled."""
        return {key: dict(value) if isinstance(value, MappingProxyType) else value for key, value in vars(self).items()}

    @property
    def n_folds(self) -> int:
        return len(self.fold_boundaries) - 1

    def class_name(self, label: int) -> str:
        """Name of the class with this label value."""
        for name, value in self.classes.items():
            if value == label:
                return name
        raise ValueError(f"{self.name} has no class with label {label}; it has {dict(self.classes)}.")

    def training_labels(self, label_set: int) -> list[int]:
        """Label values that may be used as labels in training with this label set, ascending."""
        if label_set not in self.label_sets:
            raise ValueError(
                f"label_sets={label_set} is not a label set of {self.name}; choose one of {sorted(self.label_sets)}."
            )
        return sorted(self.label_sets[label_set])

    def test_labels(self, label_set: int) -> list[int]:
        """Label values that are tested with this label set, ascending: the evaluated ones not trained on."""
        return sorted(set(self.evaluated) - set(self.training_labels(label_set)))


_CHAOST2 = DataSet(
    name="CHAOST2",
    modality="MR",
    classes=MappingProxyType({"BG": 0, "LIVER": 1, "RK": 2, "LK": 3, "SPLEEN": 4}),
    evaluated=(1, 2, 3, 4),
    label_sets=MappingProxyType({0: frozenset({1, 4}), 1: frozenset({2, 3})}),
    fold_boundaries=(0, 4, 8, 12, 16, 20),
    foreground_threshold=50 + 1e-4,
    default_folder="data/CHAOST2/chaos_MR_T2_normalized",
    spacing=(1.25, 1.25, 7.70),
)

_SABS = DataSet(
    name="SABS",
    modality="CT",
    classes=MappingProxyType(
        {
            "BGD": 0, "SPLEEN": 1, "KID_R": 2, "KID_l": 3, "GALLBLADDER": 4, "ESOPHAGUS": 5, "LIVER": 6, "STOMACH": 7,
            "AORTA": 8, "IVC": 9, "PS_VEIN": 10, "PANCREAS": 11, "AG_R": 12, "AG_L": 13,
        }
    ),
    evaluated=(1, 2, 3, 6),
    label_sets=MappingProxyType({0: frozenset({1, 6}), 1: frozenset({2, 3})}),
    fold_boundaries=(0, 6, 12, 18, 24, 30),
    foreground_threshold=1e-4,
    default_folder="data/SABS/sabs_CT_normalized",
)  # fmt: skip

# Cardiac MR (bSSFP) of the MS-CMRSeg challenge, as ADNet's line uses it: all classes are tested, none is trained on.
_CMR = DataSet(
    name="CMR",
    modality="MR",
    classes=MappingProxyType({"BG": 0, "LV-MYO": 1, "LV-BP": 2, "RV": 3}),
    evaluated=(1, 2, 3),
    label_sets=MappingProxyType({0: frozenset()}),
    fold_boundaries=(0, 7, 14, 21, 28, 35),
    foreground_threshold=50 + 1e-4,
    default_folder="data/CMR/cmr_MR_normalized",
)

_DATA_SETS = MappingProxyType({data_set.name: data_set for data_set in (_CHAOST2, _SABS, _CMR)})


def get_dataset(name: str) -> DataSet:
    """The data set of this name, or that a .yaml file describes; the published `<name>_Superpix` means the same.

    Args:
        name: CHAOST2, SABS, CMR, or the path of a data set file.

    Raises:
        FileNotFoundError, ValueError: an unknown name, or something is wrong with the file.
    """
    if is_dataset_file(name):
        data_set = DataSet(**read_dataset_file(Path(name)))
        if data_set.name.endswith(SUPERPIXEL_SUFFIX) or data_set.name in _DATA_SETS:
            raise ValueError(
                f"{name}: the name {data_set.name} is that of a built-in data set, or like it; choose another one, so "
                "that results are not mixed up."
            )
        return data_set
    base = name.removesuffix(SUPERPIXEL_SUFFIX)
    if base not in _DATA_SETS:
        raise ValueError(
            f"dataset={name} is unknown; choose one of {', '.join(_DATA_SETS)}, or give the .yaml file of your own."
        )
    return _DATA_SETS[base]


def run_name(name: str) -> str:
    """The part of a run folder's name that tells the data set: as given, or the short name that a file gives."""
    return get_dataset(name).name if is_dataset_file(name) else name


def dataset_identity(name: str) -> dict[str, Any]:
    """What must be the same in a run that goes on from another, as plain values.

    Of a data set file it is the content that counts, not the path.
    """
    if not is_dataset_file(name):
        return {"dataset": name}
    data_set = get_dataset(name)
    return {
        "dataset": data_set.name,
        "dataset.modality": data_set.modality,
        "dataset.classes": dict(data_set.classes),
        "dataset.evaluated": list(data_set.evaluated),
        "dataset.label_sets": {number: sorted(labels) for number, labels in data_set.label_sets.items()},
        "dataset.folds": list(data_set.fold_boundaries),
        "dataset.label_values": None if data_set.label_values is None else dict(data_set.label_values),
    }
