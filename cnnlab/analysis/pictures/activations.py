"""The volumes of a network, a column a layer: the notes' picture of a tiny VGG net."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cnnlab.analysis.pictures.picture import GREY, Picture, blank, named, show, stretched, tiles
from cnnlab.analysis.pictures.scores import draw_best
from cnnlab.analysis.summary import Row, summarize
from cnnlab.analysis.trace import activations as activations_of
from cnnlab.analysis.trace import spread
from cnnlab.errors import unknown

_MAPS = 10
"""Of each layer so many of its feature maps are drawn, the first ones."""

_LAYERS = 18
"""So many columns at most, unless layers are named."""

_LEFT_OUT = ("BN", "DROP", "LRN")


def activations(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Array,
    layers: Sequence[str] | None = None,
    label: int | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """The first image, ten feature maps of each layer as a column, and the best scores.

    The columns have each a scale of their own, black the least and white the most. N0's figure
    "The activations of an example ConvNet architecture".

    Args:
        model: made of `nn` layers, the last of which gives logits.
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them; the first is shown.
        layers: by their paths in the summary; if left out all but normalisations and dropout, and
            of a deep net some, evenly spaced.
        label: the image's right class, if it is known.
        names: of the classes; their numbers if left out.

    Returns:
        By the layers' paths what they put out, [H', W', K] or [K], and `probabilities` [classes].

    Raises:
        ValueError: no such layer; not as many names as classes.
    """
    image = jnp.asarray(images[:1])
    rows = summarize(model, image.shape[1:]).rows
    chosen = _usual(rows) if layers is None else _checked(layers, rows)
    outputs = jax.jit(lambda x: activations_of(model, variables, x))(image)
    found = {path: output[0].astype(jnp.float32) for path, output in outputs.items()}
    probabilities = np.asarray(jax.nn.softmax(found[rows[-1].path]))
    arrays = {row.path: np.asarray(found[row.path]) for row in chosen}
    figure = blank(3.0 + 0.55 * len(chosen), 6.0)
    widths = [2.2, *[1.0] * len(chosen), 2.6]
    axes = figure.subplots(1, len(widths), width_ratios=widths)
    show(axes[0], stretched(np.asarray(image[0])))
    axes[0].set_title("INPUT\n" + _size(rows[0]), fontsize=8)
    for column, row in zip(axes[1:-1], chosen, strict=True):
        _column(column, row, arrays[row.path])
    names = named(len(probabilities), names)
    axes[-1].set_box_aspect(0.8)
    draw_best(axes[-1], probabilities, names, label)
    axes[-1].set_title("scores" if label is None else f"scores (label: {names[label]})", fontsize=8)
    return Picture(figure, {**arrays, "probabilities": probabilities})


def _usual(rows: Sequence[Row]) -> list[Row]:
    return spread([row for row in rows[1:-1] if not row.notation.startswith(_LEFT_OUT)], _LAYERS)


def _checked(layers: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    known = {row.path: row for row in rows[1:]}
    for layer in layers:
        if layer not in known:
            raise ValueError(unknown("layer", layer, known))
    return [known[layer] for layer in layers]


def _column(axes: Axes, row: Row, output: NDArray[Any]) -> None:
    maps = np.atleast_3d(output) if output.ndim > 1 else output[None, None]
    tiles(
        axes,
        maps.transpose(2, 0, 1)[:_MAPS],
        across=1,
        vmin=float(output.min()),
        vmax=float(output.max()),
    )
    axes.set_anchor("N")
    axes.set_title(row.notation, fontsize=8, rotation=90)
    axes.text(0.5, -0.01, f"{row.path}\n{_size(row)}", transform=axes.transAxes, rotation=90,
              fontsize=6, color=GREY, ha="center", va="top")  # fmt: skip


def _size(row: Row) -> str:
    return "x".join(map(str, row.shape))
