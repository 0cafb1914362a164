"""Radiograph folders as pairs of random views."""

from Stage1.datasets.colour import ColourAugmentation
from Stage1.datasets.radiographs import RadiographPairs, collate_pairs
from Stage1.datasets.sampling import SampleKey, SeededSampler
from Stage1.datasets.views import RandomViews

__all__ = ["ColourAugmentation", "RadiographPairs", "RandomViews", "SampleKey", "SeededSampler", "collate_pairs"]
