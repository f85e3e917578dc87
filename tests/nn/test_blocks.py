"""The residual block against a composition of operations written out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import nn, ops


def block(filters, stride):
    return nn.ResidualBlock(filters, stride, partial(nn.Conv, use_bias=False), nn.BatchNorm)


def random_like(tree, seed=0):
    """Numbers in (0.5, 1.5) of either sign; variances positive."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        sign = 1 if path[-1].key == "var" else rng.choice([-1, 1], leaf.shape)
        return jnp.asarray(sign * rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, tree)


def normalised(y, params, stats, train):
    """Batch norm by its formula, in NumPy."""
    y = np.asarray(y, np.float64)
    mean = y.mean(axis=(0, 1, 2)) if train else stats["mean"]
    var = y.var(axis=(0, 1, 2)) if train else stats["var"]
    return (y - mean) / np.sqrt(np.asarray(var) + 1e-5) * params["scale"] + params["bias"]


def written_out(variables, x, stride, train):
    params, stats = variables["params"], variables["batch_stats"]
    norm = lambda y, name: normalised(y, params[name], stats[name], train)  # noqa: E731
    conv = lambda y, name, s: ops.conv2d(  # noqa: E731
        jnp.asarray(y, jnp.float32), params[name]["kernel"], stride=s, padding=1
    )
    y = np.maximum(norm(conv(x, "conv1", stride), "bn1"), 0)
    y = norm(conv(y, "conv2", 1), "bn2")
    shortcut = np.zeros(y.shape)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            shortcut[:, i, j, : x.shape[-1]] = x[:, i * stride, j * stride]
    return np.maximum(shortcut + y, 0)


class TestResidualBlock:
    @pytest.mark.parametrize(
        ("filters", "stride", "size", "train"),
        [(3, 1, 5, False), (3, 1, 5, True), (6, 2, 6, False), (6, 2, 7, True)],
    )
    def test_written_out(self, filters, stride, size, train):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(2, size, size, 3)), jnp.float32)
        module = block(filters, stride)
        variables = random_like(jax.eval_shape(module.init, jax.random.key(0), x))
        apply = jax.jit(partial(module.apply, train=train, mutable=["batch_stats"]))
        y, updates = apply(variables, x)
        expected = written_out(variables, x, stride, train)
        assert y.shape == (2, -(-size // stride), -(-size // stride), filters)
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
        moved = jax.tree.map(
            lambda a, b: bool((a != b).all()), updates, {"batch_stats": variables["batch_stats"]}
        )
        assert set(jax.tree.leaves(moved)) == {train}

    @pytest.mark.parametrize(("filters", "stride"), [(4, 1), (8, 2)])
    def test_shortcuts_have_no_parameters(self, filters, stride):
        """A21: two convolutions without biases, two norms, nothing else."""
        x = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)
        made = jax.eval_shape(block(filters, stride).init, jax.random.key(0), x)["params"]
        assert jax.tree.map(lambda leaf: leaf.shape, made) == {
            "conv1": {"kernel": (3, 3, 4, filters)},
            "bn1": {"scale": (filters,), "bias": (filters,)},
            "conv2": {"kernel": (3, 3, filters, filters)},
            "bn2": {"scale": (filters,), "bias": (filters,)},
        }

    def test_constructors_are_given_not_chosen(self):
        """What the block is made of comes from outside: here biases and another momentum."""
        module = nn.ResidualBlock(4, 1, nn.Conv, partial(nn.BatchNorm, momentum=0.0))
        x = jnp.ones((2, 4, 4, 4))
        variables = random_like(jax.eval_shape(module.init, jax.random.key(0), x))
        assert variables["params"]["conv1"]["bias"].shape == (4,)
        apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
        _, updates = apply(variables, x)
        kernel, bias = (variables["params"]["conv1"][name] for name in ("kernel", "bias"))
        first = ops.conv2d(x, kernel, bias, padding=1)
        np.testing.assert_allclose(
            updates["batch_stats"]["bn1"]["mean"], np.mean(first, axis=(0, 1, 2)), rtol=1e-4
        )


class TestShortcutA:
    def test_subsamples_and_pads_with_zero_channels(self):
        x = jnp.arange(2 * 5 * 4 * 3, dtype=jnp.float32).reshape(2, 5, 4, 3)
        y = nn.shortcut_a(x, 5, 2)
        assert y.shape == (2, 3, 2, 5)
        np.testing.assert_array_equal(y[..., :3], np.asarray(x)[:, ::2, ::2])
        assert not y[..., 3:].any()

    def test_is_the_identity_where_nothing_changes(self):
        x = jnp.arange(32.0).reshape(1, 4, 4, 2)
        np.testing.assert_array_equal(nn.shortcut_a(x, 2, 1), x)
