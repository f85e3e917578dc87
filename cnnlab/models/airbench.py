"""The networks of airbench94 and airbench95: 94% and 95% on CIFAR-10 in few operations.

Jordan 2024 (arXiv 2404.00498): fixed filters that whiten 2x2 patches, then
three blocks of two convolutions, each block with a max pooling behind its first convolution; the
logits are a ninth of what the last layer gives; at the start a convolution's first filters hand on
its input as it is.

    WHITEN2 -> GELU -> [CONV3 -> POOL2 -> BN -> GELU -> CONV3 -> BN -> GELU]*3 -> POOL3 -> FC

The blocks' widths K are 64, 256, 256 in airbench94 and 128, 384, 384 in airbench95, which the paper
trains for 15 epochs at a rate of 10 in place of 11.5.

Choices:

- Images are 32x32. Weights made for them take 25x25 to 48x48, all of which leave a map of 1x1.
- GELU by its tanh approximation, and the norms' epsilon is 1e-5, where the paper has 1e-12.
- The whitening layer's bias, which the paper trains for three epochs, is left out: its gradient
  takes a sixth of a step on a CPU.
- `non_linearity="relu"` in the place of GELU, which takes half of the time of a step on a CPU.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import nn
from cnnlab.errors import unknown
from cnnlab.models.network import Model, Network
from cnnlab.models.pattern import Pattern, pattern

NON_LINEARITIES = ("gelu", "relu")


class AirBench(Model):
    """A pattern whose output is scaled."""

    body: Pattern
    scale: float = 1 / 9

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> logits [N, classes]."""
        return self.scale * self.body(x, train=train)


def airbench(
    widths: tuple[int, int, int],
    *,
    classes: int = 10,
    non_linearity: str = "gelu",
    dtype: Any = jnp.float32,
) -> AirBench:
    """A network of the paper.

    Args:
        widths: filters of the three blocks' convolutions.
        classes: outputs.
        non_linearity: "gelu", the paper's, or "relu".
        dtype: the type computed in.

    Raises:
        ValueError: no such non-linearity.
    """
    if non_linearity not in NON_LINEARITIES:
        raise ValueError(unknown("non_linearity", non_linearity, NON_LINEARITIES))
    act = non_linearity.upper()
    blocks = " -> ".join(
        f"CONV3-{k} -> POOL2 -> BN -> {act} -> CONV3-{k} -> BN -> {act}" for k in widths
    )
    text = f"INPUT -> WHITEN2 -> {act} -> {blocks} -> POOL3 -> FC"
    body = pattern(text, classes=classes, fit="crop", dtype=dtype)
    steps = (
        step._replace(options=tuple((dict(step.options) | CHANGED[step.layer]).items()))
        if step.layer in CHANGED
        else step
        for step in body.steps
    )
    return AirBench(Pattern(body.text, tuple(steps)))


def handing_on(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Filters [F, F, C, K], the first C of which give the input's channels, the others `plain`."""
    height, width, channels, filters = shape
    kernel = plain(key, shape, dtype)
    same = min(channels, filters)
    identity = jnp.zeros((height, width, channels, same), dtype)
    identity = identity.at[height // 2, width // 2].set(jnp.eye(channels, same, dtype=dtype))
    return kernel.at[..., :same].set(identity)


plain = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform of variance 1 / (3 fan-in): where the paper leaves weights as PyTorch makes them."""

CHANGED: dict[type[nn.Layer], dict[str, Any]] = {
    nn.Conv: {"kernel_init": handing_on, "use_bias": False},
    nn.Dense: {"kernel_init": plain, "use_bias": False},
    nn.BatchNorm: {"use_scale": False, "momentum": 0.6},
}
"""Options of the paper's layers that the pattern language has no word for."""

NETWORKS = {
    name: Network(partial(airbench, widths), (32, 32, 3), "Jordan 2024, arXiv 2404.00498")
    for name, widths in (("airbench94", (64, 256, 256)), ("airbench95", (128, 384, 384)))
}
