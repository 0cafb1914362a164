"""What is compared from one annotated scan: adapting a network, prototypes, registration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from Stage2.adaptation.settings import AdaptationSettings
from Stage2.benchmarks.registration import move_mask
from Stage2.inference.adapted_predictor import AdaptedPredictor
from Stage2.inference.adapting import adapt_network
from Stage2.inference.examples import DRAWN, Example
from Stage2.inference.network import load_network
from Stage2.inference.predictor import Predictor, Support
from Stage2.inference.transform import ScanTransform

REGISTRATION = "registration"

Found = tuple[np.ndarray, Mapping[int, float]]  # labels (Z, H, W), and label -> confidence
Segment = Callable[[sitk.Image, str], Found]


@dataclass(frozen=True)
class Annotated:
    """The support scan of a fold.

    Attributes:
        support: scan and mask.
        labels: to segment, each shown by the mask.
        transform: how scans are prepared.
        slices: of every organ that are annotated; None: all.
        others: unlabelled scans with their names.
    """

    support: Support
    labels: Sequence[int]
    transform: ScanTransform
    slices: int | None
    others: Sequence[tuple[str, sitk.Image]]


def by_adapting(annotated: Annotated, start: str, settings: AdaptationSettings) -> Segment:
    """A network is adapted to the support.

    Raises:
        ValueError: it was interrupted, so that it is no network of this budget.
    """
    example = Example(annotated.support, None if annotated.slices is None else DRAWN)
    adapted = adapt_network(
        [example], annotated.labels, annotated.transform, start, settings, unlabelled=annotated.others
    )
    if not adapted.described["finished"]:
        raise ValueError("interrupted; the same command goes on where it stopped.")
    return _segment_by(AdaptedPredictor(adapted))


def by_prototypes(annotated: Annotated, snapshot: Path) -> Segment:
    """The network of a snapshot compares with prototypes of the support."""
    network = load_network(snapshot)
    return _segment_by(Predictor(network, [annotated.support], annotated.labels, annotated.transform, clean_up=True))


def by_registration(annotated: Annotated) -> Segment:
    """The support's mask is moved; there is no confidence."""

    def segment(query: sitk.Image, name: str) -> Found:
        support = annotated.support
        try:
            return sitk.GetArrayFromImage(move_mask(support.scan, support.mask, query)), {}
        except ValueError as error:
            raise ValueError(f"{support.name} and {name}: {error}") from None

    return segment


def _segment_by(predictor: AdaptedPredictor | Predictor) -> Segment:
    def segment(query: sitk.Image, name: str) -> Found:
        found = predictor.segment(query, name)
        return found.labels, found.confidence

    return segment
