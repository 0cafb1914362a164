"""The report of one query: a page to scroll through and a sheet of slices, with the same numbers on both."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from Stage1.files import write_text
from Stage2.drawing.figures import Panel, montage_figure, save_figure
from Stage2.drawing.masks import EXPERT, colour_of, encoded, outline, overlay, rgb
from Stage2.drawing.pages import embedded, render
from Stage2.evaluation.metrics import METRICS, heading
from Stage2.inference.outputs import Outputs
from Stage2.inference.pictures import Pictures, slices_to_show
from Stage2.io.axes import STORED
from Stage2.reporting.tables import UNDEFINED, Table

HEADINGS = {"volume_ml": "volume (ml)", "confidence": "confidence"}


def write_report(
    outputs: Outputs, pictures: Pictures, labels: Mapping[int, Mapping], facts: Mapping[str, str],
    warnings: Sequence[str], axes: str,
) -> None:  # fmt: skip
    """Write <query>.html and <query>.png.

    Args:
        outputs: of the query.
        pictures: of its slices.
        labels: label -> its record: name, volume, confidence, and scores where there is a ground truth.
        facts: what was done with what.
        warnings: lines to be seen first.
        axes: of the transform.
    """
    names = {label: entry["name"] for label, entry in labels.items()}
    headings = HEADINGS | ({} if pictures.truth is None else {name: heading(name) for name in METRICS})
    rows = [[entry["name"], *(number(entry[column]) for column in headings)] for entry in labels.values()]
    title = f"{outputs.query.name}: {', '.join(names.values())}"
    table = Table("", "", ["label", *headings.values()], rows)
    write_text(outputs.page, page_text(pictures, names, title, table, facts, warnings, axes != STORED))
    shown = ["confidence", *(["dice"] if pictures.truth is not None else [])]
    lines = [
        f"{entry['name']}: " + ", ".join(f"{headings[column]} {number(entry[column])}" for column in shown)
        for entry in labels.values()
    ]
    save_figure(montage_of(pictures, names, "\n".join([outputs.query.name, ";  ".join(lines)])), outputs.montage)


def page_text(
    pictures: Pictures, names: Mapping[int, str], title: str, table: Table, facts: Mapping[str, str],
    warnings: Sequence[str] = (), radiological: bool = True,
) -> str:  # fmt: skip
    """The HTML of a page.

    Args:
        pictures: of the scan.
        names: label -> name, in the order of the colours.
        title: of the page.
        table: a row for each label.
        facts: what was done with what, below the table.
        warnings: lines to be seen first.
        radiological: the slices are turned as radiologists see them, so the sides of the patient are marked.
    """
    colours = {label: colour_of(place) for place, label in enumerate(names, start=1)}
    layers = [
        {
            "kind": "layer", "name": name, "colour": colours[label],
            "slices": [_layer(overlay(one == label, colours[label])) for one in pictures.labels],
        }
        for label, name in names.items()
    ]
    if pictures.truth is not None:
        drawn = [_layer(_expert_layer(one, names)) for one in pictures.truth]
        layers.append({"kind": "truth", "name": "drawn by an expert", "colour": EXPERT, "slices": drawn})
    depth, height, width = pictures.grey.shape
    areas = np.count_nonzero(pictures.labels, axis=(1, 2))
    return render(
        "page.html", title=title, width=width, height=height, depth=depth, radiological=radiological,
        start=int(areas.argmax()) if areas.any() else depth // 2, profile=_profile(pictures.labels, colours),
        warnings=warnings, content=table, swatches=list(colours.values()), facts=facts,
        data={"grey": [embedded(encoded(one, ".jpg"), "image/jpeg") for one in pictures.grey], "layers": layers},
    )  # fmt: skip


def montage_of(pictures: Pictures, names: Mapping[int, str], title: str):
    """The sheet of the slices that matter, with filled masks and, where there is a ground truth, its white outline."""
    labels, truth = (_numbered(voxels, names) for voxels in (pictures.labels, pictures.truth))
    chosen = slices_to_show(labels if truth is None else labels | truth)
    panels = [
        Panel(pictures.grey[z], None if truth is None else truth[z], labels[z], str(z + 1), window=(0, 255))
        for z in chosen
    ]
    return montage_figure(panels, list(names.values()), title)


def number(value: float) -> str:
    """Three digits that matter; a dash where a score is not defined."""
    if math.isnan(value):
        return UNDEFINED
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"


def _numbered(voxels: np.ndarray | None, names: Mapping[int, str]) -> np.ndarray | None:
    """A mask with its labels as class numbers 1, 2, ..., in as few bytes as the mask itself."""
    if voxels is None:
        return None
    numbers = np.zeros_like(voxels)
    for place, label in enumerate(names, start=1):
        numbers[voxels == label] = place
    return numbers


def _profile(labels: np.ndarray, colours: Mapping[int, str]) -> list[dict[str, str]]:
    """Area of every label over the slices, each as one stepped line."""
    areas = {label: np.count_nonzero(labels == label, axis=(1, 2)) for label in colours}
    largest = max(1, *(area.max() for area in areas.values()))
    return [
        {
            "points": " ".join(f"{z},{y:.1f} {z + 1},{y:.1f}" for z, y in enumerate(96 - 90 * area / largest)),
            "colour": colours[label],
        }
        for label, area in areas.items()
    ]


def _layer(layer: np.ndarray) -> str:
    return embedded(encoded(layer), "image/png") if layer.any() else ""


def _expert_layer(truth: np.ndarray, labels: Mapping[int, str]) -> np.ndarray:
    layer = np.zeros((*truth.shape, 4), dtype=np.uint8)
    for label in labels:
        layer[outline(truth == label)] = [*rgb(EXPERT), 255]
    return layer
