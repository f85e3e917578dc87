"""Residual networks for CIFAR (He et al. 2015, arXiv 1512.03385, sec. 4.2, table 6).

Three stages of n blocks at 16, 32, 64 filters on 32x32, 16x16, 8x8; option A shortcuts (no
parameters); global average pooling and one FC: 6n + 2 weighted layers. Choices: no bias before a
batch norm; biased (batch) variance; stride-2 convolutions pad one pixel on every side and drop the
row that does not fit (`fit="crop"`), as the authors' Caffe and PyTorch do.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import nn
from cnnlab.models.network import Network


class CifarResNet(linen.Module):
    """6n + 2 layers: a 3x3 stem, three stages of n residual blocks, GAP, FC."""

    blocks: int
    classes: int
    dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> logits [N, classes]."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        x = conv(16, 3, name="stem")(x)
        x = jax.nn.relu(nn.BatchNorm(name="stem_bn")(x, train=train))
        for stage, filters in enumerate((16, 32, 64)):
            for i in range(self.blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f"stage{stage + 1}_block{i + 1}"
                block = nn.ResidualBlock(filters, stride, conv, nn.BatchNorm, name=name)
                x = block(x, train=train)
        x = nn.GlobalAvgPool(name="gap")(x)
        return nn.Dense(self.classes, dtype=self.dtype, name="fc")(x)


def resnet20(*, classes: int = 10, dtype: Any = jnp.float32) -> CifarResNet:
    """ResNet-20: 269,722 parameters at 10 classes on RGB; 8.75% error in table 6."""
    return CifarResNet(3, classes, dtype)


NETWORKS = {"resnet20": Network(resnet20, (32, 32, 3), "He et al. 2015, table 6")}
