"""Normalisation over the batch, and over neighbouring channels."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from cnnlab import geometry
from cnnlab.native import normalisation as native
from cnnlab.ops import backend
from cnnlab.ops.activation import remember
from cnnlab.ops.checks import accumulator, check_shape
from cnnlab.ops.windows import window_sum


def batch_norm(
    x: Float[Array, "*batch C"],
    scale: Float[Array, " C"],
    offset: Float[Array, " C"],
    running_mean: Float[Array, " C"],
    running_var: Float[Array, " C"],
    *,
    train: bool,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "*batch C"], Float[Array, " C"], Float[Array, " C"]]:
    """Normalise each channel, then scale and shift it (Ioffe and Szegedy 2015; N0).

    The statistics are over all axes but the last, and in float32 whatever x is. The variance is
    the biased one, divided by the count, in the running statistics too, as in N0.

    `momentum` is the fraction of the OLD running statistic that a step keeps, the convention of
    most frameworks. N0's `batchnorm_forward` weights the NEW statistic by its momentum: its
    0.9 is 0.1 here, and `momentum_from_note` converts.

    Args:
        x: values [N, H, W, C] or [N, C].
        scale: gamma [C].
        offset: beta [C].
        running_mean: [C].
        running_var: [C].
        train: normalise by this batch and update the running statistics; else normalise by the
            running statistics and return them as they are.
        momentum: fraction of the old running statistic to keep, in [0, 1].
        epsilon: added to the variance before the root.

    Returns:
        The normalised values in the shape of x, the new running mean and the new running
        variance.

    Raises:
        ValueError: x has no axis to normalise over, parameters that are not [C], or a momentum
            outside [0, 1].
    """
    _check_batch_norm(x, scale, offset, running_mean, running_var, momentum)
    if not train:
        y = _normalise(x, running_mean, running_var, scale, offset, epsilon)
        return y, running_mean, running_var
    if backend.current() == "onednn" and native.takes(x):
        mean, var = native.moments(x, _by_batch)
        single = scale.astype(jnp.float32), offset.astype(jnp.float32)
        given = (x, *single, *lax.stop_gradient((mean, var)))
        y = native.normalise(*given, epsilon, False, _by_batch)
        remember(y, lambda: native.normalise(*given, epsilon, True, _by_batch))
    else:
        y, mean, var = _by_batch(x, scale, offset, epsilon)
    running_mean = momentum * running_mean + (1 - momentum) * mean
    running_var = momentum * running_var + (1 - momentum) * var
    return y, running_mean, running_var


def _by_batch(x: Array, scale: Array, offset: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """X normalised by its own mean and variance, and those."""
    wide, axes = x.astype(accumulator(x.dtype)), tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axis=axes)
    # Not E[x^2] - E[x]^2, which cancels to nothing where the mean is large.
    var = jnp.mean(jnp.square(wide - mean), axis=axes)
    return _normalise(x, mean, var, scale, offset, epsilon), mean, var


def _normalise(
    x: Array, mean: Array, var: Array, scale: Array, offset: Array, epsilon: float
) -> Array:
    wide = x.astype(accumulator(x.dtype))
    y = (wide - mean) * (scale * lax.rsqrt(var + epsilon)) + offset
    return y.astype(x.dtype)


def momentum_from_note(momentum: float) -> float:
    """Turn N0's batch-norm momentum, the weight of the new statistic, into that of the old."""
    return 1 - momentum


def local_response_norm(
    x: Float[Array, "*batch C"],
    *,
    size: int = 5,
    k: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
) -> Float[Array, "*batch C"]:
    """Divide each channel by the activity of its neighbours (Krizhevsky et al. 2012, section 3.3).

    x / (k + alpha * sum over `size` neighbouring channels of x^2)^beta; the window shrinks at the
    first and last channels. As in the paper, alpha multiplies the SUM: PyTorch divides its alpha
    by the size, so its 5e-4 is 1e-4 here at size 5.

    Args:
        x: values [..., C].
        size: channels in the window, odd: the channel and as many on each side.
        k: constant in the denominator, positive.
        alpha: weight of the sum of squares.
        beta: exponent.

    Returns:
        Values in the shape of x.

    Raises:
        DoesNotFit: an even size.
        ValueError: a size that is no positive whole number, or a k that is not positive.
    """
    if k <= 0:
        raise ValueError(f"k must be positive; got {k!r}")
    side = geometry.same_padding(size)
    wide = x.astype(accumulator(x.dtype))
    ones = (1,) * (x.ndim - 1)
    neighbours = window_sum(
        jnp.square(wide), (*ones, size), (1, *ones), (*((0, 0) for _ in ones), (side, side))
    )
    return (wide * (k + alpha * neighbours) ** -beta).astype(x.dtype)


def _check_batch_norm(
    x: Array,
    scale: Array,
    offset: Array,
    running_mean: Array,
    running_var: Array,
    momentum: float,
) -> None:
    if x.ndim < 2:
        raise ValueError(f"x must be [N, C] or [N, H, W, C]; got shape {x.shape}")
    given = {"scale": scale, "offset": offset}
    given |= {"running_mean": running_mean, "running_var": running_var}
    for name, array in given.items():
        check_shape(name, array, x.shape[-1:], "C")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1]; got {momentum!r}")
