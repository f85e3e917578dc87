"""Floor 1: the operations of a convolutional network as pure functions on arrays.

Images are [N, H, W, C], filters [F, F, C, K]. Sizes of windows are one integer or a pair
(height, width), padding is a number of pixels on each side. Every function can be jitted,
differentiated and vmapped, takes float32 and bfloat16, adds up in float32 whatever it is given,
and returns the dtype of its input `x`; parameters are cast to it. Products of bfloat16 numbers ask
for no float32 result: XLA adds them up in float32 all the same and rounds once at the end (a bias
is added to what was rounded, and rounds it again), and asked for one it would run the gradients'
products in float32.

XLA computes them, or by `with ops.using("onednn")` oneDNN the convolutions, and batch norm in
training and max pooling with code of this project's own: faster on a CPU, where it can be built,
and never needed. The last two can then be differentiated once and in reverse only.
"""

from cnnlab.ops.activation import relu
from cnnlab.ops.backend import BACKENDS, BackendError, preferred, using
from cnnlab.ops.convolution import conv2d, local_conv2d
from cnnlab.ops.dense import dense
from cnnlab.ops.normalisation import batch_norm, local_response_norm, momentum_from_note
from cnnlab.ops.pooling import (
    adaptive_avg_pool,
    avg_pool,
    channel_pool,
    global_avg_pool,
    l2_pool,
    max_pool,
)
from cnnlab.ops.regularisation import dropout
from cnnlab.ops.whitening import whitening_filters
from cnnlab.ops.windows import Size, pair

__all__ = [
    "BACKENDS",
    "BackendError",
    "Size",
    "adaptive_avg_pool",
    "avg_pool",
    "batch_norm",
    "channel_pool",
    "conv2d",
    "dense",
    "dropout",
    "global_avg_pool",
    "l2_pool",
    "local_conv2d",
    "local_response_norm",
    "max_pool",
    "momentum_from_note",
    "pair",
    "preferred",
    "relu",
    "using",
    "whitening_filters",
]
