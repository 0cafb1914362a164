"""Cross-validation folds, support slices, body parts, slices left out: which scans and slices play which role."""

from collections.abc import Sequence
from dataclasses import dataclass

from Stage2.datasets.catalog import DataSet, get_dataset

DISJOINT, OVERLAPPING = FOLD_SCHEMES = ("disjoint", "overlapping")
ANY, ALL = EXCLUDE_RULES = ("any", "all")
EVERY_SUPPORT = "all"  # value of support_idx: each possible support scan in turn


@dataclass(frozen=True)
class Fold:
    """Scan ids of one fold; the three lists share no scan. Overlapping folds take the support from the test scans."""

    train: list[str]
    test: list[str]
    support: list[str]

    @property
    def candidates(self) -> list[str]:
        """The scans that can be the support, in the order that `support_idx` counts."""
        return [*self.test, *self.support]

    def choose_support(self, index: Sequence[int]) -> list[str]:
        """Support scans by their place in the list of test scans followed by support scans (`support_idx`).

        -1 is the last support scan; with one support scan the published 4 (MR) and 6 (CT) are the same scan.
        """
        scans = self.candidates
        chosen = []
        for place in index:
            if not -len(scans) <= place < len(scans):
                raise ValueError(
                    f"support_idx={list(index)}: {place} is outside the fold's {len(scans)} test and support scans; "
                    f"choose -1 for the fold's support scan, or 0 to {len(scans) - 1}."
                )
            if scans[place] in chosen:
                raise ValueError(f"support_idx={list(index)} names scan {scans[place]} twice; name each scan once.")
            chosen.append(scans[place])
        if not chosen:
            raise ValueError("support_idx=[] names no support scan; choose [-1] for the fold's support scan.")
        return chosen


def count_shots(support_idx: Sequence[int] | str) -> int:
    """Support scans that a test or training uses at a time."""
    return 1 if support_idx == EVERY_SUPPORT else len(support_idx)


def split_fold(scan_ids: Sequence[str], data_set: DataSet, fold: int, n_shots: int = 1, scheme: str = DISJOINT) -> Fold:
    """Fold of a cohort: its test scans, the support scan(s) after them in the circular list, the rest for training.

    Overlapping folds test one scan more, the next fold's first; the support is one of the test scans. With one support
    scan both schemes train on the same scans, and `support_idx` counts the same list.

    Args:
        scan_ids: ids of all scans, in any order; sorted by number here.
        data_set: gives the fold boundaries, and with them how many scans there must be.
        fold: 0 to K - 1.
        n_shots: support scans of a disjoint fold.
        scheme: one of `FOLD_SCHEMES`.

    Source: disjoint: SSL-ALPNet (Ouyang et al., ECCV 2020); overlapping: ADNet (Hansen et al., Medical Image Analysis
    2022), whose tables for CHAOS, SABS and CMR are what the boundaries give by this rule.
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
    if scheme == OVERLAPPING:
        test = [*test, ids[boundaries[fold + 1] % len(ids)]]
        return Fold(train=[scan for scan in ids if scan not in test], test=test, support=[])
    if not 1 <= n_shots < len(ids) - len(test):
        raise ValueError(
            f"n_shots={n_shots}: choose 1 to {len(ids) - len(test) - 1}, so that scans remain for training."
        )
    support = [ids[(boundaries[fold + 1] + shot) % len(ids)] for shot in range(n_shots)]
    held_out = {*test, *support}
    return Fold(train=[scan for scan in ids if scan not in held_out], test=test, support=support)


def support_slices(slices: Sequence[int], n_parts: int) -> list[int]:
    """One support slice for every part: the entries of a class's slice list at 1/2n, 3/2n, 5/2n ... of its length.

    The entries int(p * C) of ADNet's protocol are the same ones.

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


def excluded_slices(by_class: Sequence[Sequence[int]], rule: str = ANY) -> frozenset[int]:
    """Slices of a scan that training leaves out.

    Args:
        by_class: the slices that show each class to leave out, a list per class.
        rule: "any": slices with any of the classes; "all": those with all of them at once.

    Source: any: SSL-ALPNet; all: the published loaders of ADNet's line.
    """
    lists = [frozenset(slices) for slices in by_class]
    if not lists:
        return frozenset()
    return frozenset.union(*lists) if rule == ANY else frozenset.intersection(*lists)


def read_folds(text: str, dataset: str) -> list[int]:
    """Folds as numbers; ``all`` is every fold of the data set.

    Raises:
        ValueError: no fold, one that is no number, or one that the data set does not have.
    """
    n_folds = get_dataset(dataset).n_folds
    words = text.split()
    if words == ["all"]:
        return list(range(n_folds))
    wrong = [word for word in words if not word.isdecimal() or int(word) >= n_folds]
    if wrong or not words:
        found = f"names {', '.join(wrong)}" if wrong else "names no fold"
        raise ValueError(f"ALL_EV='{text}' {found}; choose from 0 to {n_folds - 1}, separated by spaces, or all.")
    return list(dict.fromkeys(map(int, words)))
