"""Networks by name or by pattern: `create`, `names`, `pattern`."""

from collections.abc import Callable
from typing import Any

from flax import linen

from cnnlab.models.pattern import Pattern, PatternError, pattern
from cnnlab.models.resnet import CifarResNet, resnet20
from cnnlab.names import unknown

__all__ = ["CifarResNet", "Pattern", "PatternError", "create", "names", "pattern"]

_REGISTER: dict[str, Callable[..., linen.Module]] = {
    "resnet20": resnet20,
}


def names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_REGISTER))


def create(name: str, **options: Any) -> linen.Module:
    """The network called `name`, or the one a pattern describes (`INPUT -> ...`).

    Args:
        name: one of `names()`, or a pattern.
        **options: passed on: `classes`, `dtype`, and what the network itself takes.

    Raises:
        ValueError: no such name; says the names there are and the nearest.
        PatternError: the pattern does not parse.
    """
    if name.lstrip().startswith("INPUT"):
        return pattern(name, **options)
    if name not in _REGISTER:
        raise ValueError(unknown("model (and no pattern, INPUT -> ...)", name, names()))
    return _REGISTER[name](**options)
