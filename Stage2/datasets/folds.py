"""Cross-validation folds, support slices and body parts: which scans and slices play which role."""

from collections.abc import Sequence
from dataclasses import dataclass

from Stage2.datasets.catalog import DataSet


@dataclass(frozen=True)
class Fold:
    """Scan ids of one fold; the three lists share no scan."""

    train: list[str]
    test: list[str]
    support: list[str]

    def choose_support(self, index: Sequence[int]) -> list[str]:
        """Support scans by their place in the list of test scans followed by support scans (`support_idx`).

        -1 is the last support scan; with one support scan the published 4 (MR) and 6 (CT) are the same scan.
        """
        scans = [*self.test, *self.support]
        chosen = []
        for place in index:
            if not -len(scans) <= place < len(scans):
                raise ValueError(
                    f"support_idx={list(index)}: {place} is outside the fold's {len(scans)} test and support scans; "
                    f"choose -1 for the fold's support scan, or 0 to {len(scans) - 1}."
                )
            chosen.append(scans[place])
        if not chosen:
            raise ValueError("support_idx=[] names no support scan; choose [-1] for the fold's support scan.")
        return chosen


def split_fold(scan_ids: Sequence[str], data_set: DataSet, fold: int, n_shots: int = 1) -> Fold:
    """Fold of a cohort: its test scans, the support scan(s) after them in the circular list, the rest for training.

    Args:
        scan_ids: ids of all scans, in any order; sorted by number here.
        data_set: gives the fold boundaries, and with them how many scans there must be.
        fold: 0 to K - 1.
        n_shots: support scans.
    """
    boundaries = data_set.fold_boundaries
    if not 0 <= fold < data_set.n_folds:
        raise ValueError(f"eval_fold={fold} is not a fold of {data_set.name}; choose 0 to {data_set.n_folds - 1}.")
    ids = sorted(scan_ids, key=int)
    if len(ids) != boundaries[-1]:
        raise ValueError(
            f"{data_set.name} has folds for {boundaries[-1]} scans, but {len(ids)} were found ({', '.join(ids[:40])}); "
            "complete the folder."
        )
    test = ids[boundaries[fold] : boundaries[fold + 1]]
    if not 1 <= n_shots < len(ids) - len(test):
        raise ValueError(
            f"n_shots={n_shots}: choose 1 to {len(ids) - len(test) - 1}, so that scans remain for training."
        )
    support = [ids[(boundaries[fold + 1] + shot) % len(ids)] for shot in range(n_shots)]
    held_out = {*test, *support}
    return Fold(train=[scan for scan in ids if scan not in held_out], test=test, support=support)


def support_slices(slices: Sequence[int], n_parts: int) -> list[int]:
    """One support slice for every part: the entries of a class's slice list at 1/2n, 3/2n, 5/2n ... of its length.

    Args:
        slices: indices of the slices with the class, ascending, at least one.
        n_parts: n.
    """
    return [slices[(2 * part + 1) * len(slices) // (2 * n_parts)] for part in range(n_parts)]


def part_of_slice(z: int, z_min: int, z_max: int, n_parts: int) -> int:
    """Part of a slice when [z_min, z_max] is cut into equal parts; slices outside belong to the first or last.

    A class with a single slice has parts of no width: everything is part 0.
    """
    if z_max == z_min:
        return 0
    return min(max((z - z_min) * n_parts // (z_max - z_min), 0), n_parts - 1)
