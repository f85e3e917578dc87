"""Receptive fields read off the traced computation itself, branches included.

The recurrence is that of `geometry.ReceptiveField.then`, carried through a jaxpr value by value and
with the place of each window: where branches meet (a shortcut's sum, an Inception module, the taps
of a LOCAL layer), a neuron sees all that any of them sees.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Literal

from cnnlab.geometry import ReceptiveField

WHOLE = None
"""The field of a value that sees the whole image: behind a GAP or an FC."""

Field = ReceptiveField | None


class _View(NamedTuple):
    """Pixels `first` to `last` are what neuron 0 sees; the next one sees `step` pixels further."""

    first: int
    last: int
    step: int

    def then(self, kernel: int, stride: int, dilation: int = 1, padding: int = 0) -> "_View":
        return _View(
            self.first - padding * self.step,
            self.last + ((kernel - 1) * dilation - padding) * self.step,
            self.step * stride,
        )


_IMAGE = _View(0, 0, 1)
_UNSEEN = _View(0, -1, 0)


def receptive_fields(fn: Callable[..., Any], *args: Any) -> dict[str, Field]:
    """Fields of the values that `fn` names with `checkpoint_name`.

    Args:
        fn: takes `args` and is traced, not run.
        *args: pytrees of arrays or shapes; the last one is the image batch [N, H, W, C].

    Returns:
        For each name the field along the image's height, or `WHOLE`.
    """
    closed = jax.make_jaxpr(fn)(*args)
    images = len(jax.tree.leaves(args[-1]))
    params = len(closed.jaxpr.invars) - images
    named: dict[str, _View | None] = {}
    _walk(closed, [*[_UNSEEN] * params, *[_IMAGE] * images], named)
    return {
        name: view and ReceptiveField(view.last - view.first + 1, view.step)
        for name, view in named.items()
    }


def _walk(
    closed: ClosedJaxpr, inputs: list[_View | None], named: dict[str, _View | None]
) -> list[_View | None]:
    jaxpr = closed.jaxpr
    views: dict[Any, _View | None] = dict.fromkeys(jaxpr.constvars, _UNSEEN)
    views |= dict(zip(jaxpr.invars, inputs, strict=True))

    def of(var: Any) -> _View | None:
        return _UNSEEN if isinstance(var, Literal) else views[var]

    for eqn in jaxpr.eqns:
        seen = [of(var) for var in eqn.invars]
        inner = next((v for v in eqn.params.values() if isinstance(v, ClosedJaxpr)), None)
        if inner is not None and len(inner.jaxpr.invars) == len(seen):
            outs = _walk(inner, seen, named)
        else:
            outs = [_through(eqn, seen)] * len(eqn.outvars)
        if eqn.primitive.name == "name":
            named[eqn.params["name"]] = outs[0]
        views |= dict(zip(eqn.outvars, outs, strict=True))
    return [of(var) for var in jaxpr.outvars]


def _through(eqn: Any, seen: list[_View | None]) -> _View | None:
    """What is seen behind one primitive, from what its operands see."""
    view = _union(seen)
    if view is WHOLE or view == _UNSEEN:
        return view
    name, params, x = eqn.primitive.name, eqn.params, eqn.invars[0].aval
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape[params["dimension_numbers"].rhs_spec[2]]
        stride, dilation = params["window_strides"][0], params["rhs_dilation"][0]
        return view.then(kernel, stride, dilation, padding=params["padding"][0][0])
    if name.startswith("reduce_window"):
        kernel, stride = params["window_dimensions"][1], params["window_strides"][1]
        return view.then(kernel, stride, padding=params["padding"][1][0])
    if name == "slice":
        strides = params["strides"] or (1,) * x.ndim
        return view.then(1, strides[1], padding=-params["start_indices"][1])
    if name == "pad":
        return view.then(1, 1, padding=params["padding_config"][1][0])
    if name.startswith("reduce_") and x.ndim == 4 and {1, 2} & set(params["axes"]):
        return WHOLE
    if name == "dot_general":
        return WHOLE if x.ndim == 2 else view
    return view


def _union(seen: list[_View | None]) -> _View | None:
    views = [view for view in seen if view is not WHOLE]
    if len(views) < len(seen):
        return WHOLE
    views = [view for view in views if view != _UNSEEN]
    if not views:
        return _UNSEEN
    firsts, lasts, steps = zip(*views, strict=True)
    return _View(min(firsts), max(lasts), max(steps))
