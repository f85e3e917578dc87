"""Sizes of windows over images, as the operations take them."""

from __future__ import annotations

import numpy as np
from jax import Array, lax

from cnnlab import geometry

Size = int | tuple[int, int]
"""Pixels along both axes, or (height, width)."""


def pair(size: Size) -> tuple[int, int]:
    """Spell a size out as (height, width).

    Raises:
        ValueError: a tuple that is no pair.
    """
    if not isinstance(size, tuple):
        return size, size
    if len(size) != 2:
        raise ValueError(f"a size is one number or a pair (height, width); got {size!r}")
    return size


def image_padding(
    shape: tuple[int, ...],
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    fit: str,
) -> list[tuple[int, int]]:
    """Padding (low, high) of each axis of an image of `shape` (H, W), in pixels.

    Raises:
        DoesNotFit: as for `geometry.output_size`.
        ValueError: as for `geometry.output_size`.
    """
    return [
        geometry.fit_padding(size, kernel=f, stride=s, padding=p, dilation=d, fit=fit)
        for size, f, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    ]


def window_sum(
    x: Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
) -> Array:
    """Sum each window of x; one number of `window`, `strides` and `pads` for each axis of x."""
    # A start made by jnp would be traced under jit, and JAX then could not see that this is a sum,
    # which alone it can differentiate twice.
    return lax.reduce_window(x, np.array(0, x.dtype), lax.add, window, strides, pads)
