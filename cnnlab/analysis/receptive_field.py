"""Receptive fields read off the traced computation itself, branches included.

The recurrence is that of `geometry.ReceptiveField.then`, carried through a jaxpr value by value and
with the place of each window: where branches meet (a shortcut's sum, an Inception module, the taps
of a LOCAL layer), a neuron sees all that any of them sees. Border effects are left aside.

A primitive has a rule here, or is elementwise, or is refused; none is guessed.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from cnnlab.analysis.primitives import CALLS, ELEMENTWISE
from cnnlab.errors import Mistake
from cnnlab.geometry import ReceptiveField

WHOLE = None
"""The field of a value that sees the whole image: behind a GAP or an FC."""

ALL = "all"
"""How `WHOLE` is printed, and kept in records."""

Field = ReceptiveField | None


class UnknownField(Mistake, NotImplementedError):
    """An operation on what sees the image whose receptive field is not known here."""


class View(NamedTuple):
    """What neurons see of one axis of the image: neuron 0 pixels `first` to `last`.

    Along the array's dimension `axis` each next neuron sees `step` pixels further. Step 0: all see
    the same, or their places are lost, as in a flattened map. No axis: that dimension is gone.
    """

    first: int
    last: int
    step: int
    axis: int | None

    def then(self, kernel: int, stride: int, dilation: int = 1, padding: int = 0) -> "View":
        """The view one layer further up."""
        return self._replace(
            first=self.first - padding * self.step,
            last=self.last + ((kernel - 1) * dilation - padding) * self.step,
            step=self.step * stride,
        )

    def shifted(self, neurons: int) -> "View":
        """The view when neuron `neurons` takes the place of neuron 0."""
        return self.then(1, 1, padding=-neurons)

    def pixels(self, neuron: int) -> range:
        """Rows, or columns, that a neuron sees; those outside the image are padding."""
        return range(int(self.first + neuron * self.step), int(self.last + neuron * self.step) + 1)


_UNSEEN = View(0, -1, 0, None)
"""Of a value that no pixel has a part in: a parameter, a constant."""

Seen = View | None


def receptive_fields(fn: Callable[[Any], Any], images: Any) -> list[tuple[Field, Field]]:
    """Fields along the height and the width of all arrays that `fn` returns.

    Args:
        fn: takes `images` and is traced, not run.
        images: array or shape [N, H, W, C].

    Returns:
        For each leaf of what `fn` returns the fields along the image's height and width, or
        `WHOLE`.

    Raises:
        UnknownField: an operation on what sees the image whose field is not known here.
    """
    return [(_field(height), _field(width)) for height, width in views(fn, images)]


def views(fn: Callable[[Any], Any], images: Any) -> list[tuple[Seen, Seen]]:
    """The same with the place of each field: what neurons see along the height and the width.

    `WHOLE` where that is the whole image. Arguments and errors as of `receptive_fields`.
    """
    closed = jax.make_jaxpr(fn)(images)
    along = (_walk(closed, [View(0, 0, 1, axis)]) for axis in (1, 2))
    return list(zip(*along, strict=True))


def _field(seen: Seen) -> Field:
    return seen and ReceptiveField(int(seen.last - seen.first + 1), int(seen.step))


def _walk(closed: ClosedJaxpr | Jaxpr, inputs: list[Seen]) -> list[Seen]:
    jaxpr = closed.jaxpr if isinstance(closed, ClosedJaxpr) else closed
    views: dict[Any, Seen] = dict.fromkeys(jaxpr.constvars, _UNSEEN)
    views |= dict(zip(jaxpr.invars, inputs, strict=True))

    def of(var: Any) -> Seen:
        return _UNSEEN if isinstance(var, Literal) or 0 in var.aval.shape else views[var]

    for eqn in jaxpr.eqns:
        outs = _through(eqn, [of(var) for var in eqn.invars])
        views |= dict(zip(eqn.outvars, outs, strict=True))
    return [of(var) for var in jaxpr.outvars]


def _through(eqn: Any, seen: list[Seen]) -> list[Seen]:
    """What is seen behind one primitive, from what its operands see."""
    name, outs = eqn.primitive.name, len(eqn.outvars)
    if name == "stop_gradient" or all(view == _UNSEEN for view in seen):
        return [_UNSEEN] * outs
    if name in CALLS:
        return _walk(eqn.params[CALLS[name]], seen)
    if any(view is WHOLE for view in seen):
        return [WHOLE] * outs
    views = [view or _UNSEEN for view in seen]
    if name in ELEMENTWISE:
        shape = eqn.outvars[0].aval.shape
        spread = [
            _spread(view, var, shape, view.axis)
            for view, var in zip(views, eqn.invars, strict=True)
        ]
        return [_union(spread, eqn)] * outs
    if name not in _RULES:
        raise _unknown(eqn, "no rule for it")
    return _RULES[name](eqn, views)


def _unknown(eqn: Any, reason: str) -> UnknownField:
    return UnknownField(f"receptive field behind {eqn.primitive.name}: {reason}\n{eqn}")


def _union(views: list[View], eqn: Any) -> View:
    """All that several values see together, neuron by neuron."""
    views = [view for view in views if view != _UNSEEN]
    if not views:
        return _UNSEEN
    firsts, lasts, steps, axes = zip(*views, strict=True)
    axis = axes[0]
    if len(set(axes)) > 1:
        raise _unknown(eqn, f"height or width stands in different places, {axes}")
    if len(set(steps)) > 1 and axis is not None and eqn.outvars[0].aval.shape[axis] > 1:
        raise _unknown(eqn, f"neighbours' fields lie {' and '.join(map(str, steps))} pixels apart")
    return View(min(firsts), max(lasts), max(steps), axis)


def _sole(eqn: Any, views: list[View]) -> View:
    """The view of the first operand, where it alone may see the image."""
    if any(view != _UNSEEN for view in views[1:]):
        raise _unknown(eqn, "more than its first operand sees the image")
    return views[0]


def _conv(eqn: Any, views: list[View]) -> list[Seen]:
    view, params = _sole(eqn, views), eqn.params
    lhs, rhs, out = params["dimension_numbers"]
    if view.axis == lhs[1]:
        return [WHOLE]
    if view.axis not in lhs[2:] or view.step == 0 or params["batch_group_count"] > 1:
        raise _unknown(eqn, "it runs along an axis that is no height or width")
    i = lhs.index(view.axis) - 2
    if params["lhs_dilation"][i] > 1:
        raise _unknown(eqn, "fractions of a stride are not counted")
    kernel = eqn.invars[1].aval.shape[rhs[2 + i]]
    stride, dilation = params["window_strides"][i], params["rhs_dilation"][i]
    view = view.then(kernel, stride, dilation, padding=params["padding"][i][0])
    return [view._replace(axis=out[2 + i])]


def _reduce_window(eqn: Any, views: list[View]) -> list[Seen]:
    view, params = _sole(eqn, views), eqn.params
    i = view.axis
    if i is None:
        return [view]
    kernel, stride = params["window_dimensions"][i], params["window_strides"][i]
    padding, dilation = params["padding"][i][0], params["window_dilation"][i]
    if (kernel > 1 and view.step == 0) or params["base_dilation"][i] > 1:
        raise _unknown(eqn, "its windows slide over what has no places")
    return [view.then(kernel, stride, dilation, padding)]


def _slice(eqn: Any, views: list[View]) -> list[Seen]:
    (view,), params = views, eqn.params
    if view.axis is None:
        return [view]
    stride = params["strides"][view.axis] if params["strides"] else 1
    return [view.shifted(params["start_indices"][view.axis]).then(1, stride)]


def _split(eqn: Any, views: list[View]) -> list[Seen]:
    (view,), sizes = views, eqn.params["sizes"]
    if view.axis != eqn.params["axis"]:
        return [view] * len(sizes)
    return [view.shifted(int(sum(sizes[:i]))) for i in range(len(sizes))]


def _pad(eqn: Any, views: list[View]) -> list[Seen]:
    view = _sole(eqn, views)
    if view.axis is None:
        return [view]
    low, _, between = eqn.params["padding_config"][view.axis]
    if between:
        raise _unknown(eqn, "it pads between neighbours")
    return [view.shifted(-low)]


def _concatenate(eqn: Any, views: list[View]) -> list[Seen]:
    """Behind one another along the axis itself: the parts go on as one, or the longest has borders.

    Padding by the edge's own pixels is such a border.
    """
    axis, shapes = eqn.params["dimension"], [var.aval.shape for var in eqn.invars]
    if all(view.axis != axis for view in views):
        return [_union(views, eqn)]
    lengths = [shape[axis] for shape in shapes]
    parts = [view.shifted(-sum(lengths[:i])) for i, view in enumerate(views)]
    seen = [part for part in parts if part != _UNSEEN]
    longest = lengths.index(max(lengths))
    if len(set(seen)) > 1 and 2 * lengths[longest] <= sum(lengths):
        raise _unknown(eqn, "its parts see different places, and none is longer than the rest")
    return [seen[0] if len(set(seen)) == 1 else parts[longest]]


def _stack(eqn: Any, views: list[View]) -> list[Seen]:
    view = _union(views, eqn)
    return [_moved(view, view.axis is not None and view.axis >= eqn.params["axis"])]


def _moved(view: View, places: int) -> View:
    return view if view.axis is None else view._replace(axis=view.axis + places)


def _transpose(eqn: Any, views: list[View]) -> list[Seen]:
    (view,) = views
    if view.axis is None:
        return [view]
    return [view._replace(axis=eqn.params["permutation"].index(view.axis))]


def _broadcast(eqn: Any, views: list[View]) -> list[Seen]:
    view = _sole(eqn, views)
    if view.axis is None:
        return [view]
    axis = eqn.params["broadcast_dimensions"][view.axis]
    return [_spread(view, eqn.invars[0], eqn.outvars[0].aval.shape, axis)]


def _spread(view: View, var: Any, shape: tuple[int, ...], axis: int | None) -> View:
    """The view on `axis` of `shape`; where that repeats what was one neuron, all see the same."""
    if axis is None:
        return view
    return view._replace(axis=axis, step=view.step * (var.aval.shape[view.axis] == shape[axis]))


def _squeeze(eqn: Any, views: list[View]) -> list[Seen]:
    (view,) = views
    return [_without(view, eqn.params["dimensions"])]


def _without(view: View, dimensions: tuple[int, ...]) -> View:
    """The view when dimensions are gone."""
    if view.axis in dimensions:
        return view._replace(axis=None)
    return _moved(view, -sum(gone < (view.axis or 0) for gone in dimensions))


def _reduce(eqn: Any, views: list[View]) -> list[Seen]:
    view, axes = _sole(eqn, views), eqn.params["axes"]
    return [WHOLE if view.axis in axes else _without(view, axes)]


def _reshape(eqn: Any, views: list[View]) -> list[Seen]:
    """Keeps the axis, or merges it with its neighbours, as flattening does: places are lost."""
    (view,) = views
    if view.axis is None:
        return [view]
    old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    before, size = math.prod(old[: view.axis]), old[view.axis]
    axis = max(i for i in range(len(new)) if math.prod(new[:i]) <= before)
    if math.prod(new[:axis]) == before and new[axis] == size:
        return [view._replace(axis=axis)]
    if math.prod(new[: axis + 1]) < before * size:
        raise _unknown(eqn, "height or width falls into two dimensions")
    return [view._replace(axis=axis, step=0)]


def _dot(eqn: Any, views: list[View]) -> list[Seen]:
    """Whole where the axis is summed over; else it stands among the batch's or what is free."""
    contracted, batch = eqn.params["dimension_numbers"]
    frees = [
        [i for i in range(var.aval.ndim) if i not in (*contracted[side], *batch[side])]
        for side, var in enumerate(eqn.invars)
    ]
    outs = []
    for side, view in enumerate(views):
        if view.axis in contracted[side]:
            return [WHOLE]
        order = [*batch[side], *[-1] * (side * len(frees[0])), *frees[side]]
        outs.append(view if view.axis is None else view._replace(axis=order.index(view.axis)))
    return [_union(outs, eqn)]


_RULES: dict[str, Callable[[Any, list[View]], list[Seen]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "pad": _pad,
    "reduce_window": _reduce_window,
    "reshape": _reshape,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "transpose": _transpose,
    **dict.fromkeys(
        ("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _reduce_window
    ),
    **dict.fromkeys(("argmax", "argmin", "reduce_and", "reduce_or"), _reduce),
    **dict.fromkeys(("reduce_max", "reduce_min", "reduce_prod", "reduce_sum"), _reduce),
}
