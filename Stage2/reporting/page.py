"""report.html: one file with everything in it, that opens without a network."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 82rem; margin: 0 auto;
  padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { margin: 2.4rem 0 .6rem; border-bottom: 2px solid #d9e2ec; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .2rem; overflow-wrap: anywhere; }
nav { background: #f0f4f8; padding: .7rem 1rem; border-radius: 6px; } nav a { margin-right: 1.2rem; }
a { color: #0b69a3; } .setting, .note, .lead { color: #52606d; margin: .2rem 0 .5rem; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .28rem .6rem; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td:first-child { white-space: normal; min-width: 3.5rem; } th { background: #f0f4f8; }
tr.strong td { font-weight: 600; border-top: 1px solid #9aa5b1; } td.missing { color: #ba2525; font-style: italic; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0; } code { font-size: .92em; }
details { margin: .4rem 0; } summary { cursor: pointer; color: #0b69a3; }
@media print { body { max-width: none; } h3 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


@dataclass
class Section:
    """A chapter of the page.

    Attributes:
        anchor: its name in links.
        title: its heading.
        parts: pieces of HTML, in order.
    """

    anchor: str
    title: str
    parts: list[str] = field(default_factory=list)


def render_page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """The whole page; sections without parts are left out."""
    sections = [section for section in sections if section.parts]
    links = "".join(f'<a href="#{section.anchor}">{html.escape(section.title)}</a>' for section in sections)
    bodies = (
        f'<section id="{section.anchor}">\n<h2>{html.escape(section.title)}</h2>\n'
        + "\n".join(section.parts)
        + "\n</section>"
        for section in sections
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{STYLE}</style></head>",
            f"<body><h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p><nav>{links}</nav>",
            *bodies,
            "</body></html>\n",
        ]
    )


def heading(text: str) -> str:
    """A heading below the section's."""
    return f"<h3>{html.escape(text)}</h3>"


def note(text: str) -> str:
    """A sentence in small type."""
    return f"<p class=note>{html.escape(text)}</p>"


def folded(summary: str, parts: Sequence[str]) -> str:
    """Parts that a click opens."""
    inner = "\n".join(parts)
    return f"<details><summary>{html.escape(summary)}</summary>\n{inner}\n</details>"


def chart(figure: Figure, alternative: str) -> str:
    """A drawing of lines and text, embedded as SVG."""
    stream = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return _image("image/svg+xml", stream.getvalue(), alternative)


def photograph(figure: Figure, alternative: str, dpi: int = 90) -> str:
    """A figure of slices, embedded as JPEG: noise of scans is many times larger as PNG."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    stream = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(stream, format="JPEG", quality=88)
    return _image("image/jpeg", stream.getvalue(), alternative)


def _image(kind: str, content: bytes, alternative: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(alternative)}" src="data:{kind};base64,{data}">'
