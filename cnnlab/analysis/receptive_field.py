"""Receptive fields read off the traced computation itself, branches included.

The recurrence is `geometry.ReceptiveField.then`; here it is carried through a jaxpr, value by
value. Where branches meet (a shortcut's sum, an Inception module) the largest field counts.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal

from cnnlab.geometry import ReceptiveField

WHOLE = None
"""The field of a value that sees the whole image: behind a GAP or an FC."""

Field = ReceptiveField | None
_UNSEEN = ReceptiveField(0, 0)


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
    named: dict[str, Field] = {}
    inputs: list[Field] = [*[_UNSEEN] * params, *[ReceptiveField()] * images]
    _walk(closed, inputs, named)
    return named


def _walk(closed: ClosedJaxpr, inputs: list[Field], named: dict[str, Field]) -> list[Field]:
    jaxpr = closed.jaxpr
    fields: dict[Any, Field] = dict.fromkeys(jaxpr.constvars, _UNSEEN)
    fields |= dict(zip(jaxpr.invars, inputs, strict=True))

    def of(var: Any) -> Field:
        return _UNSEEN if isinstance(var, Literal) else fields[var]

    for eqn in jaxpr.eqns:
        seen = [of(var) for var in eqn.invars]
        inner = next((v for v in eqn.params.values() if isinstance(v, ClosedJaxpr)), None)
        if inner is not None and len(inner.jaxpr.invars) == len(seen):
            outs = _walk(inner, seen, named)
        else:
            outs = [_through(eqn, seen)] * len(eqn.outvars)
        if eqn.primitive.name == "name":
            named[eqn.params["name"]] = outs[0]
        fields |= dict(zip(eqn.outvars, outs, strict=True))
    return [of(var) for var in jaxpr.outvars]


def _through(eqn: Any, seen: list[Field]) -> Field:
    """The field behind one primitive, from those of its operands."""
    field = _largest(seen)
    if field is WHOLE or field == _UNSEEN:
        return field
    name, params, x = eqn.primitive.name, eqn.params, eqn.invars[0].aval
    if name == "conv_general_dilated":
        numbers = params["dimension_numbers"]
        kernel = eqn.invars[1].aval.shape[numbers.rhs_spec[2]]
        return field.then(kernel, params["window_strides"][0], params["rhs_dilation"][0])
    if name.startswith("reduce_window"):
        return field.then(params["window_dimensions"][1], params["window_strides"][1])
    if name == "slice" and params["strides"] is not None:
        return field.then(1, params["strides"][1])
    if name.startswith("reduce_") and x.ndim == 4 and {1, 2} & set(params["axes"]):
        return WHOLE
    if name == "dot_general":
        return WHOLE if x.ndim == 2 else field
    return field


def _largest(fields: list[Field]) -> Field:
    local = [field for field in fields if field is not WHOLE]
    if len(local) < len(fields):
        return WHOLE
    return max(local, key=lambda field: (field.size, field.step), default=_UNSEEN)
