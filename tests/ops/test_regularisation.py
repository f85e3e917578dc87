"""Dropout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import ops


def test_drops_and_enlarges():
    y = np.asarray(ops.dropout(jnp.full((100, 100), 3.0), jax.random.key(0), 0.25, train=True))
    assert set(np.unique(y)) == {0.0, 4.0}
    # Five standard deviations of the share dropped, sqrt(0.25 * 0.75 / 10,000).
    assert abs((y == 0).mean() - 0.25) < 5 * 0.00433


def test_key_decides():
    x = jnp.ones((64,))
    first, again, other = (
        ops.dropout(x, jax.random.key(seed), 0.5, train=True) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_gradient_passes_what_was_kept():
    x, key = jnp.ones((64,)), jax.random.key(3)
    gradient = jax.grad(lambda x: ops.dropout(x, key, 0.5, train=True).sum())(x)
    np.testing.assert_array_equal(gradient, ops.dropout(x, key, 0.5, train=True))


def test_jit_changes_nothing():
    x, key = jnp.arange(64.0), jax.random.key(3)
    drop = partial(ops.dropout, rate=0.5, train=True)
    np.testing.assert_array_equal(jax.jit(drop)(x, key), drop(x, key))


def test_vmap_is_a_loop():
    x, keys = jnp.arange(128.0).reshape(2, 64), jax.random.split(jax.random.key(3))
    drop = partial(ops.dropout, rate=0.5, train=True)
    together = jax.vmap(drop)(x, keys)
    np.testing.assert_array_equal(together, [drop(x[i], keys[i]) for i in range(2)])


def test_bfloat16():
    x, key = jnp.arange(64, dtype=jnp.bfloat16), jax.random.key(3)
    y = ops.dropout(x, key, 0.5, train=True)
    assert y.dtype == jnp.bfloat16
    wide = ops.dropout(x.astype(jnp.float32), key, 0.5, train=True)
    np.testing.assert_array_equal(y.astype(jnp.float32), wide)


@pytest.mark.parametrize(("rate", "train"), [(0.5, False), (0.0, True)])
def test_leaves_alone(rate, train):
    x = jnp.arange(5.0)
    np.testing.assert_array_equal(ops.dropout(x, None, rate, train=train), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("train", [True, False])
def test_rate_out_of_range(rate, train):
    with pytest.raises(ValueError, match=rf"\[0, 1\); got {rate}"):
        ops.dropout(jnp.ones(3), jax.random.key(0), rate, train=train)


def test_needs_a_key():
    with pytest.raises(ValueError, match=r"rate 0\.5 in training needs a key"):
        ops.dropout(jnp.ones(3), None, 0.5, train=True)
