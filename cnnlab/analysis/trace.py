"""The calls of layers in a forward pass: what the layer table and the activations are read from."""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from flax import linen
from flax.core import DenyList
from jax import Array

from cnnlab import nn
from cnnlab.errors import Mistake
from cnnlab.geometry import DoesNotFit
from cnnlab.models import Pattern

_T = TypeVar("_T")


class Call(NamedTuple):
    """One call of a layer: its name in the network, which time it is, what went in and came out."""

    name: str
    time: int
    layer: nn.Layer
    params: Mapping[str, Any]
    output: Array

    @property
    def path(self) -> str:
        """The name, e.g. `stage1_block1/conv1`; `conv1#2` where the same layer is called again."""
        return self.name if self.time == 1 else f"{self.name}#{self.time}"


def spread(found: Sequence[_T], most: int) -> list[_T]:
    """All if there are at most `most`, else so many, evenly from the first to the last."""
    places = np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(int)
    return [found[place] for place in places]


def first_convolution(calls: Sequence[Call], channels: int) -> Call | None:
    """The first call of a convolution, if it sees the image's channels as they are."""
    found = [call for call in calls if isinstance(call.layer, nn.Conv)]
    return found[0] if found and found[0].params["kernel"].shape[2] == channels else None


@contextmanager
def layer_calls() -> Iterator[list[Call]]:
    """Collects, in order, the calls of layers that modules make inside the `with`.

    A layer made of layers is one call. A layer that is itself the model is called by its kind.

    Raises:
        DoesNotFit: as a layer's own, with its name, notation and input; a pattern's, which points
            at the layer, as it is.
        Mistake: a layer puts out anything but one array.
    """
    calls: list[Call] = []
    times: Counter[str] = Counter()
    inside = False

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal inside
        layer = context.module
        if inside or context.method_name != "__call__" or not isinstance(layer, nn.Layer):
            return call(*args, **kwargs)
        name = "/".join(layer.path) or type(layer).__name__.lower()
        inside = True
        try:
            output = call(*args, **kwargs)
        except DoesNotFit as error:
            if isinstance(layer.parent, Pattern):
                raise
            shapes = (x.shape[1:] for x in (*args, *kwargs.values()) if hasattr(x, "shape"))
            sizes = ", ".join("x".join(map(str, shape)) for shape in shapes)
            reason = f"{layer.notation} does not fit its input [{sizes}]: {error}"
            raise DoesNotFit(f"{name}: {reason}") from error
        finally:
            inside = False
        if not hasattr(output, "shape"):
            raise Mistake(f"{name} puts out a {type(output).__name__}; a layer's is one array")
        times[name] += 1
        params = layer.variables.get("params", {})
        calls.append(Call(name, times[name], layer, params, output))
        return output

    with linen.intercept_methods(record):
        yield calls


def activations(
    model: linen.Module,
    variables: Mapping[str, Any],
    x: Array,
    *,
    train: bool = False,
    rngs: dict[str, Array] | None = None,
) -> dict[str, Array]:
    """What every layer of `model` puts out on x [N, H, W, C], in order of computation.

    Pure, so that it can be jitted, and differentiated by `variables` and x. Flax's own
    `model.apply(..., capture_intermediates=True)` works on these models as well: it returns them
    with what blocks put out, in nested dicts of tuples.

    Args:
        model: made of `nn` layers.
        variables: parameters and running statistics, as `model.init` makes them.
        x: images [N, H, W, C].
        train: whether in the mode of training. The statistics it would move are left as they are.
        rngs: in training what is random wants `{"dropout": key}`.

    Returns:
        Arrays [N, ...] keyed by the paths of the rows of `summarize`: `conv1`,
        `stage1_block1/relu2`, `inception_3a/concat`; the last one is the logits. A pattern numbers
        every layer, `gap1` and `fc3`; other networks number those of which they have several, and
        have a `gap` and a `fc`.

    Raises:
        DoesNotFit: where a layer's windows do not fit; says which layer, and what it was given.
        ValueError: `model` has no `nn` layers.
        OtherSize: x is of another size or depth than what `variables` were made for.
        NotImplementedError: the model scans its blocks, whose values never leave the loop.
    """
    if getattr(model, "scan", False):
        raise NotImplementedError("no activations from inside a scan; make the model without it")
    with layer_calls() as calls:
        model.apply(variables, x, train=train, rngs=rngs, mutable=DenyList("params"))
    if not calls:
        raise ValueError(f"activations are what nn.Layer puts out, and this has none: {model!r}")
    # Through jit a plain dict would come back sorted by its keys.
    return OrderedDict((call.path, call.output) for call in calls)
