"""Adapting a network to annotated scans: from images with masks to an adapted network, with progress."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from Stage1.files import expect_writable
from Stage2.adaptation.adapt import adapt_slices, side_for
from Stage2.adaptation.confidence import Reference
from Stage2.adaptation.network_file import ADAPTED, own_at, write_network
from Stage2.adaptation.settings import MINUTES, AdaptationSettings, identity_of_start, starting_file
from Stage2.adaptation.training import Progress
from Stage2.adaptation.working_grid import (
    AnnotatedSlices,
    choose_side,
    labels_on_working_grid,
    to_working_grid,
    working_geometry,
)
from Stage2.datasets.volumes import pooled_statistics
from Stage2.inference.adapted_predictor import Adapted
from Stage2.inference.examples import (
    UNKNOWN,
    Example,
    has_unknown,
    is_whole,
    known_slices,
    labels_of,
    reaching,
    spreads_of,
    volumes_of,
)
from Stage2.inference.feature_cache import hash_of
from Stage2.inference.predictor import Scan, Support, as_image, check_labels, mask_image, named, on_grid
from Stage2.inference.transform import (
    ScanTransform,
    normalise,
    prepare_image,
    prepare_masks,
    scan_transform,
)  # fmt: skip
from Stage2.io.axes import upright
from Stage2.io.text import plain
from Stage2.preparation.steps.normalise import MR_SPACING, SLICE_SIZE

THINNEST_MR, THICKEST_MR = 2.5, 10.0  # mm between slices of an MR that are kept as they are
LARGEST_PIXEL = 2.0  # mm, of an MR whose slices are wider than the usual 320 mm


def adapt_network(
    examples: Sequence[Example], labels: Sequence[int], transform: ScanTransform, start: str | Path,
    settings: AdaptationSettings, *, unlabelled: Sequence[tuple[str, sitk.Image]] = (),
    state_file: Path | None = None, identity: Mapping[str, Any] | None = None, device: torch.device | str = "cpu",
    report: Callable[[Progress], None] = lambda progress: None,
) -> Adapted:  # fmt: skip
    """Adapt a network to annotated scans.

    Args:
        examples: annotated scans.
        labels: to segment, as numbered in the masks.
        transform: how scans are prepared; what it leaves open follows from the examples.
        start: "random", or a file of weights.
        settings: budget, seed and method.
        unlabelled: scans whose labels nobody knows, with their names.
        state_file: where the state is kept on the way, and goes on from.
        identity: what decides the result, as plain values; None: hashes of what is given.
        device: where the network runs.
        report: called after every step.

    Returns:
        the adapted network; `described["finished"]` tells whether its budget was used: not after an interruption.

    Raises:
        FileNotFoundError, ValueError: what does not fit, in one sentence.
        OSError: the state cannot be written.
    """
    own_side = side_for(start, settings.encoder)
    if settings.side is not None and own_side not in (None, settings.side):
        raise ValueError(
            f"side {settings.side}: the encoder sees {own_side} x {own_side} pixels and no others; leave the side out."
        )
    supports = [on_grid(one.support) for one in examples]
    labels = check_labels(labels, supports)
    transform = _completed(transform, supports)
    images = [named(own.name, prepare_image, own.scan, transform) for own in supports]
    examples = [
        reaching(replace(one, support=own), labels, transform) for one, own in zip(examples, supports, strict=True)
    ]
    supports = [one.support for one in examples]
    if transform.modality == "CT" and transform.statistics is None:
        transform = replace(
            transform, statistics=pooled_statistics(sitk.GetArrayViewFromImage(image) for image in images)
        )
    slices = [
        named(own.name, normalise, image, transform, own.scan) for own, image in zip(supports, images, strict=True)
    ]
    masks = [prepare_masks(own.mask, labels, image, transform) for own, image in zip(supports, images, strict=True)]
    for label in labels:
        if not any(own[label].any() for own in masks):
            raise ValueError(
                f"label {label} is gone after preparation of {supports[0].mask_name}: it is smaller than a voxel of "
                "the network, or outside the pixels looked at; annotate more, or crop the scan."
            )
    side = settings.side or own_side or choose_side(masks)
    scans = []
    for example, voxels, mask, image in zip(examples, slices, masks, images, strict=True):

        def prepared(marks: sitk.Image, value: int = 1, image: sitk.Image = image) -> np.ndarray:
            return prepare_masks(marks, [value], image, transform)[value]

        known = known_slices(example, labels, prepared, transform.axes)
        ignored = prepared(example.support.mask, UNKNOWN) if has_unknown(example, labels) else None
        labelled = labels_on_working_grid(mask, side, known, ignored)
        scans.append(AnnotatedSlices(example.support.name, to_working_grid(voxels, side), *labelled))
    for place, label in enumerate(labels, start=1):
        if not any((own.labels == place).any() for own in scans):  # it would be learned as absent
            raise ValueError(
                f"label {label} is in no annotated slice of {', '.join(own.name for own in supports)}; annotate one "
                "that shows it, or leave it out of the labels."
            )
    others = [_unlabelled(name, scan, transform, side) for name, scan in unlabelled] if settings.self_training else []
    identity = plain(
        identity
        or {
            "start": identity_of_start(start),
            "settings": asdict(settings),
            "labels": list(labels),
            "scans": [hash_of(own.images.numpy(), own.labels.numpy(), own.known.numpy()) for own in scans],
            "unlabelled": [hash_of(own.numpy()) for own in others],
        }
    )
    found = adapt_slices(
        scans, len(labels), start, settings, unlabelled=others, state_file=state_file, identity=identity,
        device=device, report=report,
    )  # fmt: skip
    described = {
        "identity": identity,
        "settings": asdict(settings),
        "start": str(start),
        "steps": found.steps,
        "minutes": round(found.minutes, 3),
        "finished": found.finished,
        "supports": [{"scan": own.name, "mask": own.mask_name} for own in supports],
        "unlabelled_scans": len(others),
    }
    whole = [n for n, one in enumerate(examples) if is_whole(one, labels)]
    spacings = [working_geometry(images[n], side).GetSpacing()[::-1] for n in whole]
    drawn = [scans[n].labels for n in whole]
    reference = Reference(
        tuple(volumes_of(label, [supports[n] for n in whole]) for label in labels),
        tuple(() for _ in labels),
        tuple(spreads_of(organ, drawn, spacings) for organ in range(1, len(labels) + 1)),
    )
    return Adapted(found.network, labels, transform, side, reference, described)


def adapt(
    supports: Sequence[tuple[Scan, sitk.Image | np.ndarray]], labels: Sequence[int] | None = None, *,
    modality: str = "MR", transform: ScanTransform | None = None, minutes: float | None = None,
    steps: int | None = None, start: str | Path | None = None, unlabelled: Sequence[Scan] = (),
    annotated: Sequence[Sequence[int] | str | None] = (), out: str | Path | None = None, seed: int = 1234,
    device: torch.device | str = "cpu", report: Callable[[Progress], None] = lambda progress: None,
) -> Adapted:  # fmt: skip
    """Adapt a network to annotated scans; `AdaptedPredictor(adapted).segment(query)` then needs none of them.

    Args:
        supports: scans, as images or as arrays (Z, H, W) with their spacing along Z, H, W in mm, with their masks of
            whole numbers: images, or arrays.
        labels: to segment, as numbered in the masks; None: all that they show.
        modality: "MR" or "CT".
        transform: how scans are prepared; None: by the modality.
        minutes: of processor time; None, without `steps`: 3.
        steps: of the optimiser, in place of minutes.
        start: "random", a snapshot, a file of weights, or an adapted network to go on with; None: the starting network.
        unlabelled: scans without masks, to learn from too.
        annotated: for every support, its annotated slices, see `Example`; empty: all of all.
        out: .safetensors file to write, over an adapted network alone; None: nothing is written.
        seed: of all that is random.
        device: where the network runs.
        report: called after every step.

    Raises:
        FileNotFoundError, ValueError: what does not fit, in one sentence.
        OSError: the file cannot be written.
    """
    if out is not None:
        own_at(Path(out))
        expect_writable(Path(out).parent)
    transform = transform or scan_transform(modality)
    if annotated and len(annotated) != len(supports):
        raise ValueError(f"{len(annotated)} entries of annotated for {len(supports)} supports; give one for each.")
    examples = []
    for (scan, mask), own in zip(supports, annotated or [None] * len(supports), strict=True):
        image = as_image(scan, transform.axes)
        examples.append(Example(Support(image, mask_image(mask, image)), own))
    if labels is None:
        labels = labels_of(examples)
    given = MINUTES if minutes is None and steps is None else minutes
    adapted = adapt_network(
        examples, labels, transform, starting_file(start), AdaptationSettings(minutes=given, steps=steps, seed=seed),
        unlabelled=[(f"unlabelled scan {n}", as_image(scan, transform.axes)) for n, scan in enumerate(unlabelled, 1)],
        device=device, report=report,
    )  # fmt: skip
    if out is not None:
        write_network(Path(out), ADAPTED, adapted.network, adapted.description())
    return adapted


def _unlabelled(name: str, scan: sitk.Image, transform: ScanTransform, side: int) -> Tensor:
    image = named(name, prepare_image, scan, transform)
    return to_working_grid(named(name, normalise, image, transform, scan), side)


def _completed(transform: ScanTransform, supports: Sequence[Support]) -> ScanTransform:
    """Voxel size where nothing names it: slices of an MR stay as thick as the examples', within limits."""
    if transform.prepared or transform.spacing is not None or transform.modality != "MR":
        return transform
    spacings, widths = [], []
    for own in supports:
        image = upright(own.scan, transform.axes)
        spacings.append(image.GetSpacing()[2] if image.GetDepth() > 1 else MR_SPACING[2])
        widths.append(max(side * step for side, step in zip(image.GetSize()[:2], image.GetSpacing()[:2], strict=True)))
    pixel = float(np.clip(max(widths) / SLICE_SIZE[0], MR_SPACING[0], LARGEST_PIXEL))
    thickness = float(np.clip(np.median(spacings), THINNEST_MR, THICKEST_MR))
    return replace(transform, spacing=(pixel, pixel, thickness))
