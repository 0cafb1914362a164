"""Training episodes from supervoxels: support and query are two successive slices of one of them."""

from dataclasses import dataclass, field

import numpy as np

from Stage2.datasets.augmentation import augment_one_of
from Stage2.datasets.episodes import Episode, PseudoLabelEpisodes, as_episode
from Stage2.datasets.supervoxels import MIN_PAIR_AREA, areas_by_slice, pair_chances, successive_pairs


@dataclass
class SupervoxelEpisodes(PseudoLabelEpisodes):
    """Episodes whose class is one random supervoxel of one random training scan, in two successive slices.

    Scan, supervoxel and slices are drawn uniformly, and again until the larger area will do; the order of the slices is
    random. Unlike superpixel episodes, an organ is seen in two different slices, and changed by chance in one or both.

    Source: Hansen et al., Medical Image Analysis 2022.
    """

    _pairs: dict[str, np.ndarray] = field(init=False, repr=False)  # scan id -> (P, 2), supervoxel and first slice
    _chances: dict[str, np.ndarray] = field(init=False, repr=False)  # scan id -> (P,)

    def __post_init__(self):
        self._pairs, self._chances = {}, {}
        for scan in self.scans:
            excluded, areas = self.excluded.get(scan.id, frozenset()), areas_by_slice(scan.supervoxels)
            self._pairs[scan.id] = successive_pairs(areas, excluded)
            if len(self._pairs[scan.id]):
                self._chances[scan.id] = pair_chances(self._pairs[scan.id], areas, excluded)
        self._usable = [scan for scan in self.scans if scan.id in self._chances]
        if not self._usable:
            raise ValueError(
                f"none of the {len(self.scans)} training scans has a supervoxel in two successive slices that are not "
                f"excluded, with {MIN_PAIR_AREA} pixels in one of them; check the supervoxels and exclude_cls_list."
            )

    def __getitem__(self, index: int) -> Episode:
        """Episode `index`; see `as_episode` for its shapes."""
        rng = np.random.default_rng([self.seed, index])
        scans = self._scans_of_load(index)
        scan = scans[rng.integers(len(scans))]
        chances = self._chances[scan.id]
        number, first = self._pairs[scan.id][rng.choice(len(chances), p=chances)].tolist()
        slices = (first, first + 1) if rng.random() < 0.5 else (first + 1, first)
        return as_episode(*augment_one_of([(scan.image[z], scan.supervoxels[z] == number) for z in slices], rng))
