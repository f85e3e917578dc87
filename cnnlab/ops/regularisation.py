"""Noise that regularises training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray


def dropout(
    x: Float[Array, "*shape"], key: PRNGKeyArray | None, rate: float, *, train: bool
) -> Float[Array, "*shape"]:
    """Zero values at random while training, and enlarge the others by 1 / (1 - rate).

    "Inverted" dropout: the expected value is that of x, so that testing needs no factor
    (Srivastava et al. 2014; N3, "Pooling Layer", calls it the better regulariser).

    Args:
        x: values of any shape.
        key: what the choice is drawn from; may be None where nothing is dropped.
        rate: probability of a value to be dropped, in [0, 1).
        train: whether to drop at all; x comes back as it is when testing.

    Returns:
        The values that remain, in the shape of x.

    Raises:
        ValueError: a rate outside [0, 1), or no key where one is needed.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate must be in [0, 1); got {rate!r}")
    if not train or rate == 0:
        return x
    if key is None:
        raise ValueError(f"dropout at rate {rate!r} in training needs a key; got None")
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)
