"""Layers that make a map smaller by summing up its windows; all but SUB have no parameters."""

from collections.abc import Callable
from typing import ClassVar

from flax import linen
from jax import Array

from cnnlab import ops
from cnnlab.nn.layers import NoMacs, written
from cnnlab.ops import Size


class _Pool(NoMacs):
    kernel_size: Size = 2
    stride: Size | None = None
    """None: the window's own size, so that windows tile the input."""
    padding: Size = 0
    fit: str = "crop"

    symbol: ClassVar[str]
    op: ClassVar[Callable[..., Array]]

    @property
    def notation(self) -> str:
        tiles = self.stride is None or self.stride == self.kernel_size
        stride = "" if tiles else f"/{written(self.stride)}"  # type: ignore[arg-type]
        padding = "" if self.padding == 0 else f"p{written(self.padding)}"
        return f"{self.symbol}{written(self.kernel_size)}{stride}{padding}"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', C]."""
        return type(self).op(
            x, kernel=self.kernel_size, stride=self.stride, padding=self.padding, fit=self.fit
        )


class MaxPool(_Pool):
    """POOL: the largest value of each window (N0, Pooling Layer)."""

    symbol: ClassVar[str] = "POOL"
    op: ClassVar[Callable[..., Array]] = staticmethod(ops.max_pool)


class AvgPool(_Pool):
    """AVGPOOL: the mean of each window (N0, General pooling)."""

    symbol: ClassVar[str] = "AVGPOOL"
    op: ClassVar[Callable[..., Array]] = staticmethod(ops.avg_pool)


class L2Pool(_Pool):
    """L2POOL: the L2 norm of each window (N0, General pooling)."""

    symbol: ClassVar[str] = "L2POOL"
    op: ClassVar[Callable[..., Array]] = staticmethod(ops.l2_pool)


class Subsample(NoMacs):
    """SUB: each window's mean, times a weight and plus a bias for each map (LeCun et al. 1998).

    Parameters: scale [C] (ones), bias [C] (zeros). The paper adds the window up instead, which
    differs by a factor that the weight takes in.
    """

    kernel_size: Size = 2
    fit: str = "crop"

    stride: ClassVar[None] = None

    @property
    def notation(self) -> str:
        return f"SUB{written(self.kernel_size)}"

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', C]."""
        scale = self.param("scale", linen.initializers.ones, x.shape[-1:])
        bias = self.param("bias", linen.initializers.zeros, x.shape[-1:])
        mean = ops.avg_pool(x, kernel=self.kernel_size, fit=self.fit)
        return (mean * scale + bias).astype(x.dtype)


class GlobalAvgPool(NoMacs):
    """GAP: the mean of each feature map, [N, H, W, C] -> [N, C] (Lin et al. 2013, sec. 3.2)."""

    @property
    def notation(self) -> str:
        return "GAP"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, C]."""
        return ops.global_avg_pool(x)
