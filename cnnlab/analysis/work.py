"""What a training step asks of a chip: arithmetic, memory traffic, waits for other chips.

XLA's own cost analysis of the lowered program, before any optimisation, gives the FLOPs, and the
bytes if every intermediate array went through memory. How much of that a compiler saves depends on
the chip it compiles for. Two more counts of the traced program, made here, say how much it may be:
of a program fused as compilers do, and of what cannot be fused at all.

A primitive has a place in the lists below, or nothing is known of a step that it is in: none is
taken to be free. So with loops, whose rounds no count here knows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from cnnlab.analysis.primitives import CALLS, ELEMENTWISE
from cnnlab.errors import Mistake


class Work(NamedTuple):
    """One step on one chip; its counts are None where they are not known.

    Attributes:
        images: in the chip's batch.
        flops: XLA's count; a multiply-add is two, and the padding's zeros are not counted.
        unfused: bytes to and from memory, every intermediate array written and read: XLA's count.
        fused: bytes to and from memory in a fused program: an estimate.
        least: bytes that convolutions, matrix products and windows alone read and write.
        kernels: programs on the chip in the fused program.
        gradient: bytes of the gradient that chips sum.
        waits: sums over the batch that follow on one another, as batch norm's. Where the batch is
            spread over chips, each is a small all-reduce that the step cannot go on without.
        unknown: the primitives that are the reason, if any; of these steps only `images` and
            `gradient` are known.
    """

    images: float
    flops: float | None
    unfused: float | None
    fused: float | None
    least: float | None
    kernels: float | None
    gradient: float
    waits: float | None
    unknown: tuple[str, ...] = ()

    def known(self, count: str) -> float:
        """The count of that name.

        Raises:
            Mistake: it is not known; names the primitives.
        """
        found: float | None = getattr(self, count)
        if found is None:
            raise Mistake(f"the step's work is unknown: it has {', '.join(self.unknown)}")
        return found

    def towards(self, other: "Work", images: float) -> "Work":
        """The work of a batch of `images`, from two batches': a part is fixed, the rest linear.

        Raises:
            Mistake: one of the two is not known.
        """
        share = (images - self.images) / (other.images - self.images)
        pairs = ((self.known(count), other.known(count)) for count in self._fields[:-1])
        return Work._make([*(a + share * (b - a) for a, b in pairs), ()])


def count_work(step: Callable[..., Any], *arguments: Any, images: int, params: Any) -> Work:
    """Trace and lower `step`, run nothing.

    Args:
        step: a training step.
        *arguments: its arguments, arrays or shapes.
        images: the batch size N; arrays of the batch have it first.
        params: what `step` trains, one gradient for each of them.
    """
    # For the same counts wherever they are made.
    with jax.default_device(jax.devices("cpu")[0]):
        traced = jax.jit(step).trace(*arguments)
        costs = traced.lower().cost_analysis()
    fused = _Fused(images)
    fused.program(traced.jaxpr)
    counts = {
        "flops": costs.get("flops", 0.0),  # XLA leaves out what there is none of
        "unfused": costs["bytes accessed"],
        "fused": fused.traffic,
        "least": fused.least,
        "kernels": fused.kernels,
        "waits": fused.waits,
    }
    return Work(
        images=images,
        gradient=sum(_bytes(leaf) for leaf in jax.tree.leaves(params)),
        unknown=tuple(sorted(fused.unknown)),
        **(dict.fromkeys(counts) if fused.unknown else counts),
    )


def _bytes(array: Any) -> int:
    return array.size * array.dtype.itemsize


@dataclass(eq=False)
class _Value:
    """An array: in memory, or computed from `sources` (which are) by each kernel that wants it."""

    size: int
    bytes: int
    waits: int = 0
    reductions: int = 0
    """That follow on one another before it can be computed."""
    stored: bool = True
    sources: set["_Value"] = field(default_factory=set)

    @property
    def reads(self) -> set["_Value"]:
        return {self} if self.stored else self.sources


@dataclass
class _Fused:
    """The traffic of a fused program.

    A convolution, matrix product or window reads its operands from memory and writes its result
    there. A reduction writes its result and works out what it reduces as it reads; reductions of
    the same arrays that do not wait for one another read them once. All else is elementwise (or
    only moves numbers): it is worked out inside the kernels that want it, and is written once where
    one of the first kind wants it, or where a kernel would read too many arrays.
    """

    images: int
    traffic: int = 0
    least: int = 0
    kernels: int = 0
    waits: int = 0
    reduced: set[tuple[_Value, int]] = field(default_factory=set)
    """Arrays that reductions read, and how many waits before them."""
    unknown: set[str] = field(default_factory=set)
    """Primitives of which no count is known."""

    def program(self, closed: ClosedJaxpr) -> None:
        """Count a whole program: arguments lie in memory, results are written in one kernel."""
        results = self._walk(closed.jaxpr, map(_value, closed.jaxpr.invars))
        written = [value for value in results if not value.stored]
        self._kernel(_reads(written), written)
        self.waits = max(value.waits for value in results)

    def _walk(self, jaxpr: Jaxpr, inputs: Iterable[_Value]) -> list[_Value]:
        values: dict[Any, _Value] = {var: _value(var) for var in jaxpr.constvars}
        values |= dict(zip(jaxpr.invars, inputs, strict=True))

        def of(var: Any) -> _Value:
            return _Value(0, 0) if isinstance(var, Literal) else values[var]

        for eqn in jaxpr.eqns:
            outs = self._through(eqn, [of(var) for var in eqn.invars])
            values |= dict(zip(eqn.outvars, outs, strict=True))
        return [of(var) for var in jaxpr.outvars]

    def _through(self, eqn: Any, operands: list[_Value]) -> list[_Value]:
        name = eqn.primitive.name
        if name in CALLS:
            inner = eqn.params[CALLS[name]]
            return self._walk(getattr(inner, "jaxpr", inner), operands)
        if name in _VIEWS:
            return operands[:1]
        before = max((value.waits for value in operands), default=0)
        level = max((value.reductions for value in operands), default=0)
        outs = [
            _value(var, before + self._over_batch(eqn), level + (name in _REDUCTIONS))
            for var in eqn.outvars
        ]
        if name in _WHOLE:
            for value in operands:
                self._store(value)
            self.least += self._kernel(_reads(operands), outs)
        elif name in _REDUCTIONS:
            reads = {value for value in _reads(operands) if (value, level) not in self.reduced}
            self.reduced |= {(value, level) for value in reads}
            self._kernel(reads, outs)
        elif name in ELEMENTWISE or name in _MOVES:
            self._fuse(operands, outs)
        else:
            self.unknown.add(name)
        return outs

    def _fuse(self, operands: list[_Value], outs: list[_Value]) -> None:
        """Leave `outs` to the kernels that want them; they read what `operands` are made of."""
        size = max(out.size for out in outs)
        if sum(value.size >= size for value in _reads(operands)) > _OPERANDS:
            for value in operands:
                if value.size >= size:
                    self._store(value)
        for out in outs:
            out.stored, out.sources = False, _reads(operands)

    def _over_batch(self, eqn: Any) -> bool:
        """Whether it is a sum over the batch's first axis."""
        if eqn.primitive.name != "reduce_sum" or 0 not in eqn.params["axes"]:
            return False
        images: int = eqn.invars[0].aval.shape[0]
        return images == self.images

    def _store(self, value: _Value) -> None:
        if not value.stored:
            self._kernel(value.reads, [value])
            value.stored = True

    def _kernel(self, reads: set[_Value], writes: list[_Value]) -> int:
        moved = sum(value.bytes for value in (*reads, *writes))
        self.kernels += 1
        self.traffic += moved
        return moved


