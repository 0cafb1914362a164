"""Segment a scan in one call, by an adapted network or by prototypes of its supports."""

from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from Stage2.adaptation.network_file import names_adapted
from Stage2.inference.adapted_predictor import Adapted, AdaptedPredictor, load_adapted
from Stage2.inference.feature_cache import FeatureCache
from Stage2.inference.network import Network, load_network
from Stage2.inference.predictor import Array, Predictor, Scan, Segmentation, Support, as_image, mask_image
from Stage2.inference.transform import ScanTransform, scan_transform
from Stage2.segmentation.method import Method


def segment(
    query: Scan,
    supports: Sequence[tuple[Scan, sitk.Image | Array]],
    labels: Sequence[int],
    checkpoint: str | Path | Network | Adapted,
    *,
    modality: str = "MR",
    transform: ScanTransform | None = None,
    method: Method | None = None,
    clean_up: bool = False,
    cache: str | Path | None = None,
) -> Segmentation:
    """Segment a scan from annotated examples.

    Args:
        query: a SimpleITK image, or an array (Z, H, W) with its spacing along Z, H, W in mm. An array must have the
            axes of training: rows run to the front, columns to the left, slices to the head.
        supports: scans, in either form, with their masks of whole numbers: images, or arrays; none with an adapted
            network.
        labels: to segment, as numbered in the masks.
        checkpoint: snapshot of Stage 2, or a network that `load_network` gave: by prototypes of the supports; or what
            `Stage2.adapt` gave, or its file.
        modality: "MR" or "CT".
        transform: how the training scans were prepared; None: as the published data sets of the modality.
        method: how the query is segmented; None: the measured default.
        clean_up: keep the largest piece of each organ and fill its holes.
        cache: folder in which features of supports are kept between calls; None: they are not.

    Returns:
        labels and probabilities on the query's own grid, and a confidence for every label.

    Raises:
        FileNotFoundError, ValueError: what does not fit, in one sentence.
    """
    if isinstance(checkpoint, Adapted) or (not isinstance(checkpoint, Network) and names_adapted(Path(checkpoint))):
        adapted = checkpoint if isinstance(checkpoint, Adapted) else load_adapted(Path(checkpoint))
        if supports:
            raise ValueError("an adapted network needs no supports; leave them out, or adapt on with Stage2.adapt.")
        return AdaptedPredictor(adapted, labels).segment(as_image(query, adapted.transform.axes))
    network = checkpoint if isinstance(checkpoint, Network) else load_network(Path(checkpoint))
    transform = transform or scan_transform(modality)
    annotated = []
    for scan, mask in supports:
        image = as_image(scan, transform.axes)
        annotated.append(Support(image, mask_image(mask, image)))
    kept = FeatureCache(None if cache is None else Path(cache))
    predictor = Predictor(network, annotated, labels, transform, method, clean_up=clean_up, cache=kept)
    return predictor.segment(as_image(query, transform.axes))
