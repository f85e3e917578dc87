"""Networks by name or by pattern: `create`, `names`, `network`, `pattern`, `load_torch`."""

import functools
import inspect
from typing import Any

from flax import linen

from cnnlab import geometry
from cnnlab.errors import unknown
from cnnlab.models import (
    airbench,
    alexnet,
    allcnn,
    baselines,
    googlenet,
    inception,
    lenet,
    nin,
    resnet,
    resnet_cifar,
    vgg,
    zfnet,
)
from cnnlab.models.load_torch import load_torch
from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern, PatternError, pattern
from cnnlab.ops.checks import dtype_name

__all__ = [
    "Network",
    "Pattern",
    "PatternError",
    "create",
    "load_torch",
    "names",
    "network",
    "pattern",
]

_FAMILIES = (
    airbench,
    alexnet,
    allcnn,
    baselines,
    googlenet,
    inception,
    lenet,
    nin,
    resnet,
    resnet_cifar,
    vgg,
    zfnet,
)
_REGISTER: dict[str, Network] = {
    name: network for family in _FAMILIES for name, network in family.NETWORKS.items()
}


def names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_REGISTER))


def network(name: str) -> Network:
    """What the register keeps under `name`: how to build it, its input shape, its source.

    Raises:
        ValueError: no such name; says the names there are and the nearest.
    """
    if name not in _REGISTER:
        raise ValueError(unknown("model (and no pattern, INPUT -> ...)", name, names()))
    return _REGISTER[name]


def create(name: str, **options: Any) -> linen.Module:
    """The network called `name`, or the one a pattern describes (`INPUT -> ...`).

    Args:
        name: one of `names()`, or a pattern.
        **options: passed on: `classes`, `dtype`, and what the network itself takes.

    Raises:
        ValueError: no such name, `classes` that is no whole number from 1, no such `dtype`, or a
            value that the network refuses; says what there is and the nearest.
        TypeError: no such option; says the options there are and the nearest.
        PatternError: the pattern does not parse.
    """
    is_pattern = name.lstrip().startswith("INPUT")
    build = functools.partial(pattern, name) if is_pattern else network(name).build
    known = inspect.signature(build).parameters
    for option in options:
        if option not in known:
            raise TypeError(unknown(f"option of {name}", option, known))
    if "classes" in options:
        options["classes"] = geometry.whole("classes", options["classes"], at_least=1)
    if "dtype" in options:
        dtype_name("dtype", options["dtype"])
    return build(**options)
