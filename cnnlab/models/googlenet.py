"""GoogLeNet (Szegedy et al. 2014, arXiv 1409.4842, table 1), as in the paper and batch-normalised.

| step | output at 224x224 | what it is |
| --- | --- | --- |
| conv1, pool1 | 112x112x64, 56x56x64 | 7x7/2; 3x3/2 max; LRN |
| conv2, conv3, pool2 | 56x56x64, 56x56x192, 28x28x192 | 1x1, 3x3; LRN; 3x3/2 max |
| inception_3a, 3b, pool3 | 28x28x256, 28x28x480, 14x14x480 | 3x3/2 max |
| inception_4a ... 4e, pool4 | 14x14x512, 512, 512, 528, 832, 7x7x832 | 3x3/2 max |
| inception_5a, 5b | 7x7x832, 7x7x1024 | |
| gap, drop, fc | 1024, 1024, 1000 | dropout 0.4 |

Where the paper and common code disagree:

- `googlenet` is the paper's: biases, LRN, 5x5 filters, no batch norm. 6,998,552 parameters, as
  Caffe's. The paper's LRN has no numbers; those of Krizhevsky et al. 2012 are taken (Caffe divides
  alpha by the 5 channels and has k = 1).
- `googlenet_bn` is torchvision's: batch norm (epsilon 0.001) after every convolution in the place
  of its bias, no LRN, 3x3 filters where the paper has 5x5, a last pool of 2x2/2, dropout 0.2.
  6,624,904 parameters.
- Table 1 leaves the pools' borders open; here a window that reaches over the end of the image
  counts (`fit="pad"`), as in Caffe and torchvision, or 112x112 would not become 56x56.
- The auxiliary heads of `googlenet` pool by the paper's 5x5/3, 14x14 to 4x4; those of
  `googlenet_bn` average whatever map to 4x4, as torchvision's do (`ops.adaptive_avg_pool`): at
  14x14 by windows of 4. Their parameters are as many: 3,188,840 and 3,190,888 with biases,
  3,188,968 and 3,191,016 with batch norm.
- Images of any size, but for the heads of `googlenet`: made for 224x224 they take 223x223 to
  270x270.
- Table 1 counts MACs as operations; they agree to the million but for conv1 (34M; 7x7x3x64 filters
  on 112x112 are 118M) and 5a (54M; 51M). Its weights, in units of 1024, agree up to 3b and for the
  FC, but for conv1 (2.7K; 9.2K); from 4a on they are off by up to 7% (4c 463K; 498K).
"""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import nn, ops
from cnnlab.models.network import Model, Network
from cnnlab.models.sizes import hint

