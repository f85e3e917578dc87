"""Checks of the claims about networks: their weights, memory, receptive fields and patterns."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

import cnnlab
from cnnlab import geometry, models
from cnnlab.analysis import Row, Summary
from cnnlab.analysis.counts import known, total
from cnnlab.evidence.arithmetic.finding import (
    TOLERANCE,
    Finding,
    agreement,
    largest_difference,
    slip,
    volume,
)

# N0, "VGGNet in detail": layer, output, numbers in memory, weights.
VGG_TABLE = (
    ("INPUT", (224, 224, 3), 224 * 224 * 3, 0),
    ("CONV3-64", (224, 224, 64), 224 * 224 * 64, 1_728),
    ("CONV3-64", (224, 224, 64), 224 * 224 * 64, 36_864),
    ("POOL2", (112, 112, 64), 112 * 112 * 64, 0),
    ("CONV3-128", (112, 112, 128), 112 * 112 * 128, 73_728),
    ("CONV3-128", (112, 112, 128), 112 * 112 * 128, 147_456),
    ("POOL2", (56, 56, 128), 56 * 56 * 128, 0),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 294_912),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 589_824),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 589_824),
    ("POOL2", (28, 28, 256), 28 * 28 * 256, 0),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 1_179_648),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 2_359_296),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 2_359_296),
    ("POOL2", (14, 14, 512), 14 * 14 * 512, 0),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("POOL2", (7, 7, 512), 7 * 7 * 512, 0),
    ("FC", (1, 1, 4096), 4096, 102_760_448),
    ("FC", (1, 1, 4096), 4096, 16_777_216),
    ("FC", (1, 1, 1000), 1000, 4_096_000),
)


def fully_connected_neuron() -> Finding:
    """One FC neuron on each of the two images."""
    small, large = (_layer("FC-1", size, size, 3).weights for size in (32, 200))
    return agreement((small, large) == (3_072, 120_000), f"{small:,}; {large:,}")


def convolutional_neuron() -> Finding:
    """One filter on each of the two volumes."""
    rgb, deep = _layer("CONV5-1", 32, 32, 3), _layer("CONV3-1", 16, 16, 20)
    return agreement(
        (rgb.weights, rgb.biases, deep.weights) == (75, 1, 180),
        f"{rgb.weights} weights + {rgb.biases} bias; {deep.weights} weights",
    )


def ten_filters() -> Finding:
    """N1's example layer."""
    layer = _layer("CONV5-10p2", 32, 32, 3)
    parameters = layer.weights + layer.biases
    return agreement(
        layer.shape == (32, 32, 10) and parameters == 760,
        f"{volume(layer.shape)}, {parameters} parameters",
    )


def conv_layer_summary() -> Finding:
    """Settings of F, D1 and K."""
    settings = list(itertools.product((1, 3, 5), (3, 16), (2, 10)))
    equal = 0
    for f, d1, k in settings:
        layer = _layer(f"CONV{f}-{k}", 8, 8, d1)
        equal += (layer.weights, layer.biases, layer.shape[2]) == (f * f * d1 * k, k, k)
    return agreement(
        equal == len(settings), f"equal in {equal} of {len(settings)} settings of F, D1 and K"
    )


def stacked_filters() -> Finding:
    """Fields by recurrence and by the support of a Jacobian; weights at several C."""
    stack = "INPUT -> [CONV3-{0} -> RELU]*{1}"
    fields = [geometry.receptive_field([(3, 1)] * n).size for n in (3, 2)]
    supports = [_jacobian_support(stack.format(2, n)) for n in (3, 2)]
    widths = (4, 16, 64)
    small = {_weights(stack.format(c, 3), c) / c**2 for c in widths}
    large = {_weights(f"INPUT -> CONV7-{c}", c) / c**2 for c in widths}
    return agreement(
        fields == [7, 5] and supports == [(7, 7), (5, 5)] and (small, large) == ({27}, {49}),
        f"{fields[0]}x{fields[0]} and {fields[1]}x{fields[1]} (Jacobian: "
        f"{' and '.join(map(volume, supports))}); {_alternatives(small)} C^2 against "
        f"{_alternatives(large)} C^2 for C = {', '.join(map(str, widths))}",
    )


def vgg_table() -> Finding:
    """Row by row; BN, RELU and DROP, which the note leaves out, hold no memory."""
    vgg = summary("vgg16")
    rows = [row for row in vgg.rows if row.activations]
    equal = sum(
        row.notation.startswith(layer)
        and (1, 1, *row.shape)[-3:] == shape
        and (row.activations, row.weights) == (memory, weights)
        for row, (layer, shape, memory, weights) in zip(rows, VGG_TABLE, strict=False)
    )
    biases = sum(row.biases for row in rows)
    return agreement(
        equal == len(rows) == len(VGG_TABLE) and round(vgg.params / 1e6) == 138,
        f"{equal} of {len(VGG_TABLE)} rows equal; {vgg.params:,} parameters, {biases:,} of them "
        "biases",
    )


def vgg_memory() -> Finding:
    """The sum of the rows, ours and the note's."""
    values, noted = summary("vgg16").activations, sum(memory for _, _, memory, _ in VGG_TABLE)
    return slip(
        values == noted,
        f"{_millions(values)} values, {_megabytes(4 * values)}",
        f"The note's own rows sum to {noted:,} values. Nor are 24M x 4 bytes 93 MB: they are "
        f"{_megabytes(4 * 24e6)} or {_mebibytes(4 * 24e6)}.",
    )


