"""Segment scans from annotated examples, in Python: `from Stage2.predict import segment` (docs/predict.md)."""

from Stage2.inference.predictor import Predictor, Segmentation, Support, segment

__all__ = ["Predictor", "Segmentation", "Support", "segment"]
