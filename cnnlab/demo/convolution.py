"""The convolution demo of the notes (N0, "Convolution Demo"), with settings to change."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from cnnlab import ops
from cnnlab.demo.settings import DEPTH, SEED, SIZE, STRIDE, Setting, check, slices
from cnnlab.pages import Page, render

SETTINGS = (
    SIZE,
    DEPTH,
    Setting("filters", "K", "filters", 1, 4),
    Setting("kernel", "F", "filter size", 1, 7),
    STRIDE,
    Setting("padding", "P", "zero padding", 0, 3),
)


def convolution(
    size: int = 5,
    depth: int = 3,
    filters: int = 2,
    kernel: int = 3,
    stride: int = 2,
    padding: int = 1,
) -> Page:
    """A page in which filters slide over an input volume; the defaults are the notes' example.

    The numbers are whole and small, as in the notes: inputs 0 to 2, weights -1 to 1, biases 0 or
    1. Other settings show more or fewer of the same numbers, so a page that is changed to some
    settings shows what this function gives for them.

    Args:
        size: W, pixels of the input along both axes, 1 to 10.
        depth: C, slices of the input and of each filter, 1 to 4.
        filters: K, 1 to 4.
        kernel: F, pixels of a filter along both axes, 1 to 7.
        stride: S, pixels, 1 to 5.
        padding: P, pixels of zeros on each side, 0 to 3.

    Returns:
        A page that needs nothing but itself.

    Raises:
        ValueError: an argument that is no whole number, or beyond its limits.
        DoesNotFit: filters that do not fit the input, as for `geometry.output_size`.
    """
    values = {
        "size": size,
        "depth": depth,
        "filters": filters,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
    }
    check(SETTINGS, values)
    x, w, b = _numbers()
    y = ops.conv2d(
        _float(x[None, :size, :size, :depth]),
        _float(w[:kernel, :kernel, :depth, :filters]),
        _float(b[:filters]),
        stride=stride,
        padding=padding,
    )
    page = {
        "input": slices(x),
        "filters": [slices(w[..., k]) for k in range(w.shape[-1])],
        "biases": b.tolist(),
        "output": slices(np.asarray(y[0])),
    }
    return Page(render("convolution.html", settings=SETTINGS, values=values, page=page), height=860)


def _numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input [W, W, C], filters [F, F, C, K] and biases [K], each as large as its settings go."""
    most = {setting.name: setting.high for setting in SETTINGS}
    W, C, K, F = (most[name] for name in ("size", "depth", "filters", "kernel"))
    rng = np.random.default_rng(SEED)
    return (
        rng.integers(0, 2, (W, W, C), endpoint=True),
        rng.integers(-1, 1, (F, F, C, K), endpoint=True),
        rng.integers(0, 1, K, endpoint=True),
    )


def _float(numbers: np.ndarray) -> jnp.ndarray:
    return jnp.asarray(numbers, jnp.float32)
