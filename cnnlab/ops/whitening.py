"""Filters that make the numbers of an image's patches uncorrelated and of unit variance."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from cnnlab.ops.checks import check_axes
from cnnlab.ops.convolution import patches
from cnnlab.ops.windows import image_padding


def whitening_filters(
    x: Float[Array, "N H W C"], size: int, *, epsilon: float = 5e-4
) -> Float[Array, "F F C D"]:
    """The D = F F C principal directions of the patches of x, each divided by its deviation.

    With E and V the eigenvectors and eigenvalues of the patches' second moments, the filters are
    the columns of E (V + epsilon)^-1/2, the largest eigenvalue first: what they put out on x has
    second moments V / (V + epsilon) on the diagonal and 0 elsewhere (Coates and Ng 2012,
    "Learning feature representations with k-means", sec. 3.1, where the mean is taken off before).

    Args:
        x: images [N, H, W, C], normalised, so that their mean is about 0.
        size: F, pixels.
        epsilon: added to each eigenvalue, so that directions with next to no variance stay small.

    Raises:
        DoesNotFit: a patch is larger than the images.
    """
    check_axes("x", x, "N H W C")
    window, no = (size, size), (0, 0)
    pads = image_padding(x.shape[1:3], kernel=window, stride=(1, 1), padding=no, fit="error")
    found = patches(x, window, (1, 1), pads)
    # [N, H', F, W', F, C] -> a row for each patch
    rows = jnp.transpose(found, (0, 1, 3, 2, 4, 5)).reshape(-1, size * size * x.shape[3])
    values, vectors = jnp.linalg.eigh(rows.T @ rows / rows.shape[0])
    filters = vectors[:, ::-1] / jnp.sqrt(values[::-1] + epsilon)
    return filters.reshape(size, size, x.shape[3], -1)
