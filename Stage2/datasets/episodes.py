"""Training episodes: a support and a query, made from pseudo-labels or, in fine-tuning, from annotated classes.

Episode e of a run is a function of (seed, e) only: the same with any number of loader workers, and a resumed run goes
on exactly where it stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, product

import numpy as np
import torch
from torch import Tensor

from Stage1.processes import stream_results
from Stage2.datasets.augmentation import augment
from Stage2.datasets.folds import part_of_slice
from Stage2.datasets.labels import check_support
from Stage2.datasets.volumes import Scan

MANUAL_SHARE = 0.25  # of the fine-tuning episodes
Episode = dict[str, Tensor]


@dataclass
class PseudoLabelEpisodes:
    """Episodes whose class is a random pseudo-label; the kinds of pseudo-labels say which, and where it is seen.

    Attributes:
        scans: training scans with pseudo-labels.
        excluded: scan id -> slices left out of training (setting 2: those with a test class).
        seed: of the run.
        scans_per_load: draw from this many scans at a time, chosen anew every `episodes_per_load` episodes; None: all.
        episodes_per_load: length of a pass over the loader.
    """

    scans: Sequence[Scan]
    excluded: Mapping[str, frozenset[int]]
    seed: int
    scans_per_load: int | None = None
    episodes_per_load: int = 1000
    _usable: list[Scan] = field(init=False, repr=False)  # scans that episodes can be drawn from

    def __getitem__(self, index: int) -> Episode:
        """Episode `index`; see `as_episode` for its shapes."""
        raise NotImplementedError

    def _scans_of_load(self, index: int) -> Sequence[Scan]:
        if self.scans_per_load is None or self.scans_per_load >= len(self._usable):
            return self._usable
        rng = np.random.default_rng([self.seed, index // self.episodes_per_load, 1])
        chosen = sorted(rng.choice(len(self._usable), self.scans_per_load, replace=False))
        return [self._usable[place] for place in chosen]


@dataclass
class SuperpixelEpisodes(PseudoLabelEpisodes):
    """Episodes whose class is one random superpixel of one random training slice, which is seen in two views."""

    _slices: dict[str, list[int]] = field(init=False, repr=False)  # scan id -> slices with a superpixel, not excluded

    def __post_init__(self):
        self._slices = {scan.id: self._usable_slices(scan) for scan in self.scans}
        self._usable = [scan for scan in self.scans if self._slices[scan.id]]
        if not self._usable:
            raise ValueError(
                f"none of the {len(self.scans)} training scans has a slice with a superpixel that is not excluded; "
                "check the superpixels and exclude_cls_list."
            )

    def _usable_slices(self, scan: Scan) -> list[int]:
        excluded = self.excluded.get(scan.id, frozenset())
        return [z for z in range(len(scan.image)) if z not in excluded and scan.superpixels[z].any()]

    def __getitem__(self, index: int) -> Episode:
        """Episode `index`; see `as_episode` for its shapes."""
        rng = np.random.default_rng([self.seed, index])
        scan, z = self._draw_slice(self._scans_of_load(index), rng)
        segments = scan.superpixels[z]
        chosen = rng.choice(segment_numbers(segments))
        mask = segments == chosen
        return as_episode(augment(scan.image[z], mask, rng), augment(scan.image[z], mask, rng))

    def _draw_slice(self, scans: Sequence[Scan], rng: np.random.Generator) -> tuple[Scan, int]:
        """A slice, uniformly from all usable ones of these scans."""
        ends = np.cumsum([len(self._slices[scan.id]) for scan in scans])
        place = rng.integers(ends[-1])
        chosen = int(np.searchsorted(ends, place, side="right"))
        slices = self._slices[scans[chosen].id]
        return scans[chosen], slices[place - ends[chosen] + len(slices)]


def segment_numbers(segments: np.ndarray) -> np.ndarray:
    """The numbers above 0 in a slice of superpixels, (H, W) integer -> (n,) int64, ascending."""
    return np.flatnonzero(np.bincount(segments.ravel())[1:]) + 1


@dataclass(frozen=True)
class AnnotatedClass:
    """What manual episodes need to know of one training class.

    Attributes:
        label: its value in the label volumes.
        support_slices: support scan id -> its slice for every part.
        ranges: training scan id -> first and last slice with the class; scans without it are absent.
    """

    label: int
    support_slices: Mapping[str, Sequence[int]]
    ranges: Mapping[str, tuple[int, int]]


@dataclass
class FineTuningEpisodes:
    """Episodes of pseudo-labels mixed with manual ones: a training slice as query, an annotated scan as support.

    A manual query is any slice of a training scan that has the class somewhere, and is not excluded; where the slice
    itself lacks the class, its label is background. The classes take turns, one per pass over the loader. Support and
    query are augmented like superpixel episodes.

    Attributes:
        pseudo_labels: the episodes of pseudo-labels; their seed and pass length hold here too; their scans need labels.
        supports: the annotated scans, with labels; several make manual episodes of as many shots.
        classes: the training classes in turn.
    """

    pseudo_labels: PseudoLabelEpisodes
    supports: Sequence[Scan]
    classes: Sequence[AnnotatedClass]
    _queries: list[list[tuple[Scan, int]]] = field(init=False, repr=False)  # per class: where queries come from

    def __post_init__(self):
        if not self.classes:
            raise ValueError(
                "fine-tuning needs an annotated training class, but the label set has none; choose another label_sets."
            )
        self._queries = [self._query_slices(of_class) for of_class in self.classes]
        for of_class, support in product(self.classes, self.supports):
            check_support(support.id, support.label, of_class.support_slices[support.id], of_class.label)

    def _query_slices(self, of_class: AnnotatedClass) -> list[tuple[Scan, int]]:
        excluded = self.pseudo_labels.excluded
        queries = [
            (scan, z)
            for scan in self.pseudo_labels.scans
            if scan.id in of_class.ranges
            for z in range(len(scan.image))
            if z not in excluded.get(scan.id, frozenset())
        ]
        if not queries:
            raise ValueError(f"no training slice can be the query of label {of_class.label}: no training scan has it.")
        return queries

    def __getitem__(self, index: int) -> Episode:
        """Episode `index`; see `as_episode` for its shapes."""
        rng = np.random.default_rng([self.pseudo_labels.seed, index, 2])
        if rng.random() >= MANUAL_SHARE:
            return self.pseudo_labels[index]
        turn = index // self.pseudo_labels.episodes_per_load % len(self.classes)
        of_class, queries = self.classes[turn], self._queries[turn]
        scan, z = queries[rng.integers(len(queries))]
        slices = [of_class.support_slices[support.id] for support in self.supports]
        part = part_of_slice(z, *of_class.ranges[scan.id], len(slices[0]))
        views = [
            augment(support.image[of_support[part]], support.label[of_support[part]] == of_class.label, rng)
            for support, of_support in zip(self.supports, slices, strict=True)
        ]
        query = augment(scan.image[z], scan.label[z] == of_class.label, rng)
        shots = [as_episode(view, query) for view in views]
        return {key: torch.cat([shot[key] for shot in shots]) for key in ("support_image", "support_foreground")} | {
            key: shots[0][key] for key in ("query_image", "query_label")
        }


def as_episode(support: tuple[np.ndarray, np.ndarray], query: tuple[np.ndarray, np.ndarray]) -> Episode:
    """Tensors of an episode from (image (H, W) float32, mask (H, W) bool) of support and query.

    Returns:
        support_image, query_image (1, 3, H, W) float32; support_foreground (1, H, W) float32; query_label (1, H, W)
        int64.
    """
    return {
        "support_image": three_channels(support[0][None]),
        "support_foreground": torch.from_numpy(support[1][None]).float(),
        "query_image": three_channels(query[0][None]),
        "query_label": torch.from_numpy(query[1][None]).long(),
    }


def three_channels(slices: np.ndarray) -> Tensor:
    """Slices (B, H, W) float32 as images (B, 3, H, W): a view that shows the one channel three times."""
    return torch.from_numpy(slices)[:, None].expand(-1, 3, -1, -1)


def stream_episodes(
    episodes: PseudoLabelEpisodes | FineTuningEpisodes,
    n_workers: int,
    start: int = 0,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Episode]]:
    """(number, episode) from number `start` on, without end, made ahead of time by `n_workers` processes.

    Args:
        episodes: where they come from.
        n_workers: 0: they are made when they are asked for.
        start: first number.
        stop_asked: asked while an episode is waited for; where it is true, the stream ends.
    """
    function = _ArraysOfEpisode(episodes) if n_workers else episodes.__getitem__
    with closing(stream_results(function, count(start), n_workers, stop_asked)) as results:
        for number, result in zip(count(start), results):
            yield number, {name: torch.as_tensor(value) for name, value in result.items()}


@dataclass(frozen=True)
class _ArraysOfEpisode:
    """An episode as numpy arrays, which pass a pipe; tensors would pass through shared memory."""

    episodes: PseudoLabelEpisodes | FineTuningEpisodes

    def __call__(self, index: int) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self.episodes[index].items()}
