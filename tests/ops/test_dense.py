"""The fully-connected layer."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import ops


def test_values():
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    weights = jnp.asarray([[1.0, 0.0, 2.0, -1.0], [0.0, 1.0, 3.0, 1.0]])
    y = ops.dense(x, weights, jnp.asarray([0.0, 10.0, 0.0, 0.5]))
    np.testing.assert_array_equal(y, [[1, 12, 8, 1.5], [3, 14, 18, 1.5], [5, 16, 28, 1.5]])


def test_any_number_of_axes(rng):
    x, weights = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(5, 6))
    y = ops.dense(jnp.asarray(x, jnp.float32), jnp.asarray(weights, jnp.float32))
    expected = np.zeros((2, 3, 4, 6))
    for k in range(6):
        for d in range(5):
            expected[..., k] += x[..., d] * weights[d, k]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "weights", "bias", "message"),
    [
        ((2, 3), (4, 5), None, r"x \(2, 3\) and weights \(4, 5\)"),
        ((), (4, 5), None, r"x \(\)"),
        ((2, 3), (3,), None, r"weights must be \[D, K\]; got shape \(3,\)"),
        ((2, 3), (3, 5), (3,), r"bias must be \[K\] = \(5,\); got shape \(3,\)"),
    ],
)
def test_shapes_that_do_not_go_together(untyped, x, weights, bias, message):
    with pytest.raises(ValueError, match=message):
        ops.dense(jnp.ones(x), jnp.ones(weights), bias and jnp.ones(bias))
