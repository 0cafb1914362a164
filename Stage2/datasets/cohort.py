"""The scans of a fold in their roles: loaded, normalised, with what the class maps say of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from Stage2.datasets.catalog import TRAINING, DataSet
from Stage2.datasets.folds import ANY, DISJOINT, Fold, excluded_slices, split_fold, support_slices
from Stage2.datasets.mapped import SliceCache, map_scan
from Stage2.datasets.volumes import (
    Scan,
    Statistics,
    fold_statistics,
    list_scans,
    load_scan,
    read_class_map,
    slices_with_class,
)  # fmt: skip


class Cohort:
    """A processed folder seen through one fold.

    Args:
        folder: processed folder.
        data_set: what it is.
        fold: number of the fold.
        n_shots: support scans.
        fold_scheme: one of `FOLD_SCHEMES`.
        ct_statistics: one of `CT_STATISTICS`.
    """

    def __init__(
        self, folder: Path, data_set: DataSet, fold: int, n_shots: int = 1, fold_scheme: str = DISJOINT,
        ct_statistics: str = TRAINING,
    ):  # fmt: skip
        self.folder = folder
        self.data_set = data_set
        self.fold: Fold = split_fold(list_scans(folder), data_set, fold, n_shots, fold_scheme)
        self._statistics: Statistics | None = fold_statistics(folder, data_set.modality, self.fold.train, ct_statistics)
        self._class_maps: dict[int, Mapping] = {}

    def slices(self, label: int, scan_id: str, min_pixels: int = 1) -> list[int]:
        """Slices of a scan with at least `min_pixels` pixels of a class, ascending, possibly none."""
        if min_pixels not in self._class_maps:
            self._class_maps[min_pixels] = read_class_map(self.folder, min_pixels)
        name = self.data_set.class_name(label)
        return slices_with_class(self._class_maps[min_pixels], name, scan_id, self.folder)

    def ranges(self, label: int, scan_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Scan id -> first and last slice with the class; scans without it are absent."""
        found = {scan_id: self.slices(label, scan_id) for scan_id in scan_ids}
        return {scan_id: (slices[0], slices[-1]) for scan_id, slices in found.items() if slices}

    def support_slices(self, label: int, scan_id: str, n_parts: int, min_pixels: int) -> list[int]:
        """Slice of a support scan for every part of a class.

        Raises:
            ValueError: the scan does not show the class.
        """
        slices = self.slices(label, scan_id, min_pixels)
        if not slices:
            raise ValueError(
                f"support scan {scan_id} of {self.folder} has no slice with {min_pixels} or more pixels of "
                f"{self.data_set.class_name(label)}; choose another one with support_idx."
            )
        return support_slices(slices, n_parts)

    def excluded_slices(self, labels: Sequence[int], rule: str = ANY) -> dict[str, frozenset[int]]:
        """Training scan id -> slices with a pixel of any of these classes, or of all of them, see `EXCLUDE_RULES`."""
        return {
            scan_id: excluded_slices([self.slices(label, scan_id) for label in labels], rule)
            for scan_id in (self.fold.train if labels else ())
        }

    def training_scans(self, superpixel_scale: str, cache: SliceCache, with_label: bool = False) -> list[Scan]:
        """The fold's training scans with superpixels, their slices on disk."""
        return [
            map_scan(
                self.folder, scan_id, self._statistics, cache,
                superpixel_scale=superpixel_scale, with_label=with_label, data_set=self.data_set,
            )
            for scan_id in self.fold.train
        ]  # fmt: skip

    def annotated_scan(self, scan_id: str) -> Scan:
        """A scan with its label: a support, or a query to be scored."""
        return load_scan(self.folder, scan_id, self._statistics, with_label=True, data_set=self.data_set)
