"""The effective receptive field: how much of what a neuron sees it heeds.

Luo et al. 2016 (arXiv 1701.04128): the gradient of a layer's centre neuron by the pixels is large
in the middle of the theoretical field and fades towards its edges.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab.analysis.maps import feature_maps, size, view

THRESHOLD = 1 - 0.9545
"""Of the largest value: what lies below is not counted. (Luo et al. 2016 take the centre's.)"""


def effective_field(
    model: linen.Module, variables: Mapping[str, Any], images: Array, layer: str
) -> NDArray[np.floating]:
    """Mean |d y / d x| of the centre neurons y of a layer by the pixels x: [H, W].

    y is the sum over the layer's filters at the place (H' // 2, W' // 2); the mean is over images
    and channels. Luo et al. 2016, sec. 2 and 4.

    Args:
        model: made of `nn` layers.
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        layer: one with a feature map [N, H', W', K], by its path in the summary.

    Raises:
        ValueError: no such layer; says those there are and the nearest.
    """

    def centre(x: Array) -> Array:
        maps = feature_maps(model, variables, x, [layer])[layer]
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2].sum()

    gradients = jax.jit(jax.grad(centre))(jnp.asarray(images))
    return np.asarray(jnp.abs(gradients).mean(axis=(0, 3)))


def theoretical_field(
    model: linen.Module, variables: Mapping[str, Any], images: Array, layer: str
) -> tuple[range, range]:
    """Rows and columns that the same neurons can see; those outside the image are padding.

    Raises:
        ValueError: no such layer, or it has no feature map.
    """
    height, width = view(model, variables, images, layer)
    rows, columns = size(model, variables, images, layer)
    return height.pixels(rows // 2), width.pixels(columns // 2)


def field_size(field: NDArray[np.floating]) -> float:
    """Side in pixels of the square as large as what lies above `THRESHOLD` of the largest value."""
    return float(np.sqrt((field > THRESHOLD * field.max()).sum()))
