"""Where a network is equivariant, and where the border breaks it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab.analysis.equivariance import equivariance_errors, interior
from cnnlab.analysis.maps import view
from cnnlab.analysis.pictures.picture import BLUE, Picture, blank, frame, mapped, show


def equivariance(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Array,
    layers: Sequence[str] | None = None,
) -> Picture:
    """Feature maps of shifted images against shifted feature maps, place by place.

    White is no difference. Inside the blue frame no neuron sees the border; where there is no
    frame, all do.

    Args:
        model: made of `nn` layers.
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        layers: with feature maps, by their paths in the summary; if left out the last of each size.

    Returns:
        By the layers' paths, `<path>` [H', W'], the error of `analysis.equivariance` as a fraction,
        and `<path> interior` [H', W'], which neurons see no border.

    Raises:
        NothingToShow: the network has no feature maps.
        ValueError: no such layer.
    """
    chosen = mapped(model, images.shape[1:], layers)
    errors = equivariance_errors(model, variables, images, tuple(chosen))
    largest = max(error.max() for error in errors.values()) or 1.0
    figure = blank(1.0 + 1.9 * len(chosen), 2.7)
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    arrays: dict[str, NDArray[Any]] = {}
    for panel, (layer, notation) in zip(axes, chosen.items(), strict=True):
        inside = interior(model, variables, images, layer)
        drawn = show(panel, 100 * errors[layer], cmap="Reds", vmin=0, vmax=100 * largest)
        _frame(panel, inside)
        step = view(model, variables, images, layer)[0].step
        panel.set_title(f"{layer}\n{notation}", fontsize=8)
        panel.set_xlabel(f"shifted by {step} pixel{'s' * (step > 1)}", fontsize=8)
        arrays |= {layer: errors[layer], f"{layer} interior": inside}
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label("error, % of the map's root mean square", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return Picture(figure, arrays)


def _frame(axes: Any, inside: NDArray[np.bool_]) -> None:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows):
        frame(axes, range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1), BLUE)
