"""Writes an adapted network as an ONNX file with a description; both appear only after the file was found equal."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED
from Stage2.adaptation.working_grid import to_working_grid, with_neighbours
from Stage2.export.comparison import SLICES_AT_ONCE, drawn_slices, largest_difference, open_session
from Stage2.export.onnx_files import DESCRIPTION_FILE, OPSET, appearing, normalisation_of, versions, write_graph
from Stage2.inference.adapted_predictor import Adapted
from Stage2.inference.transform import CT_MATRIX, CT_PIXEL, CT_THICKNESS, CT_THINNEST, ScanTransform
from Stage2.io.axes import MAX_TILT
from Stage2.preparation.steps.normalise import (
    CT_BORDER,
    CT_COARSENING,
    CT_WINDOW,
    MR_PERCENTILE,
    MR_SPACING,
    SLICE_SIZE,
)

NETWORK_FILE = "network.onnx"
TOLERANCES = (1e-4, 1e-4)  # of probabilities, and of the share of mask pixels that are of another class


class Probabilities(nn.Module):
    """A network with its last step: images (B, 3, S, S) -> probabilities (B, 1 + organs, S, S)."""

    def __init__(self, network: AdaptedNetwork):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).softmax(dim=1)


@dataclass(frozen=True)
class NetworkComparison:
    """How far an exported file is from the network.

    Attributes:
        slices: number of slices.
        probability_difference: largest one.
        changed_mask_pixels: share of the pixels that are of another class.
    """

    slices: int
    probability_difference: float
    changed_mask_pixels: float

    def __str__(self) -> str:
        return (
            f"{self.slices} slices: probabilities differ by at most {self.probability_difference:.1e}, and "
            f"{self.changed_mask_pixels:.2g} of the mask pixels"
        )


def export_adapted(adapted: Adapted, folder: Path, *, name: str | None = None) -> NetworkComparison:
    """Write `network.onnx` and `model.json` after comparing the file with the network on drawn slices.

    Args:
        adapted: the network, on the CPU.
        folder: where the files go; made if absent, and files of an earlier export in it are replaced.
        name: of its file, for the description.

    Raises:
        ValueError: the file gives something else than the network; nothing is written then.
        OSError: the files cannot be written.
    """
    module = Probabilities(adapted.network).eval()
    images = to_working_grid(drawn_slices().images, adapted.side)
    graph = graph_of(adapted)
    with appearing(folder) as written:
        write_graph(module, written / NETWORK_FILE, graph)
        comparison = compare_network(module, written / NETWORK_FILE, images)
        described = describe_adapted(adapted, graph, comparison, name)
        (written / DESCRIPTION_FILE).write_text(json.dumps(described, indent=2, allow_nan=False) + "\n")
    return comparison


def graph_of(adapted: Adapted) -> dict[str, dict[str, list]]:
    """Names and sizes of input and output; B slices."""
    side, classes = adapted.side, 1 + len(adapted.labels)
    return {"inputs": {"images": ["B", 3, side, side]}, "outputs": {"probabilities": ["B", classes, side, side]}}


def compare_network(module: Probabilities, path: Path, images: Tensor) -> NetworkComparison:
    """Run both implementations on the same slices, in batches of several sizes.

    Args:
        module: in evaluation mode on the CPU.
        path: the exported file.
        images: (Z, S, S) normalised.

    Raises:
        ValueError: they differ by more than rounding does.
    """
    slices = with_neighbours(images, torch.arange(len(images)))
    batches = [slices[:1], *slices[1:].split(SLICES_AT_ONCE)]
    session = open_session(path)
    with torch.no_grad():
        expected = torch.cat([module(batch) for batch in batches]).numpy()
    found = np.concatenate([session.run(None, {"images": batch.numpy()})[0] for batch in batches])
    changed = float((found.argmax(axis=1) != expected.argmax(axis=1)).mean())
    differences = (largest_difference(np.abs(found - expected)), changed)
    if any(value > allowed for value, allowed in zip(differences, TOLERANCES, strict=True)):
        shown, allowed = (", ".join(f"{value:.1e}" for value in values) for values in (differences, TOLERANCES))
        raise ValueError(
            f"the exported file differs from the network by {shown} (probabilities; share of mask pixels); allowed are "
            f"{allowed}. Nothing was written: use the versions of requirements.txt."
        )
    return NetworkComparison(len(slices), *differences)


def describe_adapted(adapted: Adapted, graph: dict, comparison: NetworkComparison, name: str | None) -> dict:
    """Content of `model.json`: what a program has to know that runs the file."""
    names = adapted.described.get("names") or [f"label {label}" for label in adapted.labels]
    classes = [(0, "background"), *zip(adapted.labels, names, strict=True)]
    return {
        "kind": ADAPTED, "encoder": adapted.network.encoder_name, "adapted": name, "sha256": adapted.identity,
        "files": {NETWORK_FILE: graph}, "type": "float32", "side": adapted.side,
        "channels": ["slice below", "slice", "slice above"],
        "beyond_the_ends": "the first slice stands for the one below it, the last slice for the one above it",
        "classes": [
            {"channel": channel, "label": label, "name": own} for channel, (label, own) in enumerate(classes)
        ],
        "preparation": describe_preparation(adapted.transform, adapted.side),
        "mask": {
            "pieces": "of the pixels where an organ is the most probable class, the largest piece stays (pixels that "
            "share a corner hold together, slices too); in the other pieces its probability becomes 0",
            "to_the_scan": "probabilities are interpolated linearly at the voxels of the scan, 0 outside",
            "label": "that of the most probable organ where its probability is above one half, else 0",
        },
        "checked": asdict(comparison), "opset": OPSET, "versions": versions(),
    }  # fmt: skip


def describe_preparation(transform: ScanTransform, side: int) -> dict:
    """How a scan becomes slices for the network: the settings, and the steps in their order."""
    width, height = SLICE_SIZE
    described = {
        "modality": transform.modality, "axes": transform.axes, "spacing": transform.spacing,
        "normalisation": normalisation_of(transform.statistics),
    }  # fmt: skip
    end = [
        f"slices cropped or padded about their centre to {width} x {height} pixels, with the volume's minimum",
        "normalised: minus the mean, divided by the deviation",
        f"slices resized to {side} x {side} pixels, bilinear with anti-aliasing",
    ]
    stored = transform.axes == "stored"
    turned = "axes as they lie in the file" if stored else f"axes exchanged and flipped to {transform.axes}"
    if transform.prepared:
        return {**described, "steps": [turned, "the scan is prepared already", *end[1:]]}
    spacing, cut = transform.spacing, []
    if transform.modality == "MR":
        intensities = f"values above percentile {MR_PERCENTILE} of the volume set to it"
        spacing = spacing or MR_SPACING
    else:
        low, high = CT_WINDOW
        intensities = f"clipped to {low:g} to {high:g} HU; what is left stretched linearly to 0 to 255"
    if spacing is None:
        columns, rows = CT_MATRIX
        cut = [f"slices of {columns} x {rows} pixels: {CT_BORDER} pixels cut off each border"]
        voxels = (
            f"pixels {CT_COARSENING} times as wide as the scan's where it had {columns} x {rows}, else {CT_PIXEL} mm; "
            f"slices as far apart as they are from {CT_THINNEST} mm up, else {CT_THICKNESS} mm"
        )
    else:
        voxels = f"voxels of {' x '.join(f'{step:g}' for step in spacing)} mm (columns, rows, slices)"
    tilted = [] if stored else [f"resampled to straight axes where they are tilted by more than {MAX_TILT:g} degrees"]
    linear = f"resampled linearly, 0 outside, from the first voxel on, to {voxels}; a single slice keeps its thickness"
    blank = "the last slice left out where it is 0 everywhere"
    return {**described, "steps": [intensities, turned, *tilted, *cut, linear, end[0], blank, *end[1:]]}
