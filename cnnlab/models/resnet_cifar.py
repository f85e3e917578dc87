"""Residual networks for CIFAR (He et al. 2015, arXiv 1512.03385, sec. 4.2, table 6).

conv1 with 16 filters, three stages of n blocks with K = 16, 32, 64 filters on 32x32, 16x16, 8x8,
global average pooling and one FC: 6n + 2 weighted layers with two convolutions to the block, 9n + 2
with bottlenecks (K, K, 4K filters).

| network | blocks | parameters at 10 classes |
| --- | --- | --- |
| resnet20, 32, 44, 56, 110, 1202 | n = 3, 5, 7, 9, 18, 200, option A shortcuts | 269,722 for 20 |
| plain20, 32, 44, 56, 110 | the same with no shortcuts | as many (claim A21) |
| resnet8, 14, plain8, 14 | n = 1, 2: not in the paper, for short runs | 75,290 and 172,506 |
| preact110 | n = 18, option A, full pre-activation | 1,727,962 |
| preact164, 1001 | n = 18, 111 bottlenecks, option B, full pre-activation | 1,703,258, 10,327,706 |

`order` is one of the five of He et al. 2016 (arXiv 1603.05027, fig. 4; table 2's ResNet-164 is
`preact164` with order "original"), `survival` the last block's in stochastic depth (Huang et al.
2016, arXiv 1603.09382). `scan` runs a stage's blocks behind its first as one loop, so that
ResNet-1202 compiles as fast as ResNet-20: for accelerators, a CPU convolves slowly inside a loop.
Where the sources disagree, or say nothing:

- Images of any size: the GAP averages what map there is.
- Weights are drawn by fan-in (He et al. 2015, arXiv 1502.01852, eq. 10). The authors' code for
  ResNet-1001 (resnet-1k-layers), as fb.resnet.torch, draws by fan-out (eq. 14), which is as good by
  that paper.
- The authors' code of stochastic depth averages 2x2 pixels in a shortcut that steps; option A here
  takes every second pixel, with `survival` and without. Its convolutions also have biases.
- No bias before a batch norm; biased (batch) variance; stride-2 convolutions pad one pixel on every
  side and drop the row that does not fit (`fit="crop"`), as the authors' Caffe and PyTorch do.
- With pre-activation conv1 is activated before the first block splits, which then has no
  pre-activation of its own, and the last sum is activated before the GAP (He et al. 2016,
  appendix): BN and ReLU, or the ReLU alone in `relu_preact`. The count stays that of `original`.
- Projections are not normalised in full pre-activation, and the bottlenecks' first 1x1 steps, both
  as in the authors' code for ResNet-1001. The paper gives that net 10.2M parameters; 10,327,706 is
  what the code's makes, 10.29M what it would without projections.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp

from cnnlab import geometry, nn
from cnnlab.models.network import Network
from cnnlab.models.resnet import ResNet


def resnet(
    block: type[nn.ResidualBlock],
    n: int,
    /,
    *,
    classes: int = 10,
    filters: int = 16,
    stem_stride: int = 1,
    shortcut: str = "A",
    order: str = "original",
    survival: float = 1.0,
    scan: bool = False,
    dtype: Any = jnp.float32,
) -> ResNet:
    """A residual network of three stages.

    Args:
        block: of two convolutions, or a bottleneck.
        n: blocks in each stage.
        classes: outputs.
        filters: K of the first stage, doubled in each of the others.
        stem_stride: of conv1; 2 leaves 16x16, 8x8, 4x4 to the stages, for a quarter of the MACs.
        shortcut: "A", "B" or "C", what a block's input passes through on its way to the sum; or
            "none", the plain net.
        order: of the steps in a block: "original", "bn_after_add", "relu_before_add",
            "relu_preact" or "full_preact".
        survival: the last block's probability to be there in a training step (stochastic depth),
            in (0, 1]; 1 keeps every block.
        scan: the equal blocks of a stage as one loop, so that compiling does not take longer with
            depth; parameters are then stacked, and `survival` must be 1.
        dtype: the type computed in.

    Raises:
        ValueError: no such shortcut or order; a survival that is no such probability, or below 1
            in the plain net; filters or a stride that is no whole number from 1.
    """
    return ResNet(
        block,
        (n, n, n),
        classes,
        filters=geometry.whole("filters", filters, at_least=1),
        stem=(3, geometry.whole("stem_stride", stem_stride, at_least=1)),
        pool=False,
        shortcut=shortcut,
        order=order,
        survival=survival,
        scan=scan,
        dtype=dtype,
    )


def plain(
    n: int,
    /,
    *,
    classes: int = 10,
    filters: int = 16,
    stem_stride: int = 1,
    scan: bool = False,
    dtype: Any = jnp.float32,
) -> ResNet:
    """The layers of `resnet` with blocks of two convolutions and no shortcuts.

    Args:
        n: blocks in each stage.
        classes: outputs.
        filters: K of the first stage, as in `resnet`.
        stem_stride: of conv1, as in `resnet`.
        scan: the equal blocks of a stage as one loop, as in `resnet`.
        dtype: the type computed in.
    """
    return resnet(
        nn.ResidualBlock,
        n,
        classes=classes,
        filters=filters,
        stem_stride=stem_stride,
        shortcut="none",
        scan=scan,
        dtype=dtype,
    )


_DEPTHS = (1, 2, 3, 5, 7, 9, 18)
_preact = partial(resnet, order="full_preact")
_BUILDS = {
    **{f"resnet{6 * n + 2}": partial(resnet, nn.ResidualBlock, n) for n in (*_DEPTHS, 200)},
    **{f"plain{6 * n + 2}": partial(plain, n) for n in _DEPTHS},
    "preact110": partial(_preact, nn.ResidualBlock, 18),
    "preact164": partial(_preact, nn.BottleneckV1, 18, shortcut="B"),
    "preact1001": partial(_preact, nn.BottleneckV1, 111, shortcut="B"),
}
_SOURCES = {
    "resnet": "He et al. 2015, sec. 4.2",
    "plain": "He et al. 2015, fig. 6",
    "preact": "He et al. 2016, table 3",
}

NETWORKS = {
    name: Network(build, (32, 32, 3), _SOURCES[name.rstrip("0123456789")])
    for name, build in _BUILDS.items()
}
