"""Inception-v4 and Inception-ResNet-v2 (Szegedy et al. 2016, arXiv 1602.07261, figures 3 to 19).

| step | Inception-v4, 299x299 | Inception-ResNet-v2, 299x299 |
| --- | --- | --- |
| stem | 35x35x384 | 35x35x192, then `mixed` 35x35x320 |
| A | 4 times, 35x35x384 | 10 times, 35x35x320, residuals times 0.17 |
| reduction A | 17x17x1024 | 17x17x1088 |
| B | 7 times, 17x17x1024 | 20 times, 17x17x1088, residuals times 0.10 |
| reduction B | 8x8x1536 | 8x8x2080 |
| C | 3 times, 8x8x1536 | 9 times, 8x8x2080, residuals times 0.20, and one more |
| gap, drop, fc | 1536, keep 0.8, 1000 | 1536 (behind a 1x1), keep 0.8, 1000 |

A table below is a module, as in its figure: branches side by side, concatenated in depth, in the
order of the code, to which published weights are tied. Every convolution is without bias, and batch
norm (epsilon 0.001; 0.9997 of the old statistics are kept) and ReLU follow it. Common code is
TF-Slim's, and timm's after it; the counts are timm's, every norm with scale and offset (Slim has no
scale).

In training Slim's code has an auxiliary head in both nets, behind the last B: 5x5/3 average
pooling, 1x1 to 128, 5x5 to 768, FC, its loss weighted 0.4. The paper shows none; it is left out
here, as in timm.

Images of 75x75 and larger: the GAP averages what map there is.

Where the paper and common code disagree about Inception-v4 (42,679,816 parameters):

- Figure 3 leaves out the stride 2 of the stem's last convolution, without which its branches do not
  fit together.
- Figure 5 has two 1x7 in a row where the 7x7 that they stand for needs 1x7, then 7x1: as in code.
- A 1x7 and a 7x1 that follow one another stand here in the order of the code. Parameters and MACs
  do not depend on it.
- An average takes the pixels of the image that a window holds, as in the code; the paper is silent.

About Inception-ResNet-v2 (55,843,464 parameters) they disagree widely, and this is the code's, the
one whose weights are published:

- The paper gives it Inception-v4's stem; the code has Inception-v3's and a module more (`mixed`).
- The paper repeats 5, 10 and 5 times; the code 10, 20 and 10, the last without ReLU and unscaled.
- The depths, 320, 1088 and 2080, follow; the figures have 384, 1152 and 2144, and misprint the last
  two (1154 and 2048 filters of the linear 1x1). Branches are the same.
- The paper scales residuals by "0.1 to 0.3"; the code by 0.17, 0.10 and 0.20. Both add what a
  linear 1x1 (biases, no norm) makes of the branches.
- The code has a last 1x1 of 1536 filters that figure 15 lacks.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import nn
from cnnlab.models.network import Model, Network

Branch = tuple[Any, ...]
"""Steps in a row: a convolution (filters, F, stride, padding), a pool, or branches again.

Without stride and padding a convolution keeps the size; padding 0 is the figures' V.
"""

MAX = partial(nn.MaxPool, 3, 2)
AVG = partial(nn.AvgPool, 3, 1, padding=1)


class Stage(NamedTuple):
    """A module so many times over: plain, or with `scale` times its residual added to its input."""

    name: str
    branches: tuple[Branch, ...]
    times: int = 1
    scale: float | None = None
    relu: bool = True


# Figure 3.
_STEM_V4 = (
    (32, 3, 2, 0),
    (32, 3, 1, 0),
    (64, 3),
    ((MAX,), ((96, 3, 2, 0),)),
    (
        ((64, 1), (96, 3, 1, 0)),
        ((64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, 0)),
    ),
    (((192, 3, 2, 0),), (MAX,)),
)

# Figures 4; 7 with k = 192, l = 224, m = 256, n = 384; 5; 8; 6.
_INCEPTION_V4 = (
    Stage(
        "inception_a",
        (
            ((96, 1),),
            ((64, 1), (96, 3)),
            ((64, 1), (96, 3), (96, 3)),
            (AVG, (96, 1)),
        ),
        times=4,
    ),
    Stage(
        "reduction_a",
        (
            ((384, 3, 2, 0),),
            ((192, 1), (224, 3), (256, 3, 2, 0)),
            (MAX,),
        ),
    ),
    Stage(
        "inception_b",
        (
            ((384, 1),),
            ((192, 1), (224, (1, 7)), (256, (7, 1))),
            ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
            (AVG, (128, 1)),
        ),
        times=7,
    ),
    Stage(
        "reduction_b",
        (
            ((192, 1), (192, 3, 2, 0)),
            ((256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, 0)),
            (MAX,),
        ),
    ),
    Stage(
        "inception_c",
        (
            ((256, 1),),
            ((384, 1), (((256, (1, 3)),), ((256, (3, 1)),))),
            ((384, 1), (448, (3, 1)), (512, (1, 3)), (((256, (1, 3)),), ((256, (3, 1)),))),
            (AVG, (256, 1)),
        ),
        times=3,
    ),
)

# Inception-v3's.
_STEM_RESNET_V2 = ((32, 3, 2, 0), (32, 3, 1, 0), (64, 3), MAX, (80, 1), (192, 3, 1, 0), MAX)

# Figure 19.
_RESNET_C = (
    ((192, 1),),
    ((192, 1), (224, (1, 3)), (256, (3, 1))),
)

# Figures 16; 7 with k = 256, l = 256, m = 384, n = 384; 17; 18; 19.
_INCEPTION_RESNET_V2 = (
    Stage(
        "mixed",
        (
            ((96, 1),),
            ((48, 1), (64, 5)),
            ((64, 1), (96, 3), (96, 3)),
            (AVG, (64, 1)),
        ),
    ),
    Stage(
        "inception_resnet_a",
        (
            ((32, 1),),
            ((32, 1), (32, 3)),
            ((32, 1), (48, 3), (64, 3)),
        ),
        times=10,
        scale=0.17,
    ),
    Stage(
        "reduction_a",
        (
            ((384, 3, 2, 0),),
            ((256, 1), (256, 3), (384, 3, 2, 0)),
            (MAX,),
        ),
    ),
    Stage(
        "inception_resnet_b",
        (
            ((192, 1),),
            ((128, 1), (160, (1, 7)), (192, (7, 1))),
        ),
        times=20,
        scale=0.10,
    ),
    Stage(
        "reduction_b",
        (
            ((256, 1), (384, 3, 2, 0)),
            ((256, 1), (288, 3, 2, 0)),
            ((256, 1), (288, 3), (320, 3, 2, 0)),
            (MAX,),
        ),
    ),
    Stage("inception_resnet_c", _RESNET_C, times=9, scale=0.20),
    Stage("inception_resnet_c10", _RESNET_C, scale=1.0, relu=False),
)


class Chain(linen.Module):
    """The steps of a branch one after another, named by kind and count."""

    steps: Branch
    conv: Callable[..., linen.Module]

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', K]."""
        count: Counter[str] = Counter()
        for step in self.steps:
            if callable(step):
                kind, build = "pool", step
            elif isinstance(step[0], int):
                kind, build = "conv", partial(self.conv, *step)
            else:
                kind, build = "mixed", partial(Branches, step, self.conv)
            count[kind] += 1
            x = build(name=f"{kind}{count[kind]}")(x, train=train)
        return x


