"""Pooling at work on one slice at a time (N0, "Pooling Layer"), with settings to change."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from cnnlab import ops
from cnnlab.demo.settings import DEPTH, SEED, SIZE, STRIDE, Setting, check, slices
from cnnlab.errors import unknown
from cnnlab.pages import Page, render

SETTINGS = (SIZE, DEPTH, Setting("kernel", "F", "window size", 1, 7), STRIDE)
KINDS = {"max": ops.max_pool, "avg": ops.avg_pool, "l2": ops.l2_pool}


def pooling(
    size: int = 4, depth: int = 1, kernel: int = 2, stride: int = 2, kind: str = "max"
) -> Page:
    """A page in which a window slides over an input volume and sums up what it sees.

    The inputs are 0 to 9, the same in every page. There is no padding: the notes call it uncommon
    in pooling.

    Args:
        size: W, pixels of the input along both axes, 1 to 10.
        depth: C, slices, each pooled by itself, 1 to 4.
        kernel: F, pixels of the window along both axes, 1 to 7.
        stride: S, pixels, 1 to 5.
        kind: "max", "avg" or "l2", for `ops.max_pool`, `ops.avg_pool` and `ops.l2_pool`.

    Returns:
        A page that needs nothing but itself.

    Raises:
        ValueError: an argument that is no whole number, or beyond its limits, or an unknown kind.
        DoesNotFit: windows that do not fit the input, as for `geometry.output_size`.
    """
    values = {"size": size, "depth": depth, "kernel": kernel, "stride": stride}
    check(SETTINGS, values)
    if kind not in KINDS:
        raise ValueError(unknown("kind", kind, KINDS))
    x = _numbers()
    seen = jnp.asarray(x[None, :size, :size, :depth], jnp.float32)
    y = KINDS[kind](seen, kernel=kernel, stride=stride)
    page = {"input": slices(x), "output": slices(np.asarray(y[0], float).round(6))}
    return Page(
        render("pooling.html", settings=SETTINGS, values=values, kind=kind, page=page), height=640
    )


def _numbers() -> np.ndarray:
    """Input [W, W, C], as large as the settings go."""
    rng = np.random.default_rng(SEED)
    return rng.integers(0, 9, (SIZE.high, SIZE.high, DEPTH.high), endpoint=True)
