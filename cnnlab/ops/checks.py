"""Checks of what an operation is given, made before XLA sees it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from cnnlab.errors import unknown

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""The types that can be computed in."""


def dtype_name(what: str, dtype: Any) -> str:
    """The name of a type of `DTYPES`.

    Args:
        what: what the type is of, for the error.
        dtype: that name, a NumPy dtype or a scalar type such as `jnp.bfloat16`.

    Raises:
        ValueError: no type, or another.
    """
    try:
        # NumPy would take None and "float" for float64.
        name = str(dtype) if dtype is None or isinstance(dtype, str) else jnp.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise ValueError(unknown(what, name, DTYPES))
    return name


def check_axes(name: str, array: Array, axes: str) -> None:
    """Check the number of axes of an array.

    Args:
        name: what the array is, for the error.
        array: any array.
        axes: the letters of the axes it should have, such as "N H W C".

    Raises:
        ValueError: the array has more or fewer axes.
    """
    if array.ndim != len(axes.split()):
        raise ValueError(f"{name} must be [{', '.join(axes.split())}]; got shape {array.shape}")


def check_shape(name: str, array: Array, shape: tuple[int, ...], axes: str) -> None:
    """Check an array's shape against the one the other arguments call for.

    Args:
        name: what the array is, for the error.
        array: any array.
        shape: the shape it should have.
        axes: the letters of its axes, such as "K".

    Raises:
        ValueError: it has another shape.
    """
    if array.shape != shape:
        raise ValueError(
            f"{name} must be [{', '.join(axes.split())}] = {shape}; got shape {array.shape}"
        )


def accumulator(dtype: DTypeLike) -> jnp.dtype:
    """The dtype to add up in: float32, or float64 where the values have it."""
    return jnp.promote_types(dtype, jnp.float32)
