"""All-CNN (Springenberg et al. 2014, arXiv 1412.6806, tables 1 and 2): is pooling needed at all?

Three base nets (table 1): two stages, of 96 and of 192 filters, then 3x3x192, 1x1x192, 1x1x10 and
global average pooling. A stage is convolutions and POOL3/2: in A one of 5x5, in B 5x5 and 1x1, in C
3x3 and 3x3. From each base come three others (table 2 gives those of C; A's and B's are analogous):

| | a stage of C | is the base's with |
| --- | --- | --- |
| base | 3x3, 3x3, POOL3/2 | |
| strided | 3x3, 3x3/2 | no pooling; the convolution before it takes its stride |
| convpool | 3x3, 3x3, 3x3, POOL3/2 | one 3x3 convolution more before the pooling |
| all | 3x3, 3x3, 3x3/2 | the pooling replaced by a 3x3 convolution of its stride |

`convpool` is there to compare with `all`: as many layers and parameters, but it pools. Parameters:

| | base, strided | convpool, all | table 3 prints |
| --- | --- | --- | --- |
| A | 839,242 | 1,254,250 | 0.9M, 1.28M |
| B | 885,610 | 1,300,618 | 1M, 1.35M |
| C | 954,730 | 1,369,738 | 1.3M, 1.4M: its own layers give C's base 0.95M |

Choices:

- Every convolution and pooling keeps the size at stride 1 and halves it at stride 2: 32, 16, 8, by
  (F - 1)/2 pixels of padding, the last row and column cropped. The paper states no padding; its
  "global averaging over 6x6" is no size that 32 gives with it.
- Dropout is 0.2 on the input and 0.5 after each pooling or the layer in its place, as in the paper;
  in `strided` that is taken to be the strided convolution.
- ReLU after the last 1x1 too, as table 1 has it, so that no logit is below 0.
- The paper leaves initialisation open: it is He's.
- Images of any size, as far as memory goes: the last layer averages its maps.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp

from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, pattern

BASES = {
    "a": "CONV5-96*2^i{stride} -> RELU",
    "b": "CONV5-96*2^i -> RELU -> CONV1-96*2^i{stride} -> RELU",
    "c": "CONV3-96*2^i -> RELU -> CONV3-96*2^i{stride} -> RELU",
}
"""Table 1: the convolutions of stage i."""

DERIVED = {
    "base": ("", " -> POOL3/2p1"),
    "strided": ("/2", ""),
    "convpool": ("", " -> CONV3-96*2^i -> RELU -> POOL3/2p1"),
    "all": ("", " -> CONV3-96*2^i/2 -> RELU"),
}
"""Table 2: the stride of a stage's last convolution, and what comes after it."""


def allcnn(base: str, derived: str, /, *, classes: int = 10, dtype: Any = jnp.float32) -> Pattern:
    """One of the twelve: a base net of table 1, as table 2 changes it."""
    stride, end = DERIVED[derived]
    stage = BASES[base].format(stride=stride) + end
    text = (
        f"INPUT -> DROP0.2 -> [{stage} -> DROP0.5]*2"
        f" -> CONV3-192 -> RELU -> CONV1-192 -> RELU -> CONV1-{classes} -> RELU -> GAP"
    )
    return pattern(text, fit="crop", dtype=dtype)


NETWORKS = {
    f"allcnn_{base}_{derived}": Network(
        partial(allcnn, base, derived),
        (32, 32, 3),
        f"Springenberg et al. 2014, tables 1 and 2, {base.upper()} {derived}",
    )
    for base in BASES
    for derived in DERIVED
}
