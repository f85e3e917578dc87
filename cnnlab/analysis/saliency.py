"""Saliency: which pixels a class score hangs on (Simonyan et al. 2013, arXiv 1312.6034, sec. 3)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray


def saliency(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Array,
    classes: Array | NDArray[np.integer] | None = None,
) -> NDArray[np.floating]:
    """max over channels of |d S / d x|, S being a class's score before the softmax: [N, H, W].

    Args:
        model: gives logits [N, classes].
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        classes: [N], whose score to take of each image; the highest if left out.
    """

    def score(x: Array) -> Array:
        logits: Any = model.apply(variables, x, train=False)
        chosen = logits.argmax(-1) if classes is None else jnp.asarray(classes)
        return jnp.take_along_axis(logits, chosen[:, None], axis=-1).sum()

    return np.asarray(jnp.abs(jax.jit(jax.grad(score))(jnp.asarray(images))).max(axis=-1))
