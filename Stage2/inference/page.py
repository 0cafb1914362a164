"""A page to look at a segmentation: one HTML file that holds everything, to scroll through slices in any browser."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import cv2
import numpy as np

from Stage2.inference.pictures import TRUTH_COLOUR, Pictures, colour_of, outline, overlay, rgb

JPEG_QUALITY = 88
SIDES = (("left", "R"), ("right", "L"))  # of the picture, and of the patient


def page_text(
    pictures: Pictures,
    names: Mapping[int, str],
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    facts: Mapping[str, str],
    warnings: Sequence[str] = (),
    radiological: bool = True,
) -> str:
    """The HTML of a page.

    Args:
        pictures: of the scan.
        names: label -> name, in the order of the colours.
        title: of the page.
        header: of the table.
        rows: of the table, one for each label.
        facts: what was done with what, below the table.
        warnings: lines to be seen first.
        radiological: the slices are turned as radiologists see them, so the sides of the patient are marked.
    """
    layers = [
        {
            "kind": "layer",
            "name": name,
            "colour": colour_of(list(names), label),
            "slices": [_layer(one == label, colour_of(list(names), label)) for one in pictures.labels],
        }
        for label, name in names.items()
    ]
    if pictures.truth is not None:
        drawn = [_truth_layer(one, list(names)) for one in pictures.truth]
        layers.append({"kind": "truth", "name": "drawn by an expert", "colour": TRUTH_COLOUR, "slices": drawn})
    data = {"grey": [_encoded(one, ".jpg") for one in pictures.grey], "layers": layers}
    depth, height, width = pictures.grey.shape
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        width=width,
        height=height,
        depth=depth,
        last=depth - 1,
        start=_fullest_slice(pictures.labels),
        profile=_profile(pictures.labels, list(names)),
        corners="".join(f'<span style="{side}:8px;top:47%">{letter}</span>' for side, letter in SIDES if radiological),
        warnings="".join(f'<p class="warning" role="alert">{html.escape(line)}</p>' for line in warnings),
        table=_table(header, rows, [colour_of(list(names), label) for label in names]),
        facts="".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in facts.items()),
        data=json.dumps(data).replace("</", "<\\/"),
    )


def _fullest_slice(labels: np.ndarray) -> int:
    areas = np.count_nonzero(labels, axis=(1, 2))
    return int(areas.argmax()) if areas.any() else len(labels) // 2


def _profile(labels: np.ndarray, order: Sequence[int]) -> str:
    """Area of every label over the slices, each as one stepped line, as SVG."""
    areas = {label: np.count_nonzero(labels == label, axis=(1, 2)) for label in order}
    largest = max(1, *(area.max() for area in areas.values()))
    lines = []
    for label, area in areas.items():
        heights = 96 - 90 * area / largest
        points = " ".join(f"{z},{y:.1f} {z + 1},{y:.1f}" for z, y in enumerate(heights))
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{colour_of(order, label)}" stroke-width="2" '
            'vector-effect="non-scaling-stroke"/>'
        )
    return "".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = ""
    for row, colour in zip(rows, colours, strict=True):
        first, *others = (html.escape(cell) for cell in row)
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        body += f'<tr><td><span class="swatch" style="background:{colour}"></span>{first}</td>{cells}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _layer(mask: np.ndarray, colour: str) -> str:
    return _encoded(overlay(mask, colour)[..., [2, 1, 0, 3]], ".png") if mask.any() else ""


def _truth_layer(truth: np.ndarray, labels: Sequence[int]) -> str:
    edges = np.zeros(truth.shape, dtype=bool)
    for label in labels:
        edges |= outline(truth == label)
    if not edges.any():
        return ""
    layer = np.zeros((*truth.shape, 4), dtype=np.uint8)
    layer[edges] = [*rgb(TRUTH_COLOUR), 255]
    return _encoded(layer, ".png")


def _encoded(picture: np.ndarray, kind: str) -> str:
    """Base64 of a picture, (H, W) or blue, green, red, opacity (H, W, 4), as .jpg or .png."""
    _, content = cv2.imencode(kind, picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == ".jpg" else [])
    return base64.b64encode(content.tobytes()).decode("ascii")