class Branches(linen.Module):
    """Branches side by side on one input, concatenated in depth."""

    branches: tuple[Branch, ...]
    conv: Callable[..., linen.Module]

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', K], K the sum of what the branches end in."""
        ends = [
            Chain(steps, self.conv, name=f"branch{i}")(x, train=train)
            for i, steps in enumerate(self.branches, 1)
        ]
        return nn.Concat(name="concat")(*ends)


class ScaledResidual(linen.Module):
    """relu(x + scale F(x)), F the branches and a linear 1x1 back to the depth of x (sec. 3.3)."""

    branches: tuple[Branch, ...]
    scale: float
    relu: bool
    conv: Callable[..., linen.Module]
    linear: Callable[..., linen.Module]

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H, W, C]."""
        y = Branches(self.branches, self.conv, name="mixed")(x, train=train)
        y = self.linear(x.shape[-1], 1, name="linear")(y)
        y = nn.Add(name="add")(self.scale * y, x)
        return nn.ReLU(name="relu")(y) if self.relu else y


class InceptionNet(Model):
    """Stem, stages, head; then global average pooling, dropout and one FC."""

    stem: Branch
    stages: tuple[Stage, ...]
    head: Branch
    classes: int
    dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C], of at least 75x75 -> logits [N, classes]."""
        linear = partial(nn.Conv, dtype=self.dtype)
        norm = partial(nn.BatchNorm, epsilon=0.001, momentum=0.9997)
        conv = partial(nn.ConvNormReLU, conv=linear, norm=norm)
        x = Chain(self.stem, conv, name="stem")(x, train=train)
        for name, branches, times, scale, relu in self.stages:
            build: Callable[..., linen.Module]
            if scale is None:
                build = partial(Branches, branches, conv)
            else:
                build = partial(ScaledResidual, branches, scale, relu, conv, linear)
            for i in range(1, times + 1):
                x = build(name=name if times == 1 else f"{name}{i}")(x, train=train)
        x = Chain(self.head, conv, name="head")(x, train=train)
        x = nn.GlobalAvgPool(name="gap")(x)
        x = nn.Dropout(0.2, name="drop")(x, train=train)
        return nn.Dense(self.classes, dtype=self.dtype, name="fc")(x)


def inception_v4(*, classes: int = 1000, dtype: Any = jnp.float32) -> InceptionNet:
    """Inception-v4: 42,679,816 parameters; figure 9."""
    return InceptionNet(_STEM_V4, _INCEPTION_V4, (), classes, dtype)


def inception_resnet_v2(*, classes: int = 1000, dtype: Any = jnp.float32) -> InceptionNet:
    """Inception-ResNet-v2 as its authors published it: 55,843,464 parameters; figure 15."""
    return InceptionNet(_STEM_RESNET_V2, _INCEPTION_RESNET_V2, ((1536, 1),), classes, dtype)


NETWORKS = {
    "inception_v4": Network(inception_v4, (299, 299, 3), "Szegedy et al. 2016, figure 9"),
    "inception_resnet_v2": Network(
        inception_resnet_v2, (299, 299, 3), "Szegedy et al. 2016, figure 15, as in TF-Slim"
    ),
}
