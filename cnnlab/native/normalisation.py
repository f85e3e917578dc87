"""Batch normalisation in training, and its gradient, in two passes over the numbers each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Normalised = tuple[Array, Array, Array]
"""The normalised values, the mean [C] and the variance [C]."""


def takes(x: Array) -> bool:
    """Whether `batch_norm` is made for x: float32 or bfloat16, and channels by sixteens."""
    return x.size > 0 and x.shape[-1] % 16 == 0 and x.dtype in (jnp.float32, jnp.bfloat16)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(
    x: Array, scale: Array, offset: Array, epsilon: float, elsewhere: Callable[..., Normalised]
) -> Normalised:
    """x [..., C] that `takes` it, scale [C] and offset [C] in float32 -> (y, mean, variance).

    `elsewhere(x, scale, offset, epsilon)` computes the same where the code is lowered for another
    device than a CPU. Differentiable once, in reverse.
    """

    def on_cpu(x: Array, scale: Array, offset: Array) -> Normalised:
        results = (_like(x), _like(scale), _like(scale))
        call = jax.ffi.ffi_call("cnnlab_batch_norm_forward", results, vmap_method="sequential")
        y, mean, var = call(x, scale, offset, relu=False, epsilon=np.float32(epsilon))
        return y, mean, var

    there = partial(elsewhere, epsilon=epsilon)
    return lax.platform_dependent(x, scale, offset, cpu=on_cpu, default=there)


_Kept = tuple[Array, Array, Array, Array, Array]


def _forward(
    x: Any, scale: Any, offset: Any, epsilon: float, elsewhere: Callable[..., Normalised]
) -> tuple[Normalised, _Kept]:
    given = x.value, scale.value, offset.value
    y, mean, var = batch_norm(*given, epsilon, elsewhere)
    return (y, mean, var), (*given, mean, var)


def _backward(
    epsilon: float, elsewhere: Callable[..., Normalised], kept: _Kept, cotangents: Any
) -> Normalised:
    x, scale, offset, mean, var = kept
    dy, dmean, dvar = cotangents

    def on_cpu(x: Array, dy: Array, *rest: Array) -> Normalised:
        results = (_like(x), _like(scale), _like(scale))
        call = jax.ffi.ffi_call("cnnlab_batch_norm_backward", results, vmap_method="sequential")
        dx, dscale, doffset = call(x, dy, *rest, relu=False, epsilon=np.float32(epsilon))
        return dx, dscale, doffset

    def there(x: Array, dy: Array, scale: Array, offset: Array, *_: Array) -> Normalised:
        normalise = lambda *given: elsewhere(*given, epsilon=epsilon)[0]  # noqa: E731
        dx, dscale, doffset = jax.vjp(normalise, x, scale, offset)[1](dy)
        return dx, dscale, doffset

    operands = (x, _filled(dy), scale, offset, mean, var)
    dx, dscale, doffset = lax.platform_dependent(*operands, cpu=on_cpu, default=there)
    count = x.size // x.shape[-1]
    # In training nothing depends on the running statistics: a pass over the numbers is saved.
    if _flows(dmean):
        dx += (dmean / count).astype(x.dtype)
    if _flows(dvar):
        dx += (2 / count * dvar * (x - mean)).astype(x.dtype)
    return dx, dscale, doffset


batch_norm.defvjp(_forward, _backward, symbolic_zeros=True)


def _like(array: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _flows(cotangent: Any) -> bool:
    return not isinstance(cotangent, jax.custom_derivatives.SymbolicZero)


def _filled(cotangent: Any) -> Array:
    return cotangent if _flows(cotangent) else jnp.zeros(cotangent.shape, cotangent.dtype)
