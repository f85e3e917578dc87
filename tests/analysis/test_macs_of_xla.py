"""The layer table's MACs against XLA's own count of operations."""

import jax
import jax.numpy as jnp
import pytest

import cnnlab
from cnnlab import models


def xla_flops(model, shape):
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return jax.jit(model.apply).lower(variables, image).cost_analysis()["flops"]


class TestAgainstXla:
    """XLA counts two operations a MAC, one for adding a bias, none for a zero of the padding."""

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("CONV3-4p0", 8),
            ("CONV5-6/2p0 -> CONV3-4p0", 15),
            ("CONV3-4p0 -> CONV2-8/2p0 -> FC-5 -> FC-3", 12),
            ("LOCAL3-4/2p0 -> FC-2", 9),
            ("LOCAL1-3", 6),
        ],
    )
    def test_exact_without_padding(self, text, size):
        model = models.pattern(f"INPUT -> {text}")
        summary = cnnlab.summarize(model, (size, size, 3))
        additions = sum(row.activations for row in summary.rows[1:])
        assert xla_flops(model, (size, size, 3)) == 2 * summary.macs + additions

    @pytest.mark.parametrize("kernel", [3, 5])
    def test_padding_is_all_the_difference(self, kernel):
        """Ours counts a MAC for each zero; along an axis the taps that meet pixels are fewer."""
        size, filters = 8, 4
        model = models.pattern(f"INPUT -> CONV{kernel}-{filters}")
        summary = cnnlab.summarize(model, (size, size, 3))
        half = kernel // 2
        taps = sum(abs(i - j) <= half for i in range(size) for j in range(size))
        assert summary.macs == size**2 * kernel**2 * 3 * filters
        valid = taps**2 * 3 * filters
        assert xla_flops(model, (size, size, 3)) == 2 * valid + size**2 * filters

    def test_resnet20(self):
        """Border taps are 4 to 16% of a padded 3x3 at 32 to 8 pixels; norms and ReLUs add some."""
        model = models.create("resnet20")
        macs = cnnlab.summarize(model, (32, 32, 3)).macs
        assert 0.90 < xla_flops(model, (32, 32, 3)) / (2 * macs) < 1.0
