"""A self-contained page, and the templates that pages are made from.

Everything that goes into a template is escaped, and what goes into a script goes through `tojson`,
which escapes as well: names that people choose cannot become markup. Every page forbids itself, by
its Content-Security-Policy, to load anything from anywhere.
"""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import jinja2

from cnnlab.files import write_whole

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("cnnlab.pages"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Page:
    """A whole HTML document; as the last line of a notebook's cell it is shown in a frame.

    Attributes:
        html: the document.
        height: of the frame in a notebook, in CSS pixels.
    """

    html: str = field(repr=False)
    height: int = 640

    def save(self, path: str | Path) -> Path:
        """Write the document to `path`, which is given back."""
        path = Path(path)
        write_whole(path, self.html)
        return path

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="page" srcdoc="{escape(self.html)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


def render(template: str, **values: Any) -> str:
    """The document made by a template of `templates/` from `values`, all of which it escapes."""
    return _TEMPLATES.get_template(template).render(**values)
