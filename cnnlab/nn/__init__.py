"""Flax Linen layers over `cnnlab.ops`, and blocks made of layers."""

from cnnlab.nn.blocks import ConvNormReLU
from cnnlab.nn.layers import (
    GELU,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Layer,
    LocalConv,
    LocalResponseNorm,
    NoMacs,
    ReLU,
    Tanh,
    Whiten,
    he_normal,
    he_normal_local,
)
from cnnlab.nn.pooling import AvgPool, GlobalAvgPool, L2Pool, MaxPool, Subsample
from cnnlab.nn.residual import (
    Bottleneck,
    BottleneckV1,
    ResidualBlock,
    ShortcutA,
    StochasticDepth,
)

__all__ = [
    "GELU",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Bottleneck",
    "BottleneckV1",
    "Concat",
    "Conv",
    "ConvNormReLU",
    "Dense",
    "Dropout",
    "GlobalAvgPool",
    "L2Pool",
    "Layer",
    "LocalConv",
    "LocalResponseNorm",
    "MaxPool",
    "NoMacs",
    "ReLU",
    "ResidualBlock",
    "ShortcutA",
    "StochasticDepth",
    "Subsample",
    "Tanh",
    "Whiten",
    "he_normal",
    "he_normal_local",
]
