"""A network's steps as plain tuples, for the rivals to build the same network their own way.

    ("conv", K, F, S, P, has a bias) ("bn",) ("relu",) ("max_pool", F, S, P) ("dropout", rate)
    ("gap",) ("fc", K) ("block", K, S)

A block is He et al. 2015's of two 3x3 convolutions with a shortcut of option A.
"""

from typing import Any

from flax import linen

from cnnlab import nn
from cnnlab.models.pattern import Pattern
from cnnlab.models.resnet import ResNet

Step = tuple[Any, ...]


def structure(model: linen.Module) -> tuple[Step, ...]:
    """The steps of a cnnlab network.

    Raises:
        ValueError: a network or layer that the rivals have no counterpart of.
    """
    if isinstance(model, Pattern):
        return tuple(map(_step, model.layers))
    if isinstance(model, ResNet):
        return _residual(model)
    raise ValueError(f"no rival builds a {type(model).__name__}; a pattern or a CIFAR ResNet it is")


def _step(layer: nn.Layer) -> Step:
    if getattr(layer, "fit", "crop") == "pad":
        raise ValueError(f'no rival has a counterpart of {layer.notation} with fit="pad"')
    match layer:
        case nn.Conv(dilation=1, groups=1):
            size, stride, padding = layer.kernel_size, layer.stride, layer.pixels
            padding = padding if isinstance(padding, int) else padding[0]
            return "conv", layer.filters, size, stride, padding, layer.use_bias
        case nn.MaxPool():
            return "max_pool", layer.kernel_size, layer.stride or layer.kernel_size, layer.padding
        case nn.Dropout():
            return "dropout", layer.rate
        case nn.Dense(pooled_to=None):
            return "fc", layer.features
        case nn.BatchNorm():
            return ("bn",)
        case nn.ReLU():
            return ("relu",)
        case nn.GlobalAvgPool():
            return ("gap",)
        case _:
            raise ValueError(f"no rival has a counterpart of {layer.notation}")


def _residual(model: ResNet) -> tuple[Step, ...]:
    known = (nn.ResidualBlock, False, "A", "original", 1.0)
    if (model.block, model.pool, model.shortcut, model.order, model.survival) != known:
        raise ValueError("the rivals' ResNet is the paper's for CIFAR: two 3x3 a block, option A")
    size, stride = model.stem
    steps: list[Step] = [("conv", model.filters, size, stride, size // 2, False), ("bn",)]
    steps.append(("relu",))
    for stage, blocks in enumerate(model.blocks):
        strides = [1 if stage == 0 else 2] + [1] * (blocks - 1)
        steps += [("block", model.filters * 2**stage, stride) for stride in strides]
    return (*steps, ("gap",), ("fc", model.classes))
