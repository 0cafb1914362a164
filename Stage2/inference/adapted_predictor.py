"""Segmenting scans with an adapted network: no support is needed, all its organs are found at once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

from Stage1.files import hash_file
from Stage2.adaptation.confidence import Reference, confidence_of, lower_bound
from Stage2.adaptation.inference import keep_largest_pieces, organ_shares
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, choose_labels, read_network
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.adaptation.working_grid import to_working_grid, working_geometry
from Stage2.datasets.volumes import Statistics
from Stage2.inference.label_maps import labels_on_scan
from Stage2.inference.lazy import ProbabilityMaps
from Stage2.inference.predictor import Segmentation, named
from Stage2.inference.transform import ScanTransform, back_to_scan, normalise, prepare_image
from Stage2.segmentation.method import SLICES_AT_ONCE


@dataclass(frozen=True)
class Adapted:
    """An adapted network with everything that segmenting a scan needs.

    Attributes:
        network: in evaluation mode.
        labels: value of every organ in the masks, in the order of the network's classes.
        transform: how scans are prepared.
        side: of the working grid.
        reference: what confidence goes by.
        described: plain values for the file: start, budget, supports ...
        identity: hash of the file; empty where there is none.
    """

    network: AdaptedNetwork
    labels: tuple[int, ...]
    transform: ScanTransform
    side: int
    reference: Reference
    described: dict[str, Any]
    identity: str = ""

    def description(self) -> dict[str, Any]:
        """For `write_network`."""
        return {
            **self.described,
            "labels": list(self.labels),
            "transform": asdict(self.transform),
            "side": self.side,
            "reference": self.reference.as_plain(),
        }


def load_adapted(path: Path, device: torch.device | str = "cpu") -> Adapted:
    """The content of an adapted file.

    Raises:
        FileNotFoundError, ValueError: it is missing, damaged, or none.
    """
    network, described = read_network(path)
    if described["kind"] != ADAPTED:
        raise ValueError(
            f"{path} is a {described['kind']}, which knows no organ of yours yet; run tools/adapt.py first."
        )
    try:
        transform = dict(described.pop("transform"))
        statistics = transform.pop("statistics")
        spacing = transform.pop("spacing")
        known = {field.name for field in fields(ScanTransform)}
        if not transform.keys() <= known:
            raise ValueError(f"unknown settings {sorted(transform.keys() - known)}")
        labels = tuple(described.pop("labels"))
        if len(labels) != len(network.head.members) - 1 or not all(type(label) is int for label in labels):
            raise ValueError(f"labels {labels} for a network of {len(network.head.members) - 1} organs")
        found = ScanTransform(
            **transform,
            spacing=None if spacing is None else tuple(spacing),
            statistics=None if statistics is None else Statistics(**statistics),
        )
        side, reference = int(described.pop("side")), Reference.of(described.pop("reference"))
        AdaptationSettings(side=side)
        counts = {len(own) for own in (reference.errors, reference.spreads)}
        if len(reference.volumes) != len(labels) or not counts <= {0, len(labels)}:
            raise ValueError(f"a reference of {len(reference.volumes)} organs for {len(labels)} labels")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has a damaged description ({error}); adapt anew, or copy it again.") from None
    network.to(device, memory_format=torch.channels_last)
    return Adapted(network, labels, found, side, reference, described, hash_file(path))


class AdaptedPredictor:
    """Segments queries with an adapted network.

    Args:
        adapted: the network.
        labels: to segment; None: all that it knows.
        slices_at_once: bound on the slices in memory.
        clean_up: keep the largest piece of each organ.

    Raises:
        ValueError: it does not know a label, or none is given.
    """

    def __init__(
        self, adapted: Adapted, labels: Sequence[int] | None = None, *, slices_at_once: int = SLICES_AT_ONCE,
        clean_up: bool = True,
    ):  # fmt: skip
        self.adapted, self.slices_at_once, self.clean_up = adapted, slices_at_once, clean_up
        self.labels = choose_labels(labels, adapted.labels)
        self.transform = adapted.transform

    def segment(self, query: sitk.Image, name: str = "the query") -> Segmentation:
        """Segment one query; no label of it exists.

        Raises:
            ValueError: it has no contrast.
        """
        own = self.adapted
        prepared = named(name, prepare_image, query, own.transform)
        slices = named(name, normalise, prepared, own.transform, query)
        images = to_working_grid(slices, own.side)
        grid = working_geometry(prepared, own.side)
        del slices, prepared
        shares = organ_shares(own.network, images, self.slices_at_once)
        confidence = confidence_of(own.network, images, shares, own.reference, grid.GetSpacing()[::-1])
        if self.clean_up:
            keep_largest_pieces(shares)

        found = {label: shares[:, 1 + own.labels.index(label)].numpy() for label in self.labels}
        maps = ProbabilityMaps(self.labels, lambda label: back_to_scan(found[label], grid, query))
        labels = labels_on_scan(found, grid, query)
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(query)
        trusted = {label: confidence[own.labels.index(label)] for label in self.labels}
        bounds = {label: self._lower_bound(label, trusted[label]) for label in self.labels}
        known = {label: bound for label, bound in bounds.items() if bound is not None}
        return Segmentation(labels, maps, trusted, image, known)

    def _lower_bound(self, label: int, confidence: float) -> float | None:
        errors = self.adapted.reference.errors
        return lower_bound(confidence, errors[self.adapted.labels.index(label)]) if errors else None
