"""Residual blocks with drawn variables, and their steps by formula, in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnnlab import nn

BLOCKS = {"basic": nn.ResidualBlock, "bottleneck": nn.Bottleneck, "v1": nn.BottleneckV1}


def block(filters, stride, kind="basic", **options):
    conv = partial(nn.Conv, use_bias=False)
    return BLOCKS[kind](filters, stride, conv, nn.BatchNorm, **options)


def image(size=5, channels=3, seed=1):
    return np.random.default_rng(seed).normal(size=(2, size, size, channels)).astype(np.float32)


def random_like(tree, seed=0):
    """Numbers in (0.5, 1.5) of either sign; variances positive."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        sign = 1 if path[-1].key == "var" else rng.choice([-1, 1], leaf.shape)
        return jnp.asarray(sign * rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, tree)


def variables_of(module, x):
    return random_like(jax.eval_shape(module.init, jax.random.key(0), x))


def shapes_of(module, channels):
    x = jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda leaf: leaf.shape, params)


def relu(y):
    return np.maximum(y, 0)


class Numpy:
    """The convolutions and norms of a block by their formulas, in NumPy."""

    def __init__(self, variables, strides, train=False):
        variables = jax.tree.map(np.float64, variables)
        self.params, self.stats = variables["params"], variables["batch_stats"]
        self.strides, self.train = strides, train

    def conv(self, name, x):
        kernel, stride = self.params[name]["kernel"], self.strides[name]
        size = kernel.shape[0]
        x = np.pad(np.asarray(x, np.float64), ((0, 0), *[(size // 2, size // 2)] * 2, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
        return np.einsum("nhwcij,ijck->nhwk", windows[:, ::stride, ::stride], kernel)

    def norm(self, name, y):
        params, stats = self.params[name], self.stats[name]
        mean = y.mean(axis=(0, 1, 2)) if self.train else stats["mean"]
        var = y.var(axis=(0, 1, 2)) if self.train else stats["var"]
        return (y - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]


def subsampled(x, filters, stride):
    """Option A by loops."""
    y = np.zeros((len(x), -(-x.shape[1] // stride), -(-x.shape[2] // stride), filters))
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            y[:, i, j, : x.shape[-1]] = x[:, i * stride, j * stride]
    return y
