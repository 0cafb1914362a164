"""The report of one query: a page to scroll through and a montage, with the same numbers on both."""

import math
from collections.abc import Mapping, Sequence

from Stage1.files import write_text
from Stage2.evaluation.metrics import METRICS, heading
from Stage2.inference.montage import montage_figure
from Stage2.inference.outputs import Outputs
from Stage2.inference.page import page_text
from Stage2.inference.pictures import Pictures
from Stage2.io.axes import STORED
from Stage2.reporting.figures import save_figure
from Stage2.reporting.tables import UNDEFINED

HEADINGS = {"volume_ml": "volume (ml)", "confidence": "confidence"}


def write_report(
    outputs: Outputs,
    pictures: Pictures,
    labels: Mapping[int, Mapping],
    facts: Mapping[str, str],
    warnings: Sequence[str],
    axes: str,
) -> None:
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
    header = ["label", *headings.values()]
    write_text(outputs.page, page_text(pictures, names, title, header, rows, facts, warnings, axes != STORED))
    shown = ["confidence", *(["dice"] if pictures.truth is not None else [])]
    lines = [
        f"{entry['name']}: " + ", ".join(f"{headings[column]} {number(entry[column])}" for column in shown)
        for entry in labels.values()
    ]
    figure = montage_figure(pictures, names, "\n".join([outputs.query.name, ";  ".join(lines)]))
    save_figure(figure, outputs.montage)


def number(value: float) -> str:
    """Three digits that matter; a dash where a score is not defined."""
    if math.isnan(value):
        return UNDEFINED
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
