"""What a neuron can see of an image, and what of that it heeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab.analysis.effective_field import effective_field, field_size, theoretical_field
from cnnlab.analysis.pictures.picture import (
    ORANGE,
    Picture,
    blank,
    frame,
    mapped,
    show,
    stretched,
)


def receptive_field(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Array,
    layers: Sequence[str] | None = None,
) -> Picture:
    """The theoretical field of a layer's centre neuron, outlined, and its effective field.

    Above on the first image, which shines through where the neuron heeds it; below the field
    itself, averaged over all images (Luo et al. 2016, arXiv 1701.04128).

    Args:
        model: made of `nn` layers.
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        layers: with feature maps, by their paths in the summary; if left out the last of each size.

    Returns:
        By the layers' paths, `<path>` [H, W], the mean absolute gradient of the centre neuron by
        each pixel, and `<path> window` [4]: first and last row, first and last column that it can
        see, those outside the image being padding.

    Raises:
        NothingToShow: the network has no feature maps.
        ValueError: no such layer.
    """
    chosen = mapped(model, images.shape[1:], layers)
    images = jnp.asarray(images)
    figure = blank(0.4 + 1.9 * len(chosen), 4.4)
    axes = figure.subplots(2, len(chosen), squeeze=False)
    arrays: dict[str, NDArray[Any]] = {}
    for (above, below), (layer, notation) in zip(axes.T, chosen.items(), strict=True):
        field = effective_field(model, variables, images, layer)
        rows, columns = theoretical_field(model, variables, images, layer)
        seen = field / (field.max() or 1)
        show(above, _shining(stretched(np.asarray(images[0])), seen))
        show(below, seen, cmap="magma", vmin=0, vmax=1)
        for each in (above, below):
            frame(each, rows, columns, ORANGE)
        above.set_title(f"{layer}\n{notation}", fontsize=8)
        below.set_xlabel(
            f"can see {len(rows)}x{len(columns)}\nheeds about {field_size(field):.0f}x"
            f"{field_size(field):.0f}",
            fontsize=8,
        )
        ends = [rows[0], rows[-1], columns[0], columns[-1]]
        arrays |= {layer: field, f"{layer} window": np.array(ends)}
    return Picture(figure, arrays)


def _shining(image: NDArray[Any], seen: NDArray[Any]) -> NDArray[Any]:
    """The image in colour, dimmed but for what is seen; roots make faint light visible."""
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    light = np.sqrt(seen)[..., None]
    return colour * (0.25 + 0.75 * light)
