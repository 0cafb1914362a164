"""Segment a scan from annotated examples, on its own grid, with a confidence: Stage 2 as a function."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk

from Stage2.datasets.volumes import pooled_statistics
from Stage2.inference.feature_cache import FeatureCache, hash_of
from Stage2.inference.label_maps import labels_on_scan
from Stage2.inference.lazy import ProbabilityMaps
from Stage2.inference.masks import labels_in, mask_on_scan
from Stage2.inference.network import Network, normalised_by_volume, training_statistics
from Stage2.inference.transform import (
    ScanTransform,
    back_to_scan,
    normalise,
    prepare_image,
    prepare_masks,
)  # fmt: skip
from Stage2.io.axes import DEFAULT_AXES, STORED, direction_of, slice_axis
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.segmentation.clean_up import clean_label_map
from Stage2.segmentation.matching import body_extent
from Stage2.segmentation.method import Method
from Stage2.segmentation.scans import PreparedScan, encode_slices, label_map, organ_probability, reverse_dice

Array = np.ndarray
Scan = sitk.Image | tuple[Array, Sequence[float]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Support:
    """An annotated scan.

    Attributes:
        scan: 3D, one value per voxel.
        mask: whole numbers on the grid of the scan, 0 is background.
        name: for messages.
        mask_name: for messages.
    """

    scan: sitk.Image
    mask: sitk.Image
    name: str = "the support scan"
    mask_name: str = "its mask"


@dataclass(frozen=True)
class Segmentation:
    """What was found in a query.

    Attributes:
        labels: (Z, H, W) on the query's own grid, values as in the support masks.
        probabilities: label -> (Z, H, W) float32 on the same grid, before any clean-up.
        confidence: label -> how far to trust the mask, in [0, 1]: by prototypes the Dice of the reverse segmentation,
            by an adapted network the Dice that it expects.
        image: `labels` as an image with the query's geometry.
        lower_bounds: label -> Dice that four masks of five reach, where enough examples were given to know.
    """

    labels: Array
    probabilities: Mapping[int, Array]
    confidence: Mapping[int, float]
    image: sitk.Image = field(repr=False)
    lower_bounds: Mapping[int, float] = field(default_factory=dict)


class Predictor:
    """A network with its supports, ready for queries; each support is encoded once.

    Args:
        network: from `load_network`.
        supports: annotated scans.
        labels: to segment, as numbered in the masks.
        transform: how the network's training scans were prepared.
        method: how queries are segmented.
        clean_up: keep the largest piece of each organ and fill its holes.
        cache: of support features.

    Raises:
        ValueError: no support shows a label, grids differ, or a scan has no contrast or a support no background.
    """

    def __init__(
        self,
        network: Network,
        supports: Sequence[Support],
        labels: Sequence[int],
        transform: ScanTransform,
        method: Method | None = None,
        *,
        clean_up: bool = False,
        cache: FeatureCache | None = None,
    ):
        self.network, self.method, self.clean_up = network, method or Method(), clean_up
        supports = [on_grid(one) for one in supports]
        self.labels = check_labels(labels, supports)
        self._cache = cache or FeatureCache(None)
        images = [named(support.name, prepare_image, support.scan, transform) for support in supports]
        if transform.modality == "CT" and transform.statistics is None and not normalised_by_volume(network):
            transform = replace(transform, statistics=self._ct_statistics(images))
        self.transform = transform
        self.supports = []
        for support, image in zip(supports, images, strict=True):
            masks = prepare_masks(support.mask, self.labels, image, transform)
            self.supports.append(self._prepared(support.name, support.scan, image, masks, self._cache))
        for label in self.labels:
            if not self._showing(label):
                raise ValueError(
                    f"label {label} is gone after preparation of {supports[0].mask_name}: it is smaller than a voxel "
                    "of the network, or outside the 256 x 256 pixels looked at; annotate more, or crop the scan."
                )

    def segment(self, query: sitk.Image, name: str = "the query") -> Segmentation:
        """Segment one query; no label of it exists.

        Raises:
            ValueError: it has no contrast, or a support shows nothing but organ.
        """
        prepared = named(name, prepare_image, query, self.transform)
        scan = self._prepared(name, query, prepared, {}, FeatureCache(None))
        size = prepared.GetSize()[1::-1]
        try:
            found = {
                label: organ_probability(self.network.model, scan, self._showing(label), label, self.method, size)
                for label in self.labels
            }
        except DegenerateEpisodeError as error:
            raise ValueError(f"a support slice shows nothing but organ: {error}; annotate another scan.") from error
        network_labels = label_map(found)
        predicted = replace(scan, masks={label: network_labels == label for label in self.labels})
        confidence = {
            label: reverse_dice(self.network.model, predicted, self._showing(label), label, self.method, size)
            for label in self.labels
        }
        probabilities = ProbabilityMaps(self.labels, lambda label: back_to_scan(found[label], prepared, query))
        labels = labels_on_scan(found, prepared, query)
        if self.clean_up:
            labels = clean_label_map(labels, slice_axis(query, self.transform.axes))
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(query)
        return Segmentation(labels, probabilities, confidence, image)

    def _showing(self, label: int) -> list[PreparedScan]:
        return [support for support in self.supports if support.masks[label].any()]

    def _prepared(
        self, name: str, scan: sitk.Image, image: sitk.Image, masks: Mapping[int, Array], cache: FeatureCache
    ) -> PreparedScan:
        slices = named(name, normalise, image, self.transform, scan)
        model = self.network.model
        key = hash_of(self.network.identity, slices)
        features = cache.features(key, lambda: encode_slices(model, slices, self.method.slices_at_once))
        extent = (0, len(slices) - 1)
        if self.method.matching == "position":
            extent = body_extent(sitk.GetArrayFromImage(image), self.transform.foreground_threshold)
        return PreparedScan(name, features.to(next(model.parameters()).device), extent, masks)

    def _ct_statistics(self, images: Sequence[sitk.Image]):
        known = training_statistics(self.network)
        if known is not None:
            return known
        logger.warning("mean and deviation of the CT of training are not known; those of the supports are taken")
        return pooled_statistics(sitk.GetArrayViewFromImage(image) for image in images)


def as_image(scan: Scan, axes: str = DEFAULT_AXES) -> sitk.Image:
    """A scan with its geometry; an array gets the axes of training and lies at the origin.

    Raises:
        ValueError: not 3D, colours, values that are no real numbers or not finite, or no three positive spacings.
    """
    if isinstance(scan, sitk.Image):
        if scan.GetDimension() != 3 or scan.GetNumberOfComponentsPerPixel() != 1:
            raise ValueError(
                f"an image of {scan.GetDimension()} dimensions with {scan.GetNumberOfComponentsPerPixel()} value(s) "
                "per voxel; expected a 3D volume with one value per voxel."
            )
        image = scan
    else:
        voxels, spacing = scan
        if voxels.ndim != 3 or len(spacing) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing):
            raise ValueError(
                f"an array of shape {voxels.shape} with spacing {tuple(spacing)}; expected (Z, H, W) and three "
                "positive numbers of mm."
            )
        image = _image_of(voxels)
        image.SetSpacing([float(step) for step in spacing[::-1]])
        image.SetDirection(direction_of(DEFAULT_AXES if axes == STORED else axes).flatten().tolist())
    wrong = np.count_nonzero(~np.isfinite(sitk.GetArrayViewFromImage(image)))
    if wrong:
        raise ValueError(f"the scan has {wrong} voxel(s) that are not finite; replace them by numbers.")
    return image


def on_grid(support: Support) -> Support:
    """The support with its mask on the grid of its scan; raises as `mask_on_scan`."""
    return replace(support, mask=mask_on_scan(support.mask, support.scan, support.mask_name, support.name))


def check_labels(labels: Sequence[int], supports: Sequence[Support]) -> tuple[int, ...]:
    """The labels, each once, which some mask must show.

    Raises:
        ValueError: no support, no label, or none of the masks shows a label.
    """
    if not supports:
        raise ValueError("no support was given; expected at least one annotated scan.")
    if not labels or not all(type(label) is int and 0 < label < 2**16 for label in labels):
        raise ValueError(f"labels {list(labels)}: expected whole numbers from 1 to 65535, as in the mask.")
    shown = sorted({label for support in supports for label in labels_in(support.mask)})
    missing = [label for label in labels if label not in shown]
    if missing:
        raise ValueError(
            f"label {missing[0]} is not in {supports[0].mask_name}; it holds {shown[:20]}: choose among those."
        )
    return tuple(dict.fromkeys(labels))


def mask_image(mask: sitk.Image | Array, scan: sitk.Image) -> sitk.Image:
    """A mask with its geometry; an array gets that of its scan.

    Raises:
        ValueError: its values are no real numbers.
    """
    if isinstance(mask, sitk.Image):
        return mask
    image = _image_of(mask)
    if image.GetSize() == scan.GetSize():
        image.CopyInformation(scan)
    return image


def _image_of(voxels: Array) -> sitk.Image:
    """An array of real numbers, (Z, H, W), of any type and order of bytes, as an image."""
    if voxels.dtype.kind not in "buif":
        raise ValueError(f"an array of {voxels.dtype}; expected real numbers.")
    kinds = {"bool": np.uint8, "float16": np.float32, "float128": np.float64}
    kind = kinds.get(voxels.dtype.name, voxels.dtype.newbyteorder("="))
    return sitk.GetImageFromArray(voxels.astype(kind, copy=False))


def named(name: str, step, *arguments):
    """Do a step of a scan; an error names it."""
    try:
        return step(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
