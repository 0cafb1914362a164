"""Radiograph folders as random views."""

from Stage1.datasets.colour import ColourAugmentation
from Stage1.datasets.radiographs import Radiographs, collate_views
from Stage1.datasets.sampling import SampleKey, SeededSampler
from Stage1.datasets.views import RandomViews

__all__ = ["ColourAugmentation", "Radiographs", "RandomViews", "SampleKey", "SeededSampler", "collate_views"]
