"""The convolution with norm and ReLU against its operations written out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import nn, ops


def unit(*sizes, conv=nn.Conv, norm=nn.BatchNorm):
    return nn.ConvNormReLU(*sizes, conv=conv, norm=norm)


def image(shape=(2, 7, 6, 3), seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def variables_of(module, x):
    """Numbers in (0.5, 1.5) of either sign; variances positive."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        sign = 1 if path[-1].key == "var" else rng.choice([-1, 1], leaf.shape)
        return jnp.asarray(sign * rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.key(0), x))


class TestConvNormReLU:
    @pytest.mark.parametrize("train", [False, True])
    def test_written_out(self, train):
        """Batch norm by its formula between convolution and ReLU."""
        x, module = image(), unit(4, 3, 2)
        variables = variables_of(module, x)
        apply = jax.jit(partial(module.apply, train=train, mutable=["batch_stats"]))
        found, updates = apply(variables, x)
        params, stats = variables["params"], variables["batch_stats"]["bn"]
        y = np.asarray(ops.conv2d(x, params["conv"]["kernel"], stride=2, padding=1, fit="crop"))
        mean = y.mean((0, 1, 2)) if train else stats["mean"]
        var = y.var((0, 1, 2)) if train else stats["var"]
        y = (y - mean) / np.sqrt(var + 1e-5) * params["bn"]["scale"] + params["bn"]["bias"]
        assert (y < 0).any()
        np.testing.assert_allclose(found, np.maximum(y, 0), rtol=1e-3, atol=1e-4)
        moved = (updates["batch_stats"]["bn"]["mean"] != stats["mean"]).all()
        assert bool(moved) == train

    def test_without_a_norm_there_is_a_bias(self):
        x, module = image(), unit(4, (1, 3), 1, (0, 2), norm=None)
        variables = variables_of(module, x)
        assert jax.tree.map(jnp.shape, variables) == {
            "params": {"conv": {"kernel": (1, 3, 3, 4), "bias": (4,)}}
        }
        conv = variables["params"]["conv"]
        y = ops.conv2d(x, conv["kernel"], conv["bias"], padding=(0, 2))
        np.testing.assert_array_equal(jax.jit(module.apply)(variables, x), np.maximum(y, 0))

    def test_with_a_norm_there_is_none(self):
        """Whatever the constructor says: the norm's offset would make it idle."""
        made = jax.eval_shape(
            unit(4, 5, conv=partial(nn.Conv, use_bias=True)).init, jax.random.key(0), image()
        )
        assert jax.tree.map(lambda leaf: leaf.shape, made["params"]) == {
            "conv": {"kernel": (5, 5, 3, 4)},
            "bn": {"scale": (4,), "bias": (4,)},
        }

    def test_constructors_are_given_not_chosen(self):
        """Here grouped filters in bfloat16 and a norm that forgets at once."""
        conv = partial(nn.Conv, groups=3, dtype=jnp.bfloat16)
        module, x = unit(6, 3, conv=conv, norm=partial(nn.BatchNorm, momentum=0.0)), image()
        variables = variables_of(module, x)
        kernel = variables["params"]["conv"]["kernel"]
        assert (kernel.shape, kernel.dtype) == ((3, 3, 1, 6), jnp.float32)
        apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
        y, updates = apply(variables, x)
        assert y.dtype == jnp.bfloat16
        before = ops.conv2d(x, kernel, padding=1, groups=3)
        mean = updates["batch_stats"]["bn"]["mean"]
        np.testing.assert_allclose(mean, np.mean(before, axis=(0, 1, 2)), rtol=0.02, atol=0.02)

    @pytest.mark.parametrize(
        ("norm", "rows"),
        [
            (nn.BatchNorm, [("conv", "CONV7-8/2p3"), ("bn", "BN"), ("relu", "RELU")]),
            (None, [("conv", "CONV7-8/2p3"), ("relu", "RELU")]),
        ],
    )
    def test_rows_of_the_layer_table(self, norm, rows):
        found = cnnlab.summarize(unit(8, 7, 2, 3, norm=norm), (9, 9, 3)).rows[1:]
        assert [(row.path, row.notation) for row in found] == rows
        assert {row.shape for row in found} == {(5, 5, 8)}
