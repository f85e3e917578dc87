"""Shift response: how much a trained network's answer changes when its image moves (claim E18)."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

REACH = 4
"""Pixels an image can be moved, on each axis."""


def offsets(distance: int) -> tuple[tuple[int, int], ...]:
    """The eight moves (down, right) by 0 or `distance` pixels on each axis; of 0 the one."""
    steps = (-distance, 0, distance) if distance else (0,)
    return tuple(move for move in product(steps, steps) if any(move) or not distance)


def shifted(x: Array, by: Array) -> Array:
    """Images moved `by` [2] pixels down and right, what comes in being what lies there, mirrored.

    x [N, H, W, C] -> [N, H, W, C]. The mirrors are the outermost pixels, which are not doubled.
    A program may leave `by` open, in -REACH..REACH; further off it is taken as REACH.
    """
    padded = jnp.pad(x, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), mode="reflect")
    down, right = by
    return jax.lax.dynamic_slice(padded, (0, REACH - down, REACH - right, 0), x.shape)


def logit_change(logits: NDArray[np.floating], moved: NDArray[np.floating]) -> float:
    """How far logits have moved, over how far they are from saying nothing.

    The root of sum |moved - logits|^2 / sum |logits|^2 over all images, both [N, classes], each
    image's logits with their mean taken off, which no softmax sees. 0: no change; about the root of
    2: two answers that have nothing to do with each other.
    """
    before, after = (array - array.mean(-1, keepdims=True) for array in (logits, moved))
    return float(np.sqrt(((after - before) ** 2).sum() / (before**2).sum()))
