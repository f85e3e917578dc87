"""2-D convolutions by oneDNN on the CPU, by XLA elsewhere; differentiable to every order.

Three primitives, each linear in both of its operands: y = conv(x, k) and its two gradients,
x' = data(y', k) and k' = filters(x, y'). The transpose of each in one operand is another of them.
`window` is stride, padding before, padding after and dilation, (height, width) each, and groups.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from cnnlab.native import library

_Window = tuple[int, ...]


def conv2d(
    x: Array,
    kernel: Array,
    *,
    stride: tuple[int, int],
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """x [N, H, W, C], kernel [F, F, C/groups, K] of x's dtype -> [N, H', W', K].

    By oneDNN in float32, and in bfloat16 where the processor can, under jit, grad, jvp and scan; by
    XLA under vmap, and where there is nothing to compute or padding is below 0 other than by the
    pixels that a stride leaves over. `padding` is (low, high) of each axis. Under `shard_map` give
    it `check_vma=False`.
    """
    before, after = zip(*padding, strict=True)
    window = (*stride, *before, *after, *dilation, groups)
    if not _taken(x, kernel, window):
        return _forward(x, kernel, window=window)
    return _bind(forward_p, x, kernel, window=window, shape=None)


def _taken(x: Array, kernel: Array, window: _Window) -> bool:
    known = x.dtype == jnp.float32 or (x.dtype == jnp.bfloat16 and library.convolves_bfloat16())
    out = jax.eval_shape(functools.partial(_forward, window=window), x, kernel)
    filled = 0 not in (*x.shape, *kernel.shape, *out.shape)
    # What a stride leaves over oneDNN drops of itself.
    cropped = all(high + s > 0 for high, s in zip(window[4:6], window[:2], strict=True))
    return known and filled and cropped and min(window[2:4]) >= 0


# What each primitive computes, in XLA's terms: elsewhere than on the CPU, and under vmap.


def _forward(x: Array, kernel: Array, *, window: _Window, shape: None = None) -> Array:
    top, left, bottom, right = window[2:6]
    return lax.conv_general_dilated(
        x,
        kernel,
        window[:2],
        [(top, bottom), (left, right)],
        rhs_dilation=window[6:8],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=window[8],
    )


def _data(y: Array, kernel: Array, *, window: _Window, shape: tuple[int, ...]) -> Array:
    like = jax.ShapeDtypeStruct(shape, y.dtype)
    return jax.linear_transpose(lambda x: _forward(x, kernel, window=window), like)(y)[0]


def _filters(x: Array, y: Array, *, window: _Window, shape: tuple[int, ...]) -> Array:
    like = jax.ShapeDtypeStruct(shape, y.dtype)
    return jax.linear_transpose(lambda kernel: _forward(x, kernel, window=window), like)(y)[0]


def _primitive(name: str, compute: Callable[..., Array]) -> Primitive:
    """A primitive that is the custom call `name` on the CPU and `compute` elsewhere."""
    primitive = Primitive(f"onednn_{name}")

    def abstract(*operands: Any, **parameters: Any) -> jax.core.ShapedArray:
        like = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands]
        out = jax.eval_shape(functools.partial(compute, **parameters), *like)
        return jax.core.ShapedArray(out.shape, out.dtype)

    def call(*operands: Any, window: _Window, shape: Any) -> Any:
        out = abstract(*operands, window=window, shape=shape)
        result = jax.ShapeDtypeStruct(out.shape, out.dtype)
        return jax.ffi.ffi_call(f"cnnlab_{name}", result)(*operands, window=np.array(window))

    def batch(operands: Any, axes: Any, **parameters: Any) -> tuple[Array, int]:
        rule = jax.vmap(functools.partial(compute, **parameters), in_axes=tuple(axes))
        return rule(*operands), 0

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(functools.partial(_eager, primitive))
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(call, multiple_results=False), "cpu")
    batching.primitive_batchers[primitive] = batch
    return primitive


def _bind(primitive: Primitive, *operands: Any, window: _Window, shape: Any) -> Any:
    return primitive.bind(*operands, window=window, shape=shape)


def _eager(primitive: Primitive, *operands: Array, window: _Window, shape: Any) -> Any:
    with jax.disable_jit(False):
        return _compiled(primitive, window, shape)(*operands)


@functools.cache
def _compiled(primitive: Primitive, window: _Window, shape: Any) -> Callable[..., Any]:
    return jax.jit(functools.partial(primitive.bind, window=window, shape=shape))


def _bilinear(primitive: Primitive, left: Callable[..., Any], right: Callable[..., Any]) -> None:
    """left(ct, b) is the transpose in the first operand, right(a, ct) in the second."""

    def transpose_left(ct: Any, a: Any, b: Any, *, window: _Window, shape: Any) -> Any:
        return left(ct, b, window=window, shape=a.aval.shape)

    def transpose_right(ct: Any, a: Any, b: Any, *, window: _Window, shape: Any) -> Any:
        return right(a, ct, window=window, shape=b.aval.shape)

    ad.defbilinear(primitive, transpose_left, transpose_right)


forward_p = _primitive("conv_forward", _forward)
data_p = _primitive("conv_backward_data", _data)
filters_p = _primitive("conv_backward_filters", _filters)


def _conv(x: Any, kernel: Any, *, window: _Window, shape: Any) -> Any:
    return _bind(forward_p, x, kernel, window=window, shape=None)


_bilinear(
    forward_p,
    functools.partial(_bind, data_p),
    functools.partial(_bind, filters_p),
)
_bilinear(data_p, _conv, lambda y, ct, **window: _bind(filters_p, ct, y, **window))
_bilinear(filters_p, lambda ct, y, **window: _bind(data_p, y, ct, **window), _conv)
