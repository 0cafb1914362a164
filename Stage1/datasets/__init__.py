"""Radiograph folders as pairs of random views."""

from Stage1.datasets.radiographs import RadiographPairs
from Stage1.datasets.sampling import SampleKey, SeededSampler

__all__ = ["RadiographPairs", "SampleKey", "SeededSampler"]
