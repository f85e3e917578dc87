"""What all networks have in common, and what the register keeps of each."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen
from markupsafe import Markup

from cnnlab.pages import render


class Model(linen.Module):
    """A network; as the last line of a notebook's cell it says what it is made with."""

    def _repr_html_(self) -> str:
        names = [each.name for each in dataclasses.fields(self)]
        made_with = {
            name: _told(getattr(self, name)) for name in names if name not in ("parent", "name")
        }
        return render("model.html", kind=type(self).__name__, made_with=made_with)


def _told(value: Any) -> str:
    """A part of a network: a pattern by its text, a type or function by its name."""
    return getattr(value, "text", None) or getattr(value, "__name__", None) or repr(value)


class Network(NamedTuple):
    """`build(classes=..., dtype=..., ...)` makes the network that `source` describes.

    `input_shape` is the image (H, W, C) that the source gives it; the family's module says what
    other sizes it takes. Weights of an FC on a volume are for one size of that volume: they refuse
    another one, and say which images give theirs.
    """

    build: Callable[..., Model]
    input_shape: tuple[int, int, int]
    source: str

    def _repr_html_(self) -> str:
        return render("network.html", network=self, model=Markup(self.build()._repr_html_()))
