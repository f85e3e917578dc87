"""Batch norm and max pooling of the extension against XLA's, as `ops` calls both."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from cnnlab import ops

# What a rounding of bfloat16 may make of numbers of size 1, and float32's with a mean of 30.
TYPES = [(jnp.float32, 3e-5), (jnp.bfloat16, 0.03)]


def normal(shape: tuple[int, ...], dtype: Any = jnp.float32, seed: int = 0) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        limit = tolerance * max(1, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=limit)


def pulled(op: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """The operation, and its gradients from what comes from above."""

    def compute(upstream: Any, *given: Array) -> Any:
        y, pull_back = jax.vjp(op, *given)
        above = jax.tree.map(lambda u, y: u.astype(y.dtype), upstream, y)
        return y, pull_back(above)

    return jax.jit(ops.using(backend)(compute))


def normalise(x: Array, scale: Array, offset: Array) -> tuple[Array, Array, Array]:
    zero = jnp.zeros(x.shape[-1])
    return ops.batch_norm(x, scale, offset, zero, zero, train=True, momentum=0.25)


def norm_operands(shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array, Array]:
    x = (2 * normal(shape) + 30).astype(dtype)
    return x, jnp.exp(normal(shape[-1:], seed=1)), normal(shape[-1:], seed=2)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
@pytest.mark.parametrize(
    "shape", [(8, 8, 8, 16), (3, 5, 5, 16), (4, 7, 7, 96), (5, 48), (1, 3, 5, 512), (64, 9, 9, 32)]
)
def test_batch_norm(shape: tuple[int, ...], dtype: Any, tolerance: float) -> None:
    given = norm_operands(shape, dtype)
    wide = given[0].astype(jnp.float32), *given[1:]
    # In use nothing depends on the running statistics; here all three results have a gradient.
    upstream = normal(shape, dtype, 3), normal(shape[-1:], seed=4), normal(shape[-1:], seed=5)
    found = pulled(normalise, "onednn")(upstream, *given)
    assert found[0][0].dtype == found[1][0].dtype == dtype
    assert_close(found, pulled(normalise, "xla")(upstream, *wide), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_batch_norm_and_the_relu_behind_it(dtype: Any, tolerance: float) -> None:
    """In one pass; what batch norm itself puts out is there for who else asks for it."""

    def rectified(*given: Array) -> tuple[Array, Array]:
        y = normalise(*given)[0]
        return ops.relu(y), 0.5 * y

    for wanted in (slice(1), slice(2)):
        given = norm_operands((6, 5, 5, 48), dtype)
        wide = given[0].astype(jnp.float32), *given[1:]
        upstream = (normal((6, 5, 5, 48), dtype, 3), normal((6, 5, 5, 48), dtype, 4))[wanted]
        op = lambda *given, wanted=wanted: rectified(*given)[wanted]  # noqa: E731
        found = pulled(op, "onednn")(upstream, *given)
        assert_close(found, pulled(op, "xla")(upstream, *wide), tolerance)
        program = pulled(op, "onednn").lower(upstream, *given).compile().as_text()
        assert program.count('custom_call_target="cnnlab_batch_norm_apply"') == len(upstream)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_none_behind_the_relu(bad: float) -> None:
    x, scale, offset = norm_operands((2, 4, 4, 16), jnp.float32)
    x = x.at[1, 2, 3, 5].set(bad)
    rectified = lambda *given: ops.relu(normalise(*given)[0])  # noqa: E731
    found, expected = (jax.jit(ops.using(name)(rectified))(x, scale, offset) for name in BOTH)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.isnan(found[..., 5]).any()


def test_only_what_was_put_out_last_is_rectified_along() -> None:
    def other(x: Array, scale: Array, offset: Array) -> tuple[Array, Array]:
        first, second = (normalise(x + shift, scale, offset)[0] for shift in (0, 1))
        return ops.relu(first), ops.relu(second + 1)

    given = norm_operands((2, 4, 4, 16), jnp.float32)
    upstream = normal((2, 4, 4, 16), seed=3), normal((2, 4, 4, 16), seed=4)
    found, expected = (pulled(other, name)(upstream, *given) for name in BOTH)
    assert_close(found, expected, 3e-5)


def test_batch_norm_of_groups() -> None:
    """Each of several groups for itself, as `model.batch_norm_groups` wants it."""
    x, scale, offset = norm_operands((3, 8, 4, 4, 16), jnp.float32)
    groups = jax.vmap(normalise, in_axes=(0, None, None))
    upstream = jax.tree.map(
        lambda y: jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape),
        jax.eval_shape(groups, x, scale, offset),
    )
    found, expected = (pulled(groups, name)(upstream, x, scale, offset) for name in BOTH)
    assert_close(found, expected, 3e-5)


BOTH = ("onednn", "xla")


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.02)])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 8, 8, 16), {"kernel": 2}),
        ((3, 9, 7, 5), {"kernel": 3, "stride": 2, "padding": 1}),
        ((1, 8, 8, 3), {"kernel": 3, "stride": 1, "padding": 1}),
        ((2, 13, 13, 96), {"kernel": 3, "stride": 2}),
        ((2, 6, 6, 130), {"kernel": (2, 3), "fit": "pad"}),
        ((1, 7, 7, 4), {"kernel": 2}),
    ],
)
def test_max_pool(
    shape: tuple[int, ...], options: dict[str, Any], dtype: Any, tolerance: float
) -> None:
    x = jnp.round(3 * normal(shape)).astype(dtype)  # many equal values: the first has the gradient
    op = partial(ops.max_pool, **options)
    upstream = normal(jax.eval_shape(op, x).shape, dtype, seed=1)
    (y, gradient), (expected, wide) = (
        pulled(op, name)(upstream, x.astype(dtype if name == "onednn" else jnp.float32))
        for name in BOTH
    )
    np.testing.assert_array_equal(y, expected)
    assert y.dtype == gradient[0].dtype == dtype
    assert_close(gradient, wide, tolerance)


def test_a_nan_is_not_lost() -> None:
    x = jnp.zeros((1, 4, 4, 16)).at[0, 1, 1, 3].set(jnp.nan)
    with ops.using("onednn"):
        y = ops.max_pool(x, kernel=2)
    assert np.flatnonzero(np.isnan(y)).tolist() == [3]


def test_the_extension_computes_them() -> None:
    def total(x: Array) -> Array:
        y = ops.relu(normalise(x, jnp.ones(16), jnp.ones(16))[0])
        return (ops.max_pool(y, kernel=2) ** 2).sum()

    program = jax.jit(ops.using("onednn")(jax.grad(total)))
    text = program.lower(jnp.ones((2, 4, 4, 16))).as_text()
    norm = [f"batch_norm_{part}" for part in ("moments", "apply", "backward")]
    for name in (*norm, "max_pool_forward", "max_pool_backward"):
        assert f"@cnnlab_{name}" in text
    exported = jax.export.export(program, platforms=["cuda", "tpu"])(jnp.ones((2, 4, 4, 16)))
    assert "@cnnlab_" not in exported.mlir_module()
