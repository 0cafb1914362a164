"""Probability maps that are made when they are asked for: those of a large scan do not fit in memory together."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np


class ProbabilityMaps(Mapping[int, np.ndarray]):
    """Label -> (Z, H, W) float32, computed anew at every access and never kept.

    Args:
        labels: the keys, in order.
        compute: makes the map of a label.
    """

    def __init__(self, labels: tuple[int, ...], compute: Callable[[int], np.ndarray]):
        self._labels, self._compute = labels, compute

    def __getitem__(self, label: int) -> np.ndarray:
        if label not in self._labels:
            raise KeyError(label)
        return self._compute(label)

    def __iter__(self) -> Iterator[int]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)
