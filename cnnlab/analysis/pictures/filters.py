"""The filters of the first layer: the one layer whose weights can be looked at as images."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab.analysis.pictures.picture import GREY, NothingToShow, Picture, blank, tiles
from cnnlab.analysis.trace import first_convolution, layer_calls

_ACROSS = 8


def filters(model: linen.Module, variables: Mapping[str, Any], images: Array) -> Picture:
    """The filters of the first convolution, all on one scale; a bias is written below its filter.

    Of three channels a filter is shown in colour, grey being a weight of zero; of any other number
    its channels stand side by side, red above zero and blue below.

    Args:
        model: made of `nn` layers.
        variables: parameters and running statistics.
        images: [N, H, W, C], of which only the shape counts.

    Returns:
        Arrays `kernel` [F, F, C, K] and, if there is one, `bias` [K].

    Raises:
        NothingToShow: the network has no convolution on the image.
    """
    notation, arrays = _first_convolution(model, variables, images)
    kernel = arrays["kernel"]
    largest = float(np.abs(kernel).max()) or 1.0
    across = min(_ACROSS, kernel.shape[-1])
    rows = -(-kernel.shape[-1] // across)
    wide = 1 if kernel.shape[2] == 3 else kernel.shape[2]
    figure = blank(0.4 + 0.7 * across * wide, 0.45 + rows * (0.92 if "bias" in arrays else 0.72))
    axes = figure.add_subplot()
    edges = tiles(
        axes,
        _images(kernel, largest),
        across,
        room=0.4 if "bias" in arrays else 0.12,
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
    )
    for (x, y), bias in zip(edges, arrays.get("bias", ()), strict=False):
        axes.annotate(f"{bias:+.2f}", (x, y), (0, -2), textcoords="offset points", fontsize=6,
                      ha="center", va="top", color=GREY)  # fmt: skip
    axes.set_title(f"{notation}: first-layer filters, weights to ±{largest:.2f}", fontsize=9)
    return Picture(figure, arrays)


def _first_convolution(
    model: linen.Module, variables: Mapping[str, Any], images: Array
) -> tuple[str, dict[str, NDArray[Any]]]:
    """Its notation, and its kernel and bias."""
    with layer_calls() as calls:
        jax.eval_shape(lambda x: model.apply(variables, x, train=False), images)
    call = first_convolution(calls, images.shape[-1])
    if call is None:
        raise NothingToShow("the network has no convolution on the image")
    return call.layer.notation, {name: np.asarray(each) for name, each in call.params.items()}


def _images(kernel: NDArray[Any], largest: float) -> NDArray[Any]:
    """[F, F, C, K] -> [K, F, F, 3], or [K, F, C F]."""
    each = kernel.transpose(3, 0, 1, 2)
    if kernel.shape[2] == 3:
        return 0.5 + each / (2 * largest)
    number, size = each.shape[:2]
    return each.transpose(0, 1, 3, 2).reshape(number, size, -1)
