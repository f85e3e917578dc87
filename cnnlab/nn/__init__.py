"""Flax Linen layers over `cnnlab.ops`, and blocks made of layers."""

from cnnlab.nn.blocks import ResidualBlock, shortcut_a
from cnnlab.nn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    L2Pool,
    Layer,
    LocalConv,
    LocalResponseNorm,
    MaxPool,
    ReLU,
    he_normal,
    he_normal_local,
)

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "GlobalAvgPool",
    "L2Pool",
    "Layer",
    "LocalConv",
    "LocalResponseNorm",
    "MaxPool",
    "ReLU",
    "ResidualBlock",
    "he_normal",
    "he_normal_local",
    "shortcut_a",
]
