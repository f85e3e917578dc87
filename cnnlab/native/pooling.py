"""Max pooling and its gradient."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def takes(x: Array) -> bool:
    """Whether `max_pool` is made for x: float32 or bfloat16."""
    return x.size > 0 and x.dtype in (jnp.float32, jnp.bfloat16)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: Array, window: tuple[int, ...], elsewhere: Callable[[Array], Array]) -> Array:
    """x [N, H, W, C] -> [N, H', W', C], the largest of each window; no window is all padding.

    `window` is kernel, stride and padding before, (height, width) each. `elsewhere(x)` computes the
    same where the code is lowered for another device than a CPU, and knows the sizes. Of equal
    values the first takes the gradient, as in XLA. Differentiable once, in reverse.
    """
    result = jax.eval_shape(elsewhere, x)

    def on_cpu(x: Array) -> Array:
        call = jax.ffi.ffi_call("cnnlab_max_pool_forward", result, vmap_method="sequential")
        return call(x, window=np.array(window))

    return lax.platform_dependent(x, cpu=on_cpu, default=elsewhere)


def _forward(
    x: Array, window: tuple[int, ...], elsewhere: Callable[[Array], Array]
) -> tuple[Array, Array]:
    return max_pool(x, window, elsewhere), x


def _backward(
    window: tuple[int, ...], elsewhere: Callable[[Array], Array], x: Array, dy: Array
) -> tuple[Array]:
    def on_cpu(x: Array, dy: Array) -> Array:
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        call = jax.ffi.ffi_call("cnnlab_max_pool_backward", result, vmap_method="sequential")
        return call(x, dy, window=np.array(window))

    def there(x: Array, dy: Array) -> Array:
        return jax.vjp(elsewhere, x)[1](dy)[0]

    return (lax.platform_dependent(x, dy, cpu=on_cpu, default=there),)


max_pool.defvjp(_forward, _backward)
