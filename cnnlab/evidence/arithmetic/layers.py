"""Checks of the claims about what layers compute, against NumPy loops on small inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

import cnnlab
from cnnlab import models, ops
from cnnlab.evidence.arithmetic.finding import (
    TOLERANCE,
    Finding,
    agreement,
    largest_difference,
    slip,
    volume,
)


def case_study() -> Finding:
    """N0's V[i, j, k] as NumPy sums over slices, for all of V."""
    rng = np.random.default_rng(6)
    x, w, b = rng.normal(size=(11, 11, 4)), rng.normal(size=(5, 5, 4, 2)), rng.normal(size=2)
    v = np.empty((4, 4, 2))
    for i, j, k in np.ndindex(v.shape):
        v[i, j, k] = np.sum(x[2 * i : 2 * i + 5, 2 * j : 2 * j + 5] * w[..., k]) + b[k]
    ours = _conv2d(x, w, b, stride=2)
    difference = largest_difference(ours, v)
    return agreement(
        difference < TOLERANCE,
        f"{volume(ours.shape)}; {v.size} sums, largest difference {difference:.0e}",
    )


def one_by_one() -> Finding:
    """A 1x1 convolution, the dense layer, and NumPy's product with one pixel at a time."""
    rng = np.random.default_rng(15)
    x, w, b = rng.normal(size=(6, 7, 5)), rng.normal(size=(5, 3)), rng.normal(size=3)
    one_neuron_at_a_time = np.stack([[pixel @ w + b for pixel in row] for row in x])
    ours = _conv2d(x, w[None, None], b)
    difference = largest_difference(ours, one_neuron_at_a_time)
    to_dense = largest_difference(ours, ops.dense(*map(jnp.float32, (x, w, b))))
    return agreement(
        max(difference, to_dense) < TOLERANCE,
        f"{x.shape[0] * x.shape[1]} positions: largest difference to the dense layer "
        f"{to_dense:.0e}, to NumPy {difference:.0e}",
    )


