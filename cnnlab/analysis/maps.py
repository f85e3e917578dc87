"""The feature maps of a network: which layers have one, and what their neurons see."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab.analysis.receptive_field import WHOLE, View, views
from cnnlab.analysis.summary import Row, Summary
from cnnlab.analysis.trace import activations
from cnnlab.errors import unknown


def last_of_each_size(summary: Summary) -> tuple[str, ...]:
    """The last layer of each size (H, W) that the network's feature maps have, by their paths."""
    return tuple({row.shape[:2]: row.path for row in summary.rows if _is_map(row)}.values())


def checked(layers: Iterable[str], summary: Summary) -> tuple[str, ...]:
    """The layers, if each has a feature map.

    Raises:
        ValueError: no such layer; says those there are and the nearest.
    """
    known = [row.path for row in summary.rows if _is_map(row)]
    for layer in layers:
        if layer not in known:
            raise ValueError(unknown("layer with a feature map", layer, known))
    return tuple(layers)


def _is_map(row: Row) -> bool:
    return bool(row.path) and row.field is not WHOLE and len(row.shape) == 3


def feature_maps(
    model: linen.Module, variables: Mapping[str, Any], x: Array, layers: Sequence[str]
) -> dict[str, Array]:
    """Of some layers what they put out on images x [N, H, W, C]: float32 [N, H', W', K] each.

    Raises:
        ValueError: no such layer; says those there are and the nearest.
    """
    found = activations(model, variables, x)
    for layer in layers:
        if layer not in found:
            raise ValueError(unknown("layer", layer, found))
    # Means of half-precision numbers would be half-precision sums.
    return {layer: found[layer].astype(jnp.float32) for layer in layers}


def view(
    model: linen.Module, variables: Mapping[str, Any], images: Array, layer: str
) -> tuple[View, View]:
    """What the neurons of a layer's feature map see of images [N, H, W, C], along H and W.

    Raises:
        ValueError: no such layer, or it has no feature map.
    """
    # Two images, so that no reshape can take a dimension of size 1 for the batch.
    pair = jax.ShapeDtypeStruct((2, *images.shape[1:]), jnp.float32)
    ((height, width),) = views(lambda x: feature_maps(model, variables, x, [layer]), pair)
    if height is WHOLE or width is WHOLE:
        raise ValueError(f"{layer} has no feature map: its neurons see the whole image")
    return height, width


def size(
    model: linen.Module, variables: Mapping[str, Any], images: Array, layer: str
) -> tuple[int, int]:
    """Height and width of a layer's feature map on images [N, H, W, C]; nothing is computed.

    Raises:
        ValueError: no such layer, or it has no feature map.
    """
    maps = jax.eval_shape(lambda x: feature_maps(model, variables, x, [layer])[layer], images)
    _, height, width, _ = maps.shape
    return height, width
