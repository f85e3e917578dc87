"""ZFNet (Zeiler & Fergus 2013, arXiv 1311.2901, fig. 3): AlexNet with a finer first layer.

| layer | filters | output |
| --- | --- | --- |
| input | | 224x224x3 |
| 1 | 96 of 7x7/2, POOL3/2, LRN | 110x110x96, 55x55x96 |
| 2 | 256 of 5x5/2, POOL3/2, LRN | 26x26x256, 13x13x256 |
| 3, 4 | 384 of 3x3 | 13x13x384 |
| 5 | 256 of 3x3, POOL3/2 | 13x13x256, 6x6x256 |
| 6, 7 | FC-4096, dropout | 4096 |
| 8 | FC-1000 | 1000 |

62,357,608 parameters and 1,168,032,896 MACs; a neuron of the last pooling sees 171x171.

Choices, where the figure gives sizes but no padding:

- 110x110 needs one pixel around the image: (224 - 7 + 2)/2 + 1 = 110.5, cropped to 110.
- 55x55 and 13x13 after pooling need one pixel around their inputs (cropped again); without it they
  are 54x54 and 12x12, and the last map 5x5. Ceil mode gives the same sizes from other windows.
- Layer 2 has no padding: (55 - 5)/2 + 1 = 26.
- "Contrast normalised across feature maps", which the figure has after the pooling, is taken to be
  AlexNet's LRN with its constants. Caffe's copies (as in Faster R-CNN) have it before, over 3x3
  pixels within a channel (alpha 5e-5), and pad 3 and 2 pixels in layers 1 and 2.
- Weights made for 224x224 take images of 213x213 to 244x244, which leave the same 6x6x256.
- One tower, as in the paper: AlexNet's groups are gone.
- N0 says that ZFNet expands the middle layers. That is the paper's table 3 (512, 1024, 512 filters
  in layers 3 to 5), and not its figure 3.
- The paper draws weights from N(0, 0.01^2); here it is He's initialisation.
"""

from typing import Any

import jax.numpy as jnp

from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern


def zfnet(*, classes: int = 1000, dtype: Any = jnp.float32) -> Pattern:
    """The net of figure 3: 62,357,608 parameters at 1000 classes."""
    text = (
        "INPUT -> CONV7-96/2p1 -> RELU -> POOL3/2p1 -> LRN"
        " -> CONV5-256/2p0 -> RELU -> POOL3/2p1 -> LRN"
        " -> [CONV3-384 -> RELU]*2 -> CONV3-256 -> RELU -> POOL3/2"
        " -> [FC-4096 -> RELU -> DROP0.5]*2 -> FC"
    )
    return pattern(text, classes=classes, fit="crop", dtype=dtype)


NETWORKS = {"zfnet": Network(zfnet, (224, 224, 3), "Zeiler & Fergus 2013, fig. 3")}