def equivariance() -> Finding:
    """Whole numbers, so that equal means equal: all shifts on a circle, small ones in an image."""
    rng = np.random.default_rng(16)
    x, w = rng.integers(-9, 10, (8, 8, 2)), rng.integers(-9, 10, (3, 3, 2, 3))
    shifts = list(np.ndindex(8, 8))
    shifted = np.stack([np.roll(x, shift, (0, 1)) for shift in [(0, 0), *shifts]])
    around = np.pad(shifted, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    y, *ys = np.asarray(jax.jit(ops.conv2d)(jnp.float32(around), jnp.float32(w)))
    exact = sum(np.array_equal(np.roll(y, s, (0, 1)), z) for s, z in zip(shifts, ys, strict=True))

    here, there = (_conv2d(np.roll(x, shift, (0, 1)), w, padding=1) for shift in (0, 1))
    moved = np.roll(here, 1, (0, 1)) == there
    inside = moved[2:-1, 2:-1]
    examples = [_detector(pattern) for pattern in ([0, 3, 2, 0, 0], [0, 0, 3, 2, 0])]
    return agreement(
        exact == len(shifts)
        and inside.all()
        and not moved.all()
        and examples == [[0, 1, 0, 0], [0, 0, 1, 0]],
        f"on a circle exact for {exact} of {len(shifts)} shifts; zero-padded in {inside.sum()} of "
        f"{inside.size} numbers away from the border, {moved.sum()} of {moved.size} in all; "
        + " and ".join(",".join(f"{value:g}" for value in example) for example in examples),
    )


def cross_correlation() -> Finding:
    """N3's sum, term by term; the filter turned around gives other values."""
    rng = np.random.default_rng(17)
    x, w = rng.normal(size=(6, 5, 2)), rng.normal(size=(3, 2, 2, 3))
    z = np.zeros((4, 4, 3))
    for i, j, k in np.ndindex(z.shape):
        for u, v, c in np.ndindex(w.shape[:3]):
            z[i, j, k] += x[i + u, j + v, c] * w[u, v, c, k]
    difference = largest_difference(_conv2d(x, w), z)
    flipped = largest_difference(_conv2d(x, w[::-1, ::-1]), z)
    return agreement(
        difference < TOLERANCE < flipped,
        f"largest difference {difference:.0e}; with the filter flipped {flipped:.1f}",
    )


def pooling_and_depth() -> Finding:
    """Three kinds of pooling in a network, and pooling over depth against NumPy."""
    network = models.pattern("INPUT -> POOL2 -> AVGPOOL2 -> L2POOL2")
    first, *rows = cnnlab.summarize(network, (32, 32, 12)).rows
    parameters = sum(row.weights + row.biases for row in rows)
    x = np.random.default_rng(18).normal(size=(32, 32, 12)).astype(np.float32)
    pooled = jax.jit(partial(ops.channel_pool, kernel=4))(x)
    equal = np.array_equal(pooled, x.reshape(32, 32, 3, 4).max(axis=-1))
    return agreement(
        parameters == 0 and all(row.shape[2] == first.shape[2] for row in rows) and equal,
        f"{volume(first.shape)} -> {volume(rows[0].shape)}, {parameters} parameters; "
        f"over depth {volume(x.shape)} -> {volume(pooled.shape)}",
    )


def batch_normalisation() -> Finding:
    """N0's `batchnorm_forward` in NumPy, three batches in train mode and one in test mode."""
    rng = np.random.default_rng(19)
    batches = rng.normal(3, 2, size=(4, 16, 5))
    gamma, beta = rng.normal(size=(2, 5))
    reference = _batches(batches, gamma, beta, _note_batchnorm_forward, 0.9)
    batch_norm = jax.jit(ops.batch_norm, static_argnames=("train", "momentum"))
    converted = ops.momentum_from_note(0.9)
    ours = _batches(batches, gamma, beta, batch_norm, converted)
    as_written = _batches(batches, gamma, beta, batch_norm, 0.9)
    difference = max(map(largest_difference, ours, reference))
    unconverted = max(map(largest_difference, as_written, reference))
    return slip(
        difference < TOLERANCE < unconverted,
        f"train, test and running statistics: largest difference {difference:.0e}",
        "The values are right, but the note's `momentum` weights the NEW statistic, the reverse "
        f"of the common convention: its 0.9 is {converted:.1f} here (`ops.momentum_from_note`), "
        f"and 0.9 unconverted is off by up to {unconverted:.1f}.",
    )


def convolution_demo() -> Finding:
    """Numbers as in N0's demo (x of 0..2, w of -1..1, b of 1 and 0), each step a sum of three."""
    rng = np.random.default_rng(22)
    x, w, b = rng.integers(0, 3, (5, 5, 3)), rng.integers(-1, 2, (3, 3, 3, 2)), np.array([1, 0])
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    steps = np.empty((3, 3, 2, 3), int)
    for i, j, k in np.ndindex(3, 3, 2):
        window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        steps[i, j, k] = np.sum(window * w[..., k], axis=(0, 1))
    ours = _conv2d(x, w, b, stride=2, padding=1)
    equal = int(np.sum(ours == steps.sum(axis=3) + b))
    first = " + ".join(map(str, [*steps[0, 0, 0], b[0]])).replace("+ -", "- ")
    return agreement(
        equal == ours.size == 18,
        f"{volume(ours.shape)}, {equal} of {ours.size} steps equal; the first: three depth slices "
        f"and the bias, {first} = {ours[0, 0, 0]:g}",
    )


def _conv2d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """`ops.conv2d` of one image [H, W, C] in float32."""
    conv2d = jax.jit(partial(ops.conv2d, stride=stride, padding=padding))
    bias = None if b is None else jnp.float32(b)
    return np.asarray(conv2d(jnp.float32(x)[None], jnp.float32(w), bias))[0]


def _detector(pattern: list[int]) -> list[float]:
    """A filter of two ones, less 4, rectified: it fires where 3 and 2 are seen together."""
    x, bias = np.array(pattern)[None, :, None], np.array([-4])
    return np.maximum(0, _conv2d(x, np.ones((1, 2, 1, 1)), bias))[0, :, 0].tolist()


def _note_batchnorm_forward(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    train: bool,
    momentum: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N0, Batch Normalization: its `batchnorm_forward`, the running statistics in and out."""
    sample_mean, sample_var = mean, var
    if train:
        sample_mean, sample_var = np.mean(x, axis=0), np.var(x, axis=0)
        mean = (1 - momentum) * mean + momentum * sample_mean
        var = (1 - momentum) * var + momentum * sample_var
    return gamma * (x - sample_mean) / np.sqrt(sample_var + 1e-5) + beta, mean, var


def _batches(
    xs: ArrayLike,
    gamma: np.ndarray,
    beta: np.ndarray,
    forward: Callable[..., tuple[ArrayLike, ArrayLike, ArrayLike]],
    momentum: float,
) -> list[ArrayLike]:
    """Outputs of all batches, the last one in test mode, and the running mean and variance."""
    *batches, last = np.asarray(xs)
    mean: ArrayLike = np.zeros(len(gamma))
    var: ArrayLike = np.zeros(len(gamma))
    outputs = []
    for x, train in [*((x, True) for x in batches), (last, False)]:
        y, mean, var = forward(x, gamma, beta, mean, var, train=train, momentum=momentum)
        outputs.append(y)
    return [*outputs, mean, var]
