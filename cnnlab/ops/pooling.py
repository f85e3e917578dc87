"""Pooling: one number for each window of each channel, and no parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from cnnlab import geometry
from cnnlab.errors import unknown
from cnnlab.native import pooling as native
from cnnlab.ops import backend
from cnnlab.ops.checks import accumulator, check_axes
from cnnlab.ops.windows import Size, image_padding, pair, window_sum


def max_pool(
    x: Float[Array, "N H W C"],
    *,
    kernel: Size,
    stride: Size | None = None,
    padding: Size = 0,
    fit: str = "crop",
) -> Float[Array, "N Ho Wo C"]:
    """Take the largest value of each window (N0, "Pooling Layer").

    Padding is minus infinity: it never wins, so negative values survive at the border.

    Args:
        x: images [N, H, W, C].
        kernel: F, pixels.
        stride: S, pixels; F when None, windows side by side.
        padding: P, pixels on each side.
        fit: what to do with pixels left over, as for `geometry.output_size`.

    Returns:
        [N, H', W', C], with H' and W' by `geometry.output_size`.

    Raises:
        DoesNotFit: as for `geometry.output_size`.
        ValueError: x is no batch of images, or a window would hold nothing but padding.
    """
    window, strides, pads = _pool_windows(x, kernel, stride, padding, fit)
    by_xla = partial(
        _window_max,
        window=(1, *window, 1),
        strides=(1, *strides, 1),
        pads=((0, 0), *pads, (0, 0)),
    )
    if backend.current() == "onednn" and native.takes(x):
        before = (low for low, _ in pads)
        return native.max_pool(x, (*window, *strides, *before), by_xla)
    return by_xla(x)


def avg_pool(
    x: Float[Array, "N H W C"],
    *,
    kernel: Size,
    stride: Size | None = None,
    padding: Size = 0,
    count_padding: bool = False,
    fit: str = "crop",
) -> Float[Array, "N Ho Wo C"]:
    """Take the mean of each window (N0, "General pooling").

    By default the mean is over the pixels of the image that a window holds, so that an even
    image stays even up to its border. Frameworks disagree here, and often darken the border.

    Args:
        x: images [N, H, W, C].
        kernel: F, pixels.
        stride: S, pixels; F when None, windows side by side.
        padding: P, pixels on each side.
        count_padding: count the padding's zeros as pixels too, but as in PyTorch and Caffe nothing
            that hangs over the padding (`fit="pad"`).
        fit: what to do with pixels left over, as for `geometry.output_size`.

    Returns:
        [N, H', W', C], with H' and W' by `geometry.output_size`.

    Raises:
        DoesNotFit: as for `geometry.output_size`.
        ValueError: x is no batch of images, or a window would hold nothing but padding.
    """
    window, strides, pads = _pool_windows(x, kernel, stride, padding, fit)
    total = window_sum(
        x.astype(accumulator(x.dtype)), (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )
    if not any(low or high for low, high in pads):
        return (total / math.prod(window)).astype(x.dtype)
    rows, columns = (
        _pixels_held(size, f, s, low, count, border=low * count_padding)
        for size, f, s, (low, _), count in zip(
            x.shape[1:3], window, strides, pads, total.shape[1:3], strict=True
        )
    )
    held = np.outer(rows, columns)[:, :, None].astype(total.dtype)
    return (total / held).astype(x.dtype)


def l2_pool(
    x: Float[Array, "N H W C"],
    *,
    kernel: Size,
    stride: Size | None = None,
    padding: Size = 0,
    fit: str = "crop",
) -> Float[Array, "N Ho Wo C"]:
    """Take the L2 norm of each window, the root of the sum of squares (N3, "Pooling Layer").

    Where a window is all zeros the gradient is 0, the least of the norm's subgradients.

    Args:
        x: images [N, H, W, C].
        kernel: F, pixels.
        stride: S, pixels; F when None, windows side by side.
        padding: P, pixels of zeros on each side.
        fit: what to do with pixels left over, as for `geometry.output_size`.

    Returns:
        [N, H', W', C], with H' and W' by `geometry.output_size`.

    Raises:
        DoesNotFit: as for `geometry.output_size`.
        ValueError: x is no batch of images, or a window would hold nothing but padding.
    """
    window, strides, pads = _pool_windows(x, kernel, stride, padding, fit)
    return _window_l2(x, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))


def channel_pool(
    x: Float[Array, "*batch C"], *, kernel: int, stride: int | None = None, reduce: str = "max"
) -> Float[Array, "*batch Co"]:
    """Pool over depth: fewer channels, the same width and height (N3, "Pooling Layer").

    Args:
        x: [..., C].
        kernel: channels in a window.
        stride: channels between windows; `kernel` when None.
        reduce: "max", "avg" or "l2".

    Returns:
        [..., C'], with C' = (C - kernel) / stride + 1.

    Raises:
        DoesNotFit: the windows leave channels over; none is ever dropped.
        ValueError: an unknown `reduce`.
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(unknown("reduce", reduce, _REDUCTIONS))
    stride = kernel if stride is None else stride
    geometry.output_size(x.shape[-1], kernel=kernel, stride=stride)
    ones, nothing = (1,) * (x.ndim - 1), ((0, 0),) * x.ndim
    return _REDUCTIONS[reduce](x, (*ones, kernel), (*ones, stride), nothing)


def global_avg_pool(x: Float[Array, "N H W C"]) -> Float[Array, "N C"]:
    """Take the mean of each channel over the whole image (Lin et al. 2013, section 3.2).

    Args:
        x: images [N, H, W, C].

    Returns:
        [N, C].

    Raises:
        ValueError: x is no batch of images.
    """
    check_axes("x", x, "N H W C")
    return jnp.mean(x, axis=(1, 2), dtype=accumulator(x.dtype)).astype(x.dtype)


def adaptive_avg_pool(x: Float[Array, "N H W C"], *, size: Size) -> Float[Array, "N Ho Wo C"]:
    """Take the mean of each of so many windows, whatever the size of the image.

    Window i of n along an axis of H pixels goes from floor(i H / n) to ceil((i + 1) H / n), as in
    PyTorch's `AdaptiveAvgPool2d`: windows overlap where n does not divide H, and repeat pixels
    where n is larger.

    Args:
        x: images [N, H, W, C].
        size: n, windows along each axis.

    Returns:
        [N, n, n, C]; x itself if that is its size.

    Raises:
        ValueError: x is no batch of images, or a size is no whole number from 1.
    """
    check_axes("x", x, "N H W C")
    counts = [geometry.whole("size", count, at_least=1) for count in pair(size)]
    if x.shape[1:3] == tuple(counts):
        return x
    wide = x.astype(accumulator(x.dtype))
    for axis, count in enumerate(counts, start=1):
        windows = _even_windows(x.shape[axis], count)
        means = [lax.slice_in_dim(wide, *ends, axis=axis).mean(axis) for ends in windows]
        wide = jnp.stack(means, axis)
    return wide.astype(x.dtype)


_Ints = tuple[int, ...]
_Pads = tuple[tuple[int, int], ...]


def _pool_windows(
    x: Array, kernel: Size, stride: Size | None, padding: Size, fit: str
) -> tuple[tuple[int, int], tuple[int, int], list[tuple[int, int]]]:
    """Window, stride and (low, high) padding of both axes, checked."""
    check_axes("x", x, "N H W C")
    window, strides = pair(kernel), pair(kernel if stride is None else stride)
    pads = image_padding(
        x.shape[1:3], kernel=window, stride=strides, padding=pair(padding), fit=fit
    )
    for size, f, s, (low, high) in zip(x.shape[1:3], window, strides, pads, strict=True):
        last_start = (size + low + high - f) // s * s - low
        if low >= f or last_start >= size:
            raise ValueError(
                f"a window would hold nothing but padding: input {size}, kernel {f}, stride {s}, "
                f"padding {low} before and {high} after (fit={fit!r}); a padding below the kernel "
                'and fit="crop" avoid that'
            )
    return window, strides, pads


def _even_windows(size: int, count: int) -> list[tuple[int, int]]:
    """First pixel of each window, and the first behind it."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _pixels_held(
    size: int, kernel: int, stride: int, low: int, count: int, *, border: int
) -> np.ndarray:
    """How many pixels of the image and its border each of `count` windows along an axis holds."""
    start = np.arange(count) * stride - low
    return np.minimum(start + kernel, size + border) - np.maximum(start, -border)


def _window_max(x: Array, window: _Ints, strides: _Ints, pads: _Pads) -> Array:
    lowest = np.array(-np.inf, x.dtype)
    return lax.reduce_window(x, lowest, lax.max, window, strides, pads)


def _window_mean(x: Array, window: _Ints, strides: _Ints, pads: _Pads) -> Array:
    total = window_sum(x.astype(accumulator(x.dtype)), window, strides, pads)
    return (total / math.prod(window)).astype(x.dtype)


def _window_l2(x: Array, window: _Ints, strides: _Ints, pads: _Pads) -> Array:
    squares = window_sum(jnp.square(x.astype(accumulator(x.dtype))), window, strides, pads)
    # The root's slope at 0 is infinite, and infinity times the 0 behind it is not a number.
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0).astype(x.dtype)


_REDUCTIONS: dict[str, Callable[[Array, _Ints, _Ints, _Pads], Array]] = {
    "max": _window_max,
    "avg": _window_mean,
    "l2": _window_l2,
}
