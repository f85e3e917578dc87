"""Blocks made of layers. A block gets `conv` and `norm` as constructors and reads no dtype."""

from collections.abc import Callable
from dataclasses import field

from flax import linen
from jax import Array

from cnnlab.nn.layers import ReLU
from cnnlab.ops import Size


class ConvNormReLU(linen.Module):
    """relu(norm(conv(x))); the convolution has a bias only where there is no norm to offset it."""

    filters: int
    kernel_size: Size
    stride: Size = 1
    padding: Size | None = None
    """Pixels on each side; None keeps the size at stride 1."""
    conv: Callable[..., linen.Module] = field(kw_only=True)
    norm: Callable[..., linen.Module] | None = field(kw_only=True)

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', K]."""
        sizes = (self.filters, self.kernel_size, self.stride, self.padding)
        x = self.conv(*sizes, use_bias=self.norm is None, name="conv")(x)
        if self.norm is not None:
            x = self.norm(name="bn")(x, train=train)
        return ReLU(name="relu")(x)