def _value(var: Any, waits: int = 0, reductions: int = 0) -> _Value:
    return _Value(var.aval.size, _bytes(var.aval), waits, reductions)


def _reads(values: list[_Value]) -> set[_Value]:
    return set[_Value]().union(*(value.reads for value in values))


_VIEWS = {"reshape", "squeeze", "stop_gradient"}
"""The same bytes under another shape."""

_MOVES = {
    "bitcast_convert_type",
    "broadcast_in_dim",
    "concatenate",
    "expand_dims",
    "iota",
    "pad",
    "random_bits",
    "random_fold_in",
    "random_split",
    "random_unwrap",
    "random_wrap",
    "rev",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
    "slice",
    "split",
    "stack",
    "threefry2x32",
    "transpose",
    "unstack",
}
"""Primitives that a kernel works out by the way: they move numbers, make or draw them."""

_OPERANDS = 4
"""Arrays of its result's size that an elementwise kernel reads at most, by the way of it."""

_WHOLE = {
    "conv_general_dilated",
    "cumsum",
    "dot_general",
    "reduce_window",
    "reduce_window_max",
    "reduce_window_min",
    "reduce_window_sum",
    "select_and_gather_add",
    "select_and_scatter_add",
    "sort",
}
"""Primitives that want whole arrays in memory."""

_REDUCTIONS = {
    "argmax",
    "argmin",
    "reduce_and",
    "reduce_max",
    "reduce_min",
    "reduce_or",
    "reduce_prod",
    "reduce_sum",
}
