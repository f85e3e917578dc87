"""Blocks made of layers. A block gets `conv` and `norm` as constructors and reads no dtype."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array


def shortcut_a(x: Array, filters: int, stride: int) -> Array:
    """Option A of He et al. 2015 (sec. 4.2): subsample, then pad the new channels with zeros.

    x [N, H, W, C] -> [N, ceil(H/S), ceil(W/S), K], without a parameter (claim A21).
    """
    x = jax.lax.slice(x, (0, 0, 0, 0), x.shape, (1, stride, stride, 1))
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, filters - x.shape[-1])))


class ResidualBlock(linen.Module):
    """relu(x + F(x)) with F two 3x3 convolutions, each normalised (He et al. 2015, fig. 2)."""

    filters: int
    stride: int
    conv: Callable[..., linen.Module]
    norm: Callable[..., linen.Module]

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H/S, W/S, K]."""
        y = self.conv(self.filters, 3, self.stride, name="conv1")(x)
        y = jax.nn.relu(self.norm(name="bn1")(y, train=train))
        y = self.conv(self.filters, 3, 1, name="conv2")(y)
        y = self.norm(name="bn2")(y, train=train)
        return jax.nn.relu(shortcut_a(x, self.filters, self.stride) + y)
