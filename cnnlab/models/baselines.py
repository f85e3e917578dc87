"""Small nets of the notes, and plain ones to compare with: for 32x32x3, CIFAR-10's images.

| name | is | parameters | source |
| --- | --- | --- | --- |
| linear | FC | 30,730 | N0, Layer Patterns: INPUT -> FC |
| mlp | [FC-512, RELU] twice, FC | 1,841,162 | N0's regular neural net; the widths are ours |
| convnet | CONV5-12, RELU, POOL2, FC | 31,642 | N0, [INPUT - CONV - RELU - POOL - FC] |
| local | the same with LOCAL for CONV | 964,618 | N0 and N2, locally connected layer |
| tiny_vgg | [CONV3-10, RELU, CONV3-10, RELU, POOL2] three times, FC | 6,440 | N0's opening figure |
| convnetjs_cifar | CONV5-16, then twice CONV5-20, each RELU, POOL2; FC | 22,466 | N0's demo |

Choices, and where sources leave gaps:

- `convnet` has the 12 filters of N0's example [32x32x12] and the 5x5 of its example of a receptive
  field on a 32x32x3 image; N0 gives no filter size for that net itself.
- `local` is `convnet` with a filter of its own at each of the 32x32 positions, and so as many MACs.
- `tiny_vgg` is the net that CS231n's home page runs in the browser, and that N0 only names:
  [conv-relu-conv-relu-pool]x3-fc-softmax, "7000 parameters". Ten filters of 3x3 give 6,440.
- `convnetjs_cifar` is the net the ConvNetJS CIFAR-10 demo opens with. An older version of it has
  8, 16 and 16 filters, LRN and 3x3 pooling.
- Weights are He's, where ConvNetJS draws them with variance 1/fan-in.
- Images of any size that pooling halves evenly; weights are for the size they were made for.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp

from cnnlab import geometry
from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern


def mlp(
    *, classes: int = 10, hidden: tuple[int, ...] = (512, 512), dtype: Any = jnp.float32
) -> Pattern:
    """A multilayer perceptron.

    Args:
        classes: outputs.
        hidden: widths, an FC and a RELU for each.
        dtype: the type computed in.

    Raises:
        ValueError: `hidden` is no tuple of whole numbers from 1.
    """
    if not isinstance(hidden, (tuple, list)):
        raise ValueError(f"hidden is a tuple of widths, e.g. (512, 512); got {hidden!r}")
    widths = [geometry.whole("a width in hidden", width, at_least=1) for width in hidden]
    layers = "".join(f"FC-{width} -> RELU -> " for width in widths)
    return pattern(f"INPUT -> {layers}FC", classes=classes, dtype=dtype)


def baseline(text: str, /, *, classes: int = 10, dtype: Any = jnp.float32) -> Pattern:
    """The net that the pattern `text` describes."""
    return pattern(text, classes=classes, dtype=dtype)


_CONVNET = "INPUT -> CONV5-12 -> RELU -> POOL2 -> FC"
_PATTERNS = {
    "linear": ("INPUT -> FC", "N0, Layer Patterns"),
    "convnet": (_CONVNET, "N0, Layers used to build ConvNets"),
    "local": (_CONVNET.replace("CONV", "LOCAL"), "N0 and N2, locally connected layer"),
    "tiny_vgg": (
        "INPUT -> [[CONV3-10 -> RELU]*2 -> POOL2]*3 -> FC",
        "CS231n's demo; N0, Layers used to build ConvNets",
    ),
    "convnetjs_cifar": (
        "INPUT -> CONV5-16 -> RELU -> POOL2 -> [CONV5-20 -> RELU -> POOL2]*2 -> FC",
        "ConvNetJS CIFAR-10 demo; N0, Additional Resources",
    ),
}

NETWORKS = {
    name: Network(partial(baseline, text), (32, 32, 3), source)
    for name, (text, source) in _PATTERNS.items()
} | {"mlp": Network(mlp, (32, 32, 3), "N0, regular neural nets; widths are ours")}
