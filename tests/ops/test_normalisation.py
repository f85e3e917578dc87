"""Batch norm against N0's code, response norm against its paper's formula."""

import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest

from cnnlab import ops
from cnnlab.geometry import DoesNotFit


def single(*arrays):
    return [jnp.asarray(array, jnp.float32) for array in arrays]


@pytest.mark.usefixtures("backend")
class TestBatchNorm:
    @pytest.mark.parametrize("copies", [1, 4])  # oneDNN's backend takes 16 channels
    def test_is_the_code_of_the_note(self, rng, copies):
        """Train for some steps and test, both with the note's 0.9 (of the new statistic)."""
        gamma, beta = rng.normal(size=(2, 4 * copies))
        bn_param = {"mode": "train", "momentum": 0.9, "eps": 1e-5}
        mean, var = jnp.zeros(4 * copies), jnp.zeros(4 * copies)
        momentum = ops.momentum_from_note(0.9)
        for _ in range(4):
            loc, scale = [0, 1, -2, 5] * copies, [1, 2, 0.5, 3] * copies
            x = rng.normal(loc=loc, scale=scale, size=(16, 4 * copies))
            expected = numpy_loops.batchnorm_forward(x, gamma, beta, bn_param)
            y, mean, var = ops.batch_norm(
                *single(x, gamma, beta), mean, var, train=True, momentum=momentum
            )
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(mean, bn_param["running_mean"], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(var, bn_param["running_var"], rtol=1e-5)
        bn_param["mode"] = "test"
        expected = numpy_loops.batchnorm_forward(x, gamma, beta, bn_param)
        y, same_mean, same_var = ops.batch_norm(
            *single(x, gamma, beta), mean, var, train=False, momentum=momentum
        )
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(same_mean, mean)
        np.testing.assert_array_equal(same_var, var)

    def test_momentum_keeps_the_old(self):
        """One step from (0, 1) on data of mean 5 and variance 4: a tenth of the way at 0.9."""
        x = jnp.asarray([[3.0], [7.0]])
        one, zero = jnp.ones(1), jnp.zeros(1)
        _, mean, var = ops.batch_norm(x, one, zero, zero, one, train=True)
        np.testing.assert_allclose(mean, 0.1 * 5, rtol=1e-5)
        np.testing.assert_allclose(var, 0.9 + 0.1 * 4, rtol=1e-5)
        _, mean, _ = ops.batch_norm(x, one, zero, zero, one, train=True, momentum=0.0)
        np.testing.assert_allclose(mean, 5, rtol=1e-6)

    def test_images_are_rows_of_channels(self, rng):
        x = rng.normal(size=(3, 4, 5, 2))
        numbers = single([2.0, 0.5], [1.0, -1.0], [0.1, 0.2], [1.0, 2.0])
        for train in (True, False):
            image = ops.batch_norm(*single(x), *numbers, train=train)
            rows = ops.batch_norm(*single(x.reshape(-1, 2)), *numbers, train=train)
            np.testing.assert_allclose(image[0].reshape(-1, 2), rows[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(image[1:], rows[1:], rtol=1e-6)

    @pytest.mark.parametrize("channels", [1, 16])
    def test_variance_survives_a_large_mean(self, rng, channels):
        """E[x^2] - E[x]^2 in float32 leaves nothing of a variance of 1 at a mean of 10,000."""
        x = np.float32(rng.normal(loc=1e4, size=(512, channels)))
        zero = jnp.zeros(channels)
        *_, var = ops.batch_norm(jnp.asarray(x), zero, zero, zero, zero, train=True, momentum=0.0)
        np.testing.assert_allclose(var, x.astype(np.float64).var(axis=0), rtol=1e-3)

    def test_epsilon(self):
        x, one, zero = jnp.asarray([[-1.0], [1.0]]), jnp.ones(1), jnp.zeros(1)
        y, *_ = ops.batch_norm(x, one, zero, zero, one, train=True, epsilon=3.0)
        np.testing.assert_allclose(y, [[-0.5], [0.5]], rtol=1e-6)

    def test_running_statistics_stay_float32(self, rng):
        x = jnp.asarray(rng.normal(size=(8, 3)), jnp.bfloat16)
        y, mean, var = ops.batch_norm(x, *[jnp.ones(3)] * 4, train=True)
        assert y.dtype == jnp.bfloat16
        assert mean.dtype == var.dtype == jnp.float32

    def test_errors(self, untyped):
        x, ones = jnp.ones((2, 4, 4, 3)), jnp.ones(3)
        with pytest.raises(ValueError, match=r"got shape \(3,\)"):
            ops.batch_norm(ones, ones, ones, ones, ones, train=True)
        for wrong, name in enumerate(("scale", "offset", "running_mean", "running_var")):
            numbers = [ones] * 4
            numbers[wrong] = jnp.ones(4)
            with pytest.raises(ValueError, match=rf"{name} must be \[C\] = \(3,\); got .*\(4,\)"):
                ops.batch_norm(x, *numbers, train=True)
        with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\]; got 1\.1"):
            ops.batch_norm(x, ones, ones, ones, ones, train=True, momentum=1.1)


class TestLocalResponseNorm:
    @pytest.mark.parametrize("size", [1, 3, 5])
    def test_is_the_formula_of_the_paper(self, rng, size):
        x = 10 * rng.normal(size=(2, 3, 3, 8))
        constants = {"size": size, "k": 1.5, "alpha": 0.02, "beta": 0.6}
        expected = numpy_loops.local_response_norm(x, **constants)
        np.testing.assert_allclose(
            ops.local_response_norm(*single(x), **constants), expected, rtol=1e-4
        )

    def test_defaults_are_those_of_the_paper(self, rng):
        x = 100 * rng.normal(size=(4, 12))
        expected = numpy_loops.local_response_norm(x, size=5, k=2, alpha=1e-4, beta=0.75)
        np.testing.assert_allclose(ops.local_response_norm(*single(x)), expected, rtol=1e-4)

    def test_errors(self):
        with pytest.raises(DoesNotFit, match="nearest odd filters are 3 and 5"):
            ops.local_response_norm(jnp.ones((1, 8)), size=4)
        with pytest.raises(ValueError, match=r"k must be positive; got 0\.0"):
            ops.local_response_norm(jnp.ones((1, 8)), k=0.0)
