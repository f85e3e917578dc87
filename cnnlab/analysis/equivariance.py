"""Equivariance: a convolution of a shifted image is the shifted convolution, but at the border.

N3 ("Convolutional layer"; Goodfellow et al. 2016, sec. 9.2): f(T x) = T f(x). Zero padding breaks
it: a neuron that sees the border knows where it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab.analysis.maps import feature_maps, size, view
from cnnlab.analysis.receptive_field import View
from cnnlab.analysis.shift import offsets


def equivariance_errors(
    model: linen.Module, variables: Mapping[str, Any], images: Array, layers: Sequence[str]
) -> dict[str, NDArray[np.floating]]:
    """How far f(T x) is from T f(x) at each place of the feature maps f of some layers: [H', W'].

    T shifts cyclically by one neuron, to each of the eight sides; an image by as many pixels as lie
    between two neurons. The root mean square over images, shifts and filters, over that of f.

    Args:
        model: made of `nn` layers.
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        layers: with feature maps, by their paths in the summary.

    Raises:
        ValueError: no such layer, or it has no feature map.
    """
    maps = jax.jit(lambda x: feature_maps(model, variables, x, layers))
    still = jax.device_get(maps(images))
    squares = {layer: np.zeros(f.shape[1:3]) for layer, f in still.items()}
    steps = {layer: _steps(view(model, variables, images, layer)) for layer in layers}
    for step in set(steps.values()):
        alike = [layer for layer in layers if steps[layer] == step]
        for by in offsets(1):
            moved = jax.device_get(maps(_rolled(images, np.multiply(by, step))))
            for layer in alike:
                error = moved[layer] - _rolled(still[layer], by)
                squares[layer] += (error**2).mean(axis=(0, 3)) / len(offsets(1))
    return {layer: _relative(squares[layer], still[layer]) for layer in layers}


def interior(
    model: linen.Module, variables: Mapping[str, Any], images: Array, layer: str
) -> NDArray[np.bool_]:
    """Which neurons of a layer see no border, before a shift by one neuron and after it: [H', W'].

    There a net of convolutions and poolings is equivariant however it pads.

    Raises:
        ValueError: no such layer, or it has no feature map.
    """
    height, width = (
        np.array([_inside(along, neuron, pixels) for neuron in range(neurons)])
        for along, neurons, pixels in zip(
            view(model, variables, images, layer),
            size(model, variables, images, layer),
            images.shape[1:3],
            strict=True,
        )
    )
    return np.logical_and.outer(height, width)


def _relative(squares: NDArray[np.floating], maps: NDArray[np.floating]) -> NDArray[np.floating]:
    """The root of squared errors [H', W'] over that of the maps' own squares; 0 of dead maps."""
    return np.sqrt(squares / ((maps**2).mean() or 1))


def _inside(along: View, neuron: int, pixels: int) -> bool:
    return along.pixels(neuron - 1).start >= 0 and along.pixels(neuron + 1).stop <= pixels


def _steps(views: tuple[View, View]) -> tuple[int, int]:
    return int(views[0].step), int(views[1].step)


def _rolled(x: Any, by: Any) -> NDArray[Any]:
    """x [N, H, W, C] moved down and right, what leaves at one side coming in at the other."""
    return np.roll(x, by, axis=(1, 2))
