"""Batch normalisation in training, and its gradient, in two passes over the numbers each.

It comes in two halves, the moments of a batch and what is made of them: when the second is made
again with the ReLU behind it, what was made without falls away.

`elsewhere(x, scale, offset, epsilon)` -> (y, mean, variance) computes the whole where the code is
lowered for another device than a CPU.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Elsewhere = Callable[[Array, Array, Array, float], tuple[Array, Array, Array]]


def takes(x: Array) -> bool:
    """Whether this is made for x: float32 or bfloat16, and channels by sixteens."""
    return x.size > 0 and x.shape[-1] % 16 == 0 and x.dtype in (jnp.float32, jnp.bfloat16)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def moments(x: Array, elsewhere: Elsewhere) -> tuple[Array, Array]:
    """x [..., C] that it `takes` -> mean [C] and variance [C] in float32.

    Differentiable once, in reverse.
    """

    def on_cpu(x: Array) -> tuple[Array, Array]:
        mean, var = _call("moments", (_per_channel(x), _per_channel(x)))(x)
        return mean, var

    def there(x: Array) -> tuple[Array, Array]:
        ones = jnp.ones(x.shape[-1])
        _, mean, var = elsewhere(x, ones, ones, 0.0)
        return mean, var

    return lax.platform_dependent(x, cpu=on_cpu, default=there)


def _moments_forward(x: Any, elsewhere: Elsewhere) -> tuple[tuple[Array, Array], Any]:
    mean, var = moments(x.value, elsewhere)
    return (mean, var), (x.value, mean)


def _moments_backward(elsewhere: Elsewhere, kept: Any, cotangents: Any) -> tuple[Array | None]:
    (x, mean), (dmean, dvar) = kept, cotangents
    # In training nothing depends on the running statistics: a pass over the numbers is saved.
    if not (_flows(dmean) or _flows(dvar)):
        return (None,)
    dmean, dvar = (d if _flows(d) else jnp.zeros_like(mean) for d in (dmean, dvar))
    dx = (dmean + 2 * dvar * (x - mean)) * (x.shape[-1] / x.size)
    return (dx.astype(x.dtype),)


moments.defvjp(_moments_forward, _moments_backward, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def normalise(
    x: Array,
    scale: Array,
    offset: Array,
    mean: Array,
    var: Array,
    epsilon: float,
    relu: bool,
    elsewhere: Elsewhere,
) -> Array:
    """x [..., C] normalised by its own `moments`, scaled and offset, and the ReLU of that.

    scale, offset, mean and var are [C] in float32. The gradient of x is the whole one, by way of
    the moments too; they are given none. Differentiable once, in reverse.
    """

    def on_cpu(*given: Array) -> Array:
        call = _call("apply", jax.ShapeDtypeStruct(x.shape, x.dtype))
        y: Array = call(*given, relu=relu, epsilon=np.float32(epsilon))
        return y

    def there(x: Array, scale: Array, offset: Array, *_: Array) -> Array:
        return _whole(x, scale, offset, epsilon, relu, elsewhere)

    return lax.platform_dependent(x, scale, offset, mean, var, cpu=on_cpu, default=there)


def _normalise_forward(
    *given: Any,
) -> tuple[Array, tuple[Array, ...]]:
    return normalise(*given), given[:5]


def _normalise_backward(
    epsilon: float, relu: bool, elsewhere: Elsewhere, kept: tuple[Array, ...], dy: Array
) -> tuple[Array | None, ...]:
    x, scale, offset, mean, var = kept

    def on_cpu(*given: Array) -> tuple[Array, ...]:
        results = (jax.ShapeDtypeStruct(x.shape, x.dtype), _per_channel(x), _per_channel(x))
        call = _call("backward", results)
        return tuple(call(*given, relu=relu, epsilon=np.float32(epsilon)))

    def there(x: Array, dy: Array, scale: Array, offset: Array, *_: Array) -> tuple[Array, ...]:
        whole = partial(_whole, epsilon=epsilon, relu=relu, elsewhere=elsewhere)
        return jax.vjp(whole, x, scale, offset)[1](dy)

    given = (x, dy, scale, offset, mean, var)
    return *lax.platform_dependent(*given, cpu=on_cpu, default=there), None, None


normalise.defvjp(_normalise_forward, _normalise_backward)


def _whole(
    x: Array, scale: Array, offset: Array, epsilon: float, relu: bool, elsewhere: Elsewhere
) -> Array:
    y = elsewhere(x, scale, offset, epsilon)[0]
    return jax.nn.relu(y) if relu else y


def _call(name: str, results: Any) -> Callable[..., Any]:
    return jax.ffi.ffi_call(f"cnnlab_batch_norm_{name}", results, vmap_method="sequential")


def _per_channel(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)


def _flows(cotangent: Any) -> bool:
    return not isinstance(cotangent, jax.custom_derivatives.SymbolicZero)
