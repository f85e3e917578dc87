"""AlexNet (Krizhevsky et al. 2012), and its one tower (Krizhevsky 2014, arXiv 1404.5997).

Filters of the five convolutions and what comes after them, then FC-4096, FC-4096, FC-1000:

| | alexnet | alexnet_two_groups |
| --- | --- | --- |
| input | 224x224x3 | 227x227x3 |
| conv1, 11x11/4 | 64, POOL | 96, LRN, POOL |
| conv2, 5x5 | 192, POOL | 256 in two groups, LRN, POOL |
| conv3, 3x3 | 384 | 384 |
| conv4, 3x3 | 256 | 384 in two groups |
| conv5, 3x3 | 256, POOL | 256 in two groups, POOL |
| parameters | 61,100,840 | 60,965,224 |
| MACs | 714,188,480 | 724,406,816 |

Both see 195x195 at step 32 in a neuron of the last pooling. All pooling is 3x3 at stride 2.

Images: `alexnet` takes 63x63 and larger. As in torchvision its last map is averaged to 6x6, which
changes nothing at 224x224 (`ops.adaptive_avg_pool`). The weights of `alexnet_two_groups` take
227x227 alone: neither paper has such a pooling.

Where sources disagree:

- conv4 of the one tower: 384 filters in the 2014 paper's footnote; 256 in the author's own code
  (cuda-convnet2, layers-imagenet-1gpu), in torchvision, whose weights fit here, and so here.
- The author's own code has an LRN before each of the one tower's first two poolings, and no padding
  around its conv1, whose last window hangs over the image. Torchvision has no LRN, and conv1 pads 2
  pixels: (224 - 11 + 4)/4 + 1 = 55.25, cropped to the same 55. So it is here.
- The 2012 paper's input of 224x224 gives (224 - 11)/4 + 1 = 54.25 and not its 55x55 feature maps
  (N2's volume of 55x55x96), which come of 227x227, as in Caffe and here.
- The head of the one tower is torchvision's, dropout before each hidden FC. The 2012 net has it
  after their ReLUs, as the paper (sec. 4.2) and Caffe do.
- "Two groups": each GPU's half of the filters in conv2, conv4 and conv5 sees its own half of the
  maps. LRN runs over all maps as in Caffe, in the 2012 paper over a GPU's own. It comes before
  pooling as in the paper; CaffeNet has it after.
- LRN's k = 2, n = 5, alpha = 1e-4, beta = 0.75 are the paper's and multiply the SUM of squares by
  alpha (`ops.local_response_norm`). Caffe's AlexNet divides alpha by n, and has k = 1.
- The papers draw weights from N(0, 0.01^2), with biases of 1 in some layers; here it is He's
  initialisation, with biases of 0.
"""

from typing import Any

import jax.numpy as jnp

from cnnlab.models.adaptive import pooled_before_fc
from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern


def alexnet(*, classes: int = 1000, dtype: Any = jnp.float32) -> Pattern:
    """The one tower of 2014, as in torchvision: 61,100,840 parameters at 1000 classes.

    Images of 63x63 pixels or more: what the last pooling gives is averaged to 6x6.
    """
    text = (
        "INPUT -> CONV11-64/4p2 -> RELU -> POOL3/2"
        " -> CONV5-192 -> RELU -> POOL3/2"
        " -> CONV3-384 -> RELU -> [CONV3-256 -> RELU]*2 -> POOL3/2"
        " -> [DROP0.5 -> FC-4096 -> RELU]*2 -> FC"
    )
    return pooled_before_fc(pattern(text, classes=classes, fit="crop", dtype=dtype), 6)


def alexnet_two_groups(*, classes: int = 1000, dtype: Any = jnp.float32) -> Pattern:
    """The layout of 2012, two GPUs' halves as groups: 60,965,224 parameters at 1000 classes."""
    text = (
        "INPUT -> CONV11-96/4p0 -> RELU -> LRN -> POOL3/2"
        " -> CONV5-256g2 -> RELU -> LRN -> POOL3/2"
        " -> CONV3-384 -> RELU -> CONV3-384g2 -> RELU -> CONV3-256g2 -> RELU -> POOL3/2"
        " -> [FC-4096 -> RELU -> DROP0.5]*2 -> FC"
    )
    return pattern(text, classes=classes, dtype=dtype)


NETWORKS = {
    "alexnet": Network(alexnet, (224, 224, 3), "Krizhevsky 2014, one tower; torchvision"),
    "alexnet_two_groups": Network(
        alexnet_two_groups, (227, 227, 3), "Krizhevsky et al. 2012, fig. 2"
    ),
}
