"""The fully-connected layer."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from cnnlab.ops.checks import check_axes, check_shape


def dense(
    x: Float[Array, "*batch D"],
    weights: Float[Array, "D K"],
    bias: Float[Array, " K"] | None = None,
) -> Float[Array, "*batch K"]:
    """Multiply by a matrix and add the bias: every output sees every input (N0, "FC layer").

    Args:
        x: [..., D], as many axes in front as there are.
        weights: [D, K].
        bias: [K].

    Returns:
        [..., K]. On images [N, H, W, C] this is the 1x1 convolution (N3, "1x1 Convolutional
        layer").

    Raises:
        ValueError: shapes that do not go together.
    """
    check_axes("weights", weights, "D K")
    if x.ndim == 0 or x.shape[-1] != weights.shape[0]:
        raise ValueError(
            f"x must be [..., D] and weights [D, K] with one D; got x {x.shape} and "
            f"weights {weights.shape}"
        )
    y = jnp.matmul(x, weights.astype(x.dtype))
    if bias is not None:
        check_shape("bias", bias, weights.shape[1:], "K")
        y = y + bias
    return y.astype(x.dtype)