# 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Inception(linen.Module):
    """Filters of three sizes and a pool side by side, the larger behind 1x1 (fig. 2b)."""

    filters: tuple[int, int, int, int, int, int]
    """1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj."""
    large: int
    """F of the branch that is 5x5 in the paper."""
    conv: Callable[..., linen.Module]

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H, W, K], K the sum of what the four branches end in."""
        k1, reduce3, k3, reduce5, k5, proj = self.filters
        y1 = self.conv(k1, 1, name="conv1x1")(x, train=train)
        y3 = self.conv(reduce3, 1, name="conv3x3_reduce")(x, train=train)
        y3 = self.conv(k3, 3, name="conv3x3")(y3, train=train)
        y5 = self.conv(reduce5, 1, name="conv5x5_reduce")(x, train=train)
        y5 = self.conv(k5, self.large, name="conv5x5")(y5, train=train)
        pooled = nn.MaxPool(3, 1, padding=1, name="pool")(x)
        pooled = self.conv(proj, 1, name="pool_proj")(pooled, train=train)
        return nn.Concat(name="concat")(y1, y3, y5, pooled)


class AuxiliaryHead(linen.Module):
    """A classifier on a feature map halfway up, for the gradient it sends down (sec. 5).

    In training it leaves (weight, logits [N, classes]) in the collection `aux_logits`.
    """

    classes: int
    weight: float
    conv: Callable[..., linen.Module]
    dense: Callable[..., linen.Module]
    adaptive: bool = False
    """Average whatever map to 4x4, as torchvision does; else 5x5 at stride 3, as the paper does."""

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> None:
        """x [N, H, W, C], of at least 5x5 if not `adaptive`."""
        x = ops.adaptive_avg_pool(x, size=4) if self.adaptive else nn.AvgPool(5, 3, name="pool")(x)
        x = self.conv(128, 1, name="conv")(x, train=train)
        x = self.dense(1024, name="fc1")(x)
        x = nn.ReLU(name="relu")(x)
        x = nn.Dropout(0.7, name="drop")(x, train=train)
        logits = self.dense(self.classes, name="fc2")(x)
        if train and not self.is_initializing():
            self.sow("aux_logits", "logits", (self.weight, logits))


class GoogLeNet(Model):
    """22 weighted layers: three convolutions, nine Inception modules of two each, one FC."""

    classes: int
    aux: float
    """Weight of each auxiliary head's loss; 0 leaves the heads out."""
    large: int
    last_pool: int
    dropout: float
    batch_norm: bool
    """If not, biases and local response normalisation, as in the paper."""
    dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> logits [N, classes]."""
        norm = partial(nn.BatchNorm, epsilon=0.001) if self.batch_norm else None
        conv = partial(nn.ConvNormReLU, conv=partial(nn.Conv, dtype=self.dtype), norm=norm)
        pool = partial(nn.MaxPool, stride=2, fit="pad")
        dense = partial(nn.Dense, dtype=self.dtype)
        x = conv(64, 7, 2, name="conv1")(x, train=train)
        x = pool(3, name="pool1")(x)
        x = x if self.batch_norm else nn.LocalResponseNorm(name="lrn1")(x)
        x = conv(64, 1, name="conv2")(x, train=train)
        x = conv(192, 3, name="conv3")(x, train=train)
        x = x if self.batch_norm else nn.LocalResponseNorm(name="lrn2")(x)
        x = pool(3, name="pool2")(x)
        for name, filters in _MODULES.items():
            if name == "4a":
                x = pool(3, name="pool3")(x)
            if name == "5a":
                x = pool(self.last_pool, name="pool4")(x)
            x = Inception(filters, self.large, conv, name=f"inception_{name}")(x, train=train)
            if name in ("4a", "4d") and self.aux and (train or self.is_initializing()):
                made_of = self.classes, self.aux, conv, dense, self.batch_norm
                _apply(AuxiliaryHead(*made_of, name="aux1" if name == "4a" else "aux2"), x, train)
        x = nn.GlobalAvgPool(name="gap")(x)
        x = nn.Dropout(self.dropout, name="drop")(x, train=train)
        return dense(self.classes, name="fc")(x)


def _apply(head: AuxiliaryHead, x: Array, train: bool) -> None:
    """Call it, and say which images it takes where it refuses x."""
    try:
        head(x, train=train)
    except nn.OtherSize as error:
        raise nn.OtherSize(f"{error}{hint(error, _TO_A_HEAD)}", error.map_size) from error


_TO_A_HEAD = (
    nn.Conv(64, 7, 2),
    *[nn.MaxPool(3, 2, fit="pad")] * 3,
    nn.AvgPool(5, 3),
)
"""What changes the size on the way to the FC of one of the paper's auxiliary heads."""


def googlenet(*, classes: int = 1000, aux: float = 0.0, dtype: Any = jnp.float32) -> GoogLeNet:
    """The paper's network: 6,998,552 parameters without auxiliary heads.

    Args:
        classes: outputs.
        aux: the weight of each auxiliary head's loss, 0.3 in the paper; 0 leaves the heads out.
            They are there in training only, and so in no `cnnlab.summarize`.
        dtype: the type computed in.

    Raises:
        ValueError: an `aux` that is no number from 0.
    """
    return GoogLeNet(
        classes, _weight(aux), large=5, last_pool=3, dropout=0.4, batch_norm=False, dtype=dtype
    )


def googlenet_bn(*, classes: int = 1000, aux: float = 0.0, dtype: Any = jnp.float32) -> GoogLeNet:
    """Torchvision's network: 6,624,904 parameters, 13,004,888 with auxiliary heads.

    Args:
        classes: outputs.
        aux: as for `googlenet`.
        dtype: the type computed in.

    Raises:
        ValueError: an `aux` that is no number from 0.
    """
    return GoogLeNet(
        classes, _weight(aux), large=3, last_pool=2, dropout=0.2, batch_norm=True, dtype=dtype
    )


def _weight(aux: float) -> float:
    number = isinstance(aux, Real) and not isinstance(aux, bool)
    if not number or not 0 <= aux < float("inf"):
        raise ValueError(f"the weight of an auxiliary loss is a number from 0, not aux={aux!r}")
    return aux


NETWORKS = {
    "googlenet": Network(googlenet, (224, 224, 3), "Szegedy et al. 2014, table 1"),
    "googlenet_bn": Network(googlenet_bn, (224, 224, 3), "torchvision's GoogLeNet with batch norm"),
}
