"""VGG (Simonyan & Zisserman 2014, arXiv 1409.1556, table 1): depth, with small filters only.

Five stages of 3x3 convolutions (1x1 last in C's), each followed by a ReLU, each stage by a 2x2 max
pooling; then FC-4096, FC-4096, FC-1000. Parameters at 1000 classes, MACs at 224x224x3:

| configuration | name | weighted layers | parameters | MACs | receptive field |
| --- | --- | --- | --- | --- | --- |
| A | vgg11 | 11 | 132,863,336 | 7.609 G | 150 |
| B | vgg13 | 13 | 133,047,848 | 11.308 G | 156 |
| C | vgg16_1x1 | 16 | 133,638,952 | 11.770 G | 156 |
| D | vgg16 | 16 | 138,357,544 | 15.470 G | 212 |
| E | vgg19 | 19 | 143,667,240 | 19.632 G | 268 |

Choices, and where sources disagree:

- A-LRN, A with a local response normalisation that the paper finds useless, is left out.
- The paper has no batch normalisation. The `_bn` nets are torchvision's, BN between CONV and ReLU,
  but without the biases that those BNs make idle: fewer by the filters of all CONV layers, so 4,224
  fewer for vgg16_bn (138,361,768 against torchvision's 138,365,992). A bias b in torchvision's
  weights is the same as a running mean lower by b.
- ReLU before DROP in the head, as in torchvision; the two commute.
- Images of 32x32 and larger: as in torchvision the last map is averaged to 7x7 before the FC head,
  which changes nothing at 224x224 (`ops.adaptive_avg_pool`), and a pooling leaves out the last row
  and column of an odd map. The paper's own way with other sizes is to make the head convolutions.
  `vgg_cifar` has no such pooling, and its weights take 32x32 alone.
- The paper draws weights from N(0, 0.01^2) and starts the deeper nets from a trained A; here it is
  He's initialisation.
- N0 puts the forward memory of D at 24M numbers; the rows of its own table add up to 15.2M.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp

from cnnlab.errors import unknown
from cnnlab.models.adaptive import pooled_before_fc
from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern

FILTERS = (64, 128, 256, 512, 512)
"""Filters of the five stages."""

TABLE_1 = {
    "A": "3   | 3   | 3 3     | 3 3     | 3 3",
    "B": "3 3 | 3 3 | 3 3     | 3 3     | 3 3",
    "C": "3 3 | 3 3 | 3 3 1   | 3 3 1   | 3 3 1",
    "D": "3 3 | 3 3 | 3 3 3   | 3 3 3   | 3 3 3",
    "E": "3 3 | 3 3 | 3 3 3 3 | 3 3 3 3 | 3 3 3 3",
}
"""Filter sizes of each configuration, stage by stage."""

HEADS = {"fc": "[FC-4096 -> RELU -> DROP0.5]*2 -> FC", "gap": "GAP -> FC"}


def vgg(
    configuration: str,
    batch_norm: bool,
    /,
    *,
    classes: int = 1000,
    head: str = "fc",
    dtype: Any = jnp.float32,
) -> Pattern:
    """A configuration of table 1.

    Args:
        configuration: the letter of the table's column.
        batch_norm: a BN before every ReLU of the stages.
        classes: outputs.
        head: "fc", the paper's two FC-4096 and their dropout, or "gap", global average pooling.
        dtype: the type computed in.

    Raises:
        ValueError: no such head.
    """
    if head not in HEADS:
        raise ValueError(unknown("head", head, HEADS))
    text = f"INPUT -> {_stages(configuration, batch_norm)} -> {HEADS[head]}"
    net = pattern(text, classes=classes, fit="crop", dtype=dtype)
    return pooled_before_fc(net, 7) if head == "fc" else net


def vgg_cifar(*, classes: int = 10, dtype: Any = jnp.float32) -> Pattern:
    """D with BN on 32x32, one FC on the 1x1x512 that is left: 14,724,042 parameters.

    As in kuangliu/pytorch-cifar, whose 4,224 convolution biases before BN bring it to 14,728,266.
    """
    return pattern(f"INPUT -> {_stages('D', True)} -> FC", classes=classes, dtype=dtype)


def _stages(configuration: str, batch_norm: bool) -> str:
    after = "BN -> RELU" if batch_norm else "RELU"
    steps = []
    for sizes, filters in zip(TABLE_1[configuration].split("|"), FILTERS, strict=True):
        steps += [f"CONV{size}-{filters} -> {after}" for size in sizes.split()]
        steps.append("POOL2")
    return " -> ".join(steps)


_CONFIGURATIONS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg16_1x1": "C", "vgg19": "E"}
_SOURCE = "Simonyan & Zisserman 2014, table 1"

NETWORKS = {
    name + suffix: Network(
        partial(vgg, letter, batch_norm), (224, 224, 3), f"{_SOURCE}, {letter}{extra}"
    )
    for name, letter in _CONFIGURATIONS.items()
    for suffix, batch_norm, extra in (("", False, ""), ("_bn", True, ", with batch normalisation"))
} | {"vgg_cifar": Network(vgg_cifar, (32, 32, 3), f"{_SOURCE}, D; kuangliu/pytorch-cifar")}
