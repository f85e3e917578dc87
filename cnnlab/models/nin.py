"""Network in Network (Lin et al. 2013, arXiv 1312.4400, sec. 3 and 4.1): a small MLP as the filter.

An mlpconv layer is a convolution and two 1x1 convolutions, each with its ReLU. CIFAR-10's net:

| mlpconv | filters | then |
| --- | --- | --- |
| 1 | 5x5x192, 1x1x160, 1x1x96 | POOL3/2 to 16x16, DROP0.5 |
| 2 | 5x5x192, 1x1x192, 1x1x192 | POOL3/2 to 8x8, DROP0.5 |
| 3 | 3x3x192, 1x1x192, 1x1x10 | global average pooling: a map for each class, no FC |

966,986 parameters, 222,486,528 MACs.

Choices, and where sources disagree:

- The paper prints no widths for CIFAR: they are those of the authors' cuda-convnet definition
  (mavenlin/cuda-convnet, NIN/cifar-10_def), as is the ReLU after the last 1x1, so that no logit
  is below 0.
- Both poolings take the maximum, as in the paper (sec. 4.1) and that definition; the authors' later
  Caffe model takes the mean in the second.
- Pooling 3x3 at stride 2 does not fit 32: windows hang over the right and lower border, as in
  cuda-convnet and Caffe (`fit="pad"`).
- The authors draw weights from N(0, 0.05^2); here it is He's initialisation.
- Images of any size: the last layer averages its maps.
"""

from typing import Any

import jax.numpy as jnp

from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern


def nin(*, classes: int = 10, dtype: Any = jnp.float32) -> Pattern:
    """The net of CIFAR-10: 966,986 parameters at 10 classes."""
    text = (
        "INPUT -> CONV5-192 -> RELU -> CONV1-160 -> RELU -> CONV1-96 -> RELU -> POOL3/2 -> DROP0.5"
        " -> CONV5-192 -> RELU -> CONV1-192 -> RELU -> CONV1-192 -> RELU -> POOL3/2 -> DROP0.5"
        f" -> CONV3-192 -> RELU -> CONV1-192 -> RELU -> CONV1-{classes} -> RELU -> GAP"
    )
    return pattern(text, fit="pad", dtype=dtype)


NETWORKS = {"nin": Network(nin, (32, 32, 3), "Lin et al. 2013, sec. 4.1; its CIFAR-10 definition")}
