"""Order and randomness of samples as functions of seed, epoch and index alone.

Every index travels to the data set together with the seed and the epoch, so a sample's views do not depend on which
worker makes them, on how many workers there are, or on what was drawn before a run was resumed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


class SampleKey(NamedTuple):
    """Which image, and everything that decides its random views."""

    index: int
    epoch: int
    seed: int

    def generator(self) -> np.random.Generator:
        """The source of this sample's randomness, seeded by all three numbers."""
        return np.random.default_rng(self)


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """MMEngine's sampler (shuffled by seed and epoch, split over processes) with a :class:`SampleKey` per image."""

    def __iter__(self) -> Iterator[SampleKey]:
        for index in super().__iter__():
            yield SampleKey(index, self.epoch, self.seed)
