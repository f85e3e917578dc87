"""Images, and which of their pixels the network's answer hangs on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab.analysis import saliency as measured
from cnnlab.analysis.pictures.picture import Picture, blank, show, stretched


def saliency(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Array,
    classes: Sequence[int] | NDArray[np.integer] | None = None,
) -> Picture:
    """Each image over its saliency map, max over channels of |d score / d pixel|.

    Each map is brought to its own range, from black to white. Simonyan et al. 2013 (arXiv
    1312.6034), sec. 3.

    Args:
        model: gives logits [N, classes].
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        classes: [N], of whose scores; of the highest if left out.

    Returns:
        Array `saliency` [N, H, W].
    """
    chosen = None if classes is None else np.asarray(classes)
    maps = measured.saliency(model, variables, images, chosen)
    figure = blank(0.2 + 1.2 * len(maps), 2.6)
    axes = figure.subplots(2, len(maps), squeeze=False)
    for column, (image, each) in enumerate(zip(np.asarray(images), maps, strict=True)):
        show(axes[0, column], stretched(image))
        show(axes[1, column], each, cmap="inferno", vmin=0)
    for row, label in enumerate(("image", "saliency")):
        axes[row, 0].set_ylabel(label, fontsize=9)
    return Picture(figure, {"saliency": maps})