def three_early_layers() -> Finding:
    """Activations of three 3x3x64 layers, and as many bytes again for their gradients."""
    layers = cnnlab.summarize(models.pattern("INPUT -> [CONV3-64]*3"), (224, 224, 3)).rows[1:]
    values = sum(row.activations for row in layers)
    size = 2 * 4 * values
    return slip(
        values == 3 * 224 * 224 * 64,
        f"{_millions(values)} values, {_megabytes(size)} = {_mebibytes(size)}",
        f"About 10 million values is right; at 4 bytes each, and once more for the gradients, they "
        f"take {_megabytes(size)}. 72 MB would be {_millions(72e6 / 8)} values.",
    )


def parameter_counts() -> Finding:
    """Exact counts, AlexNet's in two groups and in one; where VGG's weights, memory, MACs are."""
    noted = {"alexnet_two_groups": 60e6, "alexnet": 60e6, "googlenet": 4e6, "vgg16": 140e6}
    counts = {name: summary(name).params for name in noted}
    off = {name: counts[name] / noted[name] - 1 for name in noted}
    vgg = summary("vgg16")
    first_fc = next(row for row in vgg.rows if row.notation.startswith("FC")).weights / vgg.params
    early = [row for row in vgg.rows if row.notation.startswith("CONV") and row.shape[0] >= 112]
    memory = sum(row.activations for row in early) / vgg.activations
    macs = known(total(row.macs for row in early), "MACs") / known(vgg.macs, "MACs")
    return slip(
        [name for name in noted if abs(off[name]) > 0.02] == ["googlenet"]
        and min(first_fc, memory) > 0.5 > macs,
        "; ".join(f"{name} {counts[name]:,} ({off[name]:+.1%})" for name in noted)
        + f"; of VGG-16, {first_fc:.0%} of the parameters are in the first FC layer, {memory:.0%} "
        f"of the memory and {macs:.0%} of the MACs in the CONV layers before the second POOL",
        f"GoogLeNet's 4M is low: the layers of its paper hold {_millions(counts['googlenet'])}. "
        f"Nor is most of VGG's compute in the early CONV layers: {macs:.0%} of the MACs. The other "
        "figures are right to 2%.",
    )


def layer_pattern() -> Finding:
    """Every N, M and K to 3, 2 and 2, with and without POOL; INPUT -> FC against NumPy."""
    cases = list(itertools.product(range(4), range(3), range(3), (True, False)))
    built = sum(_as_written(n, m, k, pool=pool) for n, m, k, pool in cases)
    difference = _linear_classifier()
    return agreement(
        built == len(cases) and difference < TOLERANCE,
        f"{built} of {len(cases)} networks of N <= 3, M <= 2, K <= 2 built as written; INPUT -> FC "
        f"is Wx + b: largest difference {difference:.0e}",
    )


def identity_shortcuts() -> Finding:
    """ResNet-20 and the plain network of its layers."""
    residual, plain = summary("resnet20"), summary("plain20")
    return agreement(
        (residual.params, residual.macs) == (plain.params, plain.macs),
        f"ResNet-20 {residual.params:,} parameters, {residual.macs:,} MACs; plain-20 "
        f"{plain.params:,}, {plain.macs:,}",
    )


@functools.cache
def summary(name: str) -> Summary:
    """The layer table of a network of the register, on its own input."""
    return cnnlab.summarize(models.create(name), models.network(name).input_shape)


def _layer(notation: str, *shape: int) -> Row:
    return cnnlab.summarize(models.pattern(f"INPUT -> {notation}"), shape).rows[-1]


def _weights(text: str, channels: int) -> int:
    rows = cnnlab.summarize(models.pattern(text), (8, 8, channels)).rows
    return sum(row.weights for row in rows)


def _jacobian_support(text: str) -> tuple[int, int]:
    """Height and width of what the centre of the output depends on, where all weights are 1."""
    image = jnp.ones((1, 11, 11, 1))
    _, network = _filled(text, image, jnp.ones)
    jacobian = jax.jit(jax.jacrev(lambda x: network(x)[0, 5, 5, 0]))(image)
    rows, columns, _ = np.nonzero(np.asarray(jacobian)[0])
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _filled(
    text: str, image: ArrayLike, draw: Callable[[tuple[int, ...]], ArrayLike], **options: Any
) -> tuple[list[Any], Callable[[ArrayLike], Array]]:
    """The parameters that `draw` gives for their shapes, and the pattern's network with them."""
    model = models.pattern(text, **options)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    variables = jax.tree.map(lambda leaf: jnp.float32(draw(leaf.shape)), shapes)
    return jax.tree.leaves(variables), lambda x: jnp.asarray(model.apply(variables, x))


def _as_written(n: int, m: int, k: int, *, pool: bool) -> bool:
    text = f"INPUT -> [[CONV3-8 -> RELU]*{n} -> POOL?]*{m} -> [FC-16 -> RELU]*{k} -> FC"
    layers = models.pattern(text, classes=10, pool=pool).layers
    stage = ["CONV3-8", "RELU"] * n + ["POOL2"] * pool
    return [layer.notation for layer in layers] == stage * m + ["FC-16", "RELU"] * k + ["FC-10"]


def _linear_classifier() -> float:
    """Largest difference of INPUT -> FC from W x + b."""
    rng = np.random.default_rng(20)
    x = rng.normal(size=(2, 4, 4, 3))
    parameters, network = _filled(
        "INPUT -> FC", x, lambda shape: rng.normal(size=shape), classes=10
    )
    bias, weights = sorted(map(np.asarray, parameters), key=np.ndim)
    return largest_difference(network(jnp.float32(x)), x.reshape(2, -1) @ weights + bias)


def _alternatives(values: set[float]) -> str:
    return " or ".join(f"{value:g}" for value in sorted(values))


def _millions(count: float) -> str:
    return f"{count / 1e6:.2f}M"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
