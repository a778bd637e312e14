"""Pages that need nothing besides themselves: a template filled in, and figures as pictures within it."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure


def render_page(template: Path, **values: Any) -> str:
    """Fill in a template of jinja2; texts are shown as text, whatever markup is in them.

    Args:
        template: The file.
        **values: What it names.

    Raises:
        jinja2.UndefinedError: If it names something else.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values)


def as_svg(figure: Figure) -> str:
    """Return a figure as the address of a picture that a page holds itself."""
    buffer = io.BytesIO()
    # The same figure is then the same file.
    with mpl.rc_context({"svg.hashsalt": "textgym"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
