"""LeNet-5 (LeCun et al. 1998, Gradient-based learning applied to document recognition, II.B).

| layer | is | output | parameters in the paper | as `lenet5()` |
| --- | --- | --- | --- | --- |
| input | a digit, 28x28 in a frame of 32x32 | 32x32x1 | | |
| C1 | 6 filters of 5x5 | 28x28x6 | 156 | 156 |
| S2 | 2x2 subsampling | 14x14x6 | 12 | 0 |
| C3 | 16 filters of 5x5, on 3 to 6 maps each | 10x10x16 | 1,516 | 2,416 |
| S4 | 2x2 subsampling | 5x5x16 | 32 | 0 |
| C5 | 120 filters of 5x5 | 1x1x120 | 48,120 | 48,120 |
| F6 | 84 | 84 | 10,164 | 10,164 |
| output | 10 | 10 | none trained | 850 |
| sum | | | 60,000 | 61,706 |

By default it is the net that goes by this name today: every filter of C3 sees all 6 maps, S2 and S4
are plain means. `lenet5(subsampling="trainable", c3="table")` is the paper's up to F6, 60,000
parameters and the output's 850.

Where the paper and today's net disagree:

- Squashing: the paper's is 1.7159 tanh(2x/3), here it is tanh(x). The paper draws weights uniformly
  within 2.4 / fan-in; here it is He's initialisation.
- Subsampling: the paper ADDS four inputs, then multiplies by a trained coefficient and adds a bias.
  `nn.Subsample` takes their mean, so that the same coefficient is four times as large.
- Non-linearities: in the paper both the C and the S layers squash ("units in layers up to F6"; S2's
  result "is passed through a sigmoidal function"). "trainable" does both; after plain means of
  squashed values, "average" has no second one.
- C5 is a convolution, as in the paper: the same as an FC at 32x32, and no longer on larger images.
  F6 then sees a larger map: weights made for 32x32 take no other size.
- Output: the paper has Euclidean RBF units with fixed, hand-drawn 7x12 bitmaps for centres, and no
  softmax; here it is an FC, whose 850 parameters are trained.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array

from cnnlab import nn, ops
from cnnlab.errors import unknown
from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern

TABLE_I = (
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
)
"""Table I: which of S2's 6 maps (rows) each of C3's 16 filters (columns) sees. 60 of 96 do."""

SUBSAMPLING = {"average": "AVGPOOL2", "trainable": "SUB2 -> TANH"}
C3 = ("dense", "table")


class TableConv(nn.Layer):
    """CONV whose filters see only those maps that a table says, [N, H, W, C] -> [N, H', W', K].

    Parameters: kernel [F, F, X], X the crosses of the table, row by row; bias [K] (zeros). Without
    padding, at stride 1.
    """

    table: tuple[str, ...]
    """A row for each input map, a column for each filter, X where they are connected."""
    kernel_size: int
    dtype: Any = jnp.float32

    @property
    def notation(self) -> str:
        """The pattern language has no word for it: `TABLE5-16`."""
        return f"TABLE{self.kernel_size}-{len(self.table[0])}"

    def macs(self, weights: int, shape: tuple[int, ...]) -> int:
        """Every weight there is once at each position."""
        return weights * shape[0] * shape[1]

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H - F + 1, W - F + 1, K]."""
        connected = np.array([list(row) for row in self.table]) == "X"
        maps, filters = np.nonzero(connected)
        window = (self.kernel_size, self.kernel_size)
        fan_in = self.kernel_size**2 * connected.sum(axis=0)[filters]

        def he_normal(key: Array, shape: tuple[int, ...]) -> Array:
            return jax.random.normal(key, shape) * np.sqrt(2 / fan_in)

        crosses = self.param("kernel", he_normal, (*window, len(maps)))
        bias = self.param("bias", linen.initializers.zeros, connected.shape[1:])
        kernel = jnp.zeros((*window, *connected.shape)).at[:, :, maps, filters].set(crosses)
        return ops.conv2d(x.astype(self.dtype), kernel, bias)


def lenet5(
    *,
    classes: int = 10,
    subsampling: str = "average",
    c3: str = "dense",
    dtype: Any = jnp.float32,
) -> Pattern:
    """LeNet-5: 61,706 parameters at 10 classes.

    Args:
        classes: outputs.
        subsampling: "average", plain means, or "trainable", with a coefficient and a bias for each
            map and a squashing of its own.
        c3: "dense", where each filter sees all maps, or "table", those of table I. The pattern
            language has no word for the latter: the net's `text` says TABLE5-16, and is to be read,
            not to be parsed.
        dtype: the type computed in.

    Raises:
        ValueError: no such subsampling, no such c3.
    """
    if subsampling not in SUBSAMPLING:
        raise ValueError(unknown("subsampling", subsampling, SUBSAMPLING))
    if c3 not in C3:
        raise ValueError(unknown("c3", c3, C3))
    pool = SUBSAMPLING[subsampling]
    text = (
        f"INPUT -> CONV5-6p0 -> TANH -> {pool} -> CONV5-16p0 -> TANH -> {pool}"
        " -> CONV5-120p0 -> TANH -> FC-84 -> TANH -> FC"
    )
    dense = pattern(text, classes=classes, dtype=dtype)
    return dense if c3 == "dense" else _with_table(dense, dtype)


def _with_table(net: Pattern, dtype: Any) -> Pattern:
    options = (("table", TABLE_I), ("kernel_size", 5), ("dtype", dtype))
    text = net.text.replace("CONV5-16p0", "TABLE5-16")
    shift, place = len(text) - len(net.text), text.index("TABLE5-16")
    steps = []
    for step in net.steps:
        if step.position == place:
            step = step._replace(layer=TableConv, options=options)
        elif step.position > place:
            step = step._replace(position=step.position + shift)
        steps.append(step)
    return Pattern(text, tuple(steps))


NETWORKS = {"lenet5": Network(lenet5, (32, 32, 1), "LeCun et al. 1998, sec. II.B")}
