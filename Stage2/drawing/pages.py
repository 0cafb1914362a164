"""HTML pages from templates: one file each, with everything in it, that opens without a network."""

import base64
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from Stage2.io.text import one_line


def render(template: str, **values: object) -> str:
    """A page of one of the templates beside this file; text that the values hold is shown as it is, never as HTML.

    Args:
        template: report.html or page.html.
        values: of its variables; `json` values go through the template's `tojson`, which no text can leave.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), undefined=StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True, finalize=_in_one_line,
    )  # fmt: skip
    environment.filters |= {"code": _code, "breakable": _breakable}
    return environment.get_template(template).render(values)


def embedded(content: bytes, kind: str) -> str:
    """A file as the address of a picture, such as of kind image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _in_one_line(value: object) -> object:
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _code(text: str) -> Markup:
    """Words in `` ` `` as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(one_line(text)))))


def _breakable(name: str) -> Markup:
    """A long name may go on in the next line after a slash or an underscore."""
    return Markup(re.sub(r"([/_])", r"\1<wbr>", _code(name)))
