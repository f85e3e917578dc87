"""Residual networks for ImageNet (He et al. 2015, arXiv 1512.03385, table 1).

| stage | output | 18 | 34 | 50 | 101 | 152 |
| --- | --- | --- | --- | --- | --- | --- |
| conv1, pool1 | 112, 56 | 7x7, 64, stride 2; 3x3 max pool, stride 2 | | | | |
| stage1, K = 64 | 56 | 2 | 3 | 3 | 3 | 3 |
| stage2, K = 128 | 28 | 2 | 4 | 4 | 4 | 8 |
| stage3, K = 256 | 14 | 2 | 6 | 6 | 23 | 36 |
| stage4, K = 512 | 7 | 2 | 3 | 3 | 3 | 3 |
| gap, fc | 1 | 1000 classes | | | | |

18 and 34 have blocks of two 3x3 with K filters, the others bottlenecks: 1x1 and 3x3 with K, 1x1
with 4K. Where the sources disagree:

- The paper's bottlenecks step in the first 1x1 (`version="v1"`), those of fb.resnet.torch and
  torchvision in the 3x3 ("v1.5", the default): as many parameters, 231,211,008 MACs more, and a
  smaller field (427 against 483 pixels in ResNet-50).
- `version="preact"` is the full pre-activation of He et al. 2016 (arXiv 1603.05027) with the 3x3
  stepping, its norms and ReLUs as in fb.resnet.torch: conv1 is activated once, before the pool and
  before the first block splits, and the last sum once more, before the GAP. Projections are not
  normalised: 7,680 parameters fewer with bottlenecks, 1,792 without. TensorFlow's and timm's "v2"
  have the first norm behind the pool.
- Shortcuts are option B at every depth, as in torchvision and the paper's 50, 101, 152; its 18 and
  34 have option A in table 2, and all three options are compared in table 3.
- Images of any size, as in torchvision: the GAP averages what map there is.
- Weights are drawn by fan-in (He et al. 2015, arXiv 1502.01852, eq. 10); fb.resnet.torch and
  torchvision draw by fan-out (eq. 14).
- TensorFlow pads unevenly where it steps; here padding is the same on every side, as in the
  authors' Caffe and in PyTorch.
- Caffe's pooling rounds up, which needs no padding; here the pool pads one pixel and drops what
  does not fit, as PyTorch does: 56 pixels either way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import nn
from cnnlab.errors import unknown
from cnnlab.models.network import Model, Network
from cnnlab.nn import residual

VERSIONS: dict[str, tuple[type[nn.ResidualBlock], str]] = {
    "v1": (nn.BottleneckV1, "original"),
    "v1.5": (nn.Bottleneck, "original"),
    "preact": (nn.Bottleneck, "full_preact"),
}
"""The bottleneck of each version, and the order of its steps."""


class ResNet(Model):
    """A stem, stages of blocks that each halve the size and double the filters, GAP, FC.

    Whatever the order, conv1 is followed by a norm and a ReLU. With pre-activation the first block
    has none of its own, and the last sum is activated before the GAP (He et al. 2016, appendix).
    """

    block: type[nn.ResidualBlock]
    blocks: tuple[int, ...]
    """How many in each stage."""
    classes: int
    filters: int = 64
    """Filters of the stem and K of the first stage."""
    stem: tuple[int, int] = (7, 2)
    """Size and stride of conv1."""
    pool: bool = True
    shortcut: str = "B"
    order: str = "original"
    survival: float = 1.0
    """The last block's probability to survive; falls linearly from 1 (Huang et al. 2016, eq. 4)."""
    scan: bool = False
    """Run a stage's blocks behind its first as one loop, `stage<s>_blocks`: `residual.scan`."""
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        residual.check(self.shortcut, self.order, self.survival, self.scan)
        super().__post_init__()

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> logits [N, classes]."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        bn_relu = partial(residual.run, norm=nn.BatchNorm, train=train)
        x = conv(self.filters, *self.stem, name="conv1")(x, train=train)
        x = bn_relu(["bn", "relu"], x, 1)
        if self.pool:
            x = nn.MaxPool(3, 2, padding=1, name="pool1")(x, train=train)
        for stage, blocks in enumerate(self.blocks):
            x = self._block(conv, stage, 0)(x, train=train)
            if self.scan and blocks > 1:
                alike = self._block(conv, stage, 1, name=f"stage{stage + 1}_blocks")
                x = residual.scan(alike, x, times=blocks - 1, train=train)
            else:
                for i in range(1, blocks):
                    x = self._block(conv, stage, i)(x, train=train)
        before, _, _ = residual.steps(self.order)
        x = bn_relu(before, x, "")
        x = nn.GlobalAvgPool(name="gap")(x, train=train)
        return nn.Dense(self.classes, dtype=self.dtype, name="fc")(x, train=train)

    def _block(
        self, conv: Callable[..., nn.Conv], stage: int, i: int, name: str = ""
    ) -> nn.ResidualBlock:
        number = sum(self.blocks[:stage]) + i + 1
        return self.block(
            self.filters * 2**stage,
            2 if stage > 0 and i == 0 else 1,
            conv,
            nn.BatchNorm,
            shortcut=self.shortcut,
            order=self.order,
            activated=number == 1,
            survival=1 - number / sum(self.blocks) * (1 - self.survival),
            name=name or f"stage{stage + 1}_block{i + 1}",
        )


def resnet(
    blocks: tuple[int, ...],
    bottleneck: bool,
    /,
    *,
    classes: int = 1000,
    version: str = "v1.5",
    shortcut: str = "B",
    survival: float = 1.0,
    scan: bool = False,
    dtype: Any = jnp.float32,
) -> ResNet:
    """A column of table 1.

    Args:
        blocks: how many in each stage.
        bottleneck: blocks of three convolutions, not of two.
        classes: outputs.
        version: "v1", the paper's stride in a bottleneck's first 1x1; "v1.5", in its 3x3; or
            "preact", full pre-activation.
        shortcut: "A", "B" or "C", what a block's input passes through on its way to the sum; or
            "none", the plain net.
        survival: the last block's probability to be there in a training step (stochastic depth),
            in (0, 1]; 1 keeps every block.
        scan: the equal blocks of a stage as one loop, so that compiling does not take longer with
            depth; parameters are then stacked, and `survival` must be 1.
        dtype: the type computed in.

    Raises:
        ValueError: no such version or shortcut; a survival that is no such probability, or below 1
            in the plain net.
    """
    if version not in VERSIONS:
        raise ValueError(unknown("version", version, VERSIONS))
    block, order = VERSIONS[version]
    return ResNet(
        block if bottleneck else nn.ResidualBlock,
        blocks,
        classes,
        shortcut=shortcut,
        order=order,
        survival=survival,
        scan=scan,
        dtype=dtype,
    )


_TABLE = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}

NETWORKS = {
    name: Network(partial(resnet, *column), (224, 224, 3), "He et al. 2015, table 1")
    for name, column in _TABLE.items()
}
