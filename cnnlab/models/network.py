"""What the register of networks keeps of each: how to build it, its input, its source."""

from collections.abc import Callable
from typing import NamedTuple

from flax import linen

from cnnlab.pages import render


class Network(NamedTuple):
    """`build(classes=..., dtype=..., ...)` makes the network that `source` describes.

    `input_shape` is the image (H, W, C) that the source gives it.
    """

    build: Callable[..., linen.Module]
    input_shape: tuple[int, int, int]
    source: str

    def _repr_html_(self) -> str:
        return render("network.html", network=self, model=self.build())
