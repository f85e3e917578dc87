"""The pattern language: a network written as the notes write it, read by lark.

    INPUT -> [[CONV3-32*2^i -> BN -> RELU]*3 -> POOL2]*3 -> GAP -> FC

| written | is |
| --- | --- |
| `CONV<F>-<K>` | K filters of size F; `/<S>` stride, `p<P>` padding (or (F-1)/2), `g<G>` groups |
| `LOCAL<F>-<K>` | the same with unshared filters (locally connected) |
| `POOL<F>`, `AVGPOOL<F>`, `L2POOL<F>` | pooling; F is 2 where left out; stride F unless `/<S>` |
| `POOL?` | any pooling with `?` is there only if `pattern(..., pool=True)` |
| `SUB<F>` | LeNet's subsampling: a mean with a weight and a bias for each map |
| `WHITEN<F>` | fixed filters of size F that whiten the patches of the training images |
| `BN`, `RELU`, `GELU`, `TANH`, `LRN` | batch norm, non-linearities, local response normalisation |
| `DROP<rate>`, `GAP` | dropout, global average pooling |
| `FC-<K>`, `FC` | fully connected to K outputs; a bare FC gives the classes |
| `[... -> ...]*n` | the bracket n times |
| `<K>*<b>^i` | K times b to the power of i, the round of the outermost repeat, from 0 |

A CONV, LOCAL or FC right before a BN has no bias. Layers are named by kind and count: conv1, relu1,
conv2, ..., fc1. Source: N0, Layer Patterns.
"""

import difflib
import functools
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen
from jax import Array
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from cnnlab import nn
from cnnlab.errors import Mistake
from cnnlab.geometry import DoesNotFit
from cnnlab.models.network import Model
from cnnlab.models.sizes import hint
from cnnlab.pages import render

_POOLS = {"POOL": nn.MaxPool, "AVGPOOL": nn.AvgPool, "L2POOL": nn.L2Pool}
_SIMPLE = {
    "BN": nn.BatchNorm,
    "RELU": nn.ReLU,
    "GELU": nn.GELU,
    "TANH": nn.Tanh,
    "GAP": nn.GlobalAvgPool,
    "LRN": nn.LocalResponseNorm,
}


class PatternError(Mistake):
    """A pattern that cannot be read: the message points at the character and says why."""


class Step(NamedTuple):
    """One layer of a pattern: its name in the parameters, what it is, where it stands in the text.

    A layer itself cannot be kept in a module's field: Linen would name it by its place.
    """

    name: str
    layer: type[nn.Layer]
    options: tuple[tuple[str, Any], ...]
    position: int

    def build(self, name: str | None = None) -> nn.Layer:
        """The layer, called `name`."""
        return self.layer(**dict(self.options), name=name)


class Pattern(Model):
    """The network a pattern describes: its steps one after another."""

    text: str
    steps: tuple[Step, ...]

    @property
    def layers(self) -> tuple[nn.Layer, ...]:
        """The layers, unbound."""
        return tuple(step.build() for step in self.steps)

    def _repr_html_(self) -> str:
        return render("pattern.html", model=self)

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> the last layer's output; logits [N, classes] after a bare FC.

        Raises:
            DoesNotFit: where a layer does not fit its input; says which and where.
        """
        for i, step in enumerate(self.steps):
            layer = step.build(step.name)
            try:
                x = layer(x, train=train)
            except ValueError as error:
                shape = "x".join(map(str, x.shape[1:]))
                before = [each.layer(**dict(each.options), parent=None) for each in self.steps[:i]]
                reason = f"{layer.notation} does not fit its input [{shape}]: {error}"
                reason += hint(error, [*before, layer])
                raise DoesNotFit(_point_at(self.text, step.position, reason)) from error
        return x


def pattern(
    text: str,
    *,
    classes: int | None = None,
    fit: str = "error",
    pool: bool = True,
    dtype: Any = jnp.float32,
) -> Pattern:
    """The network that `text` describes.

    Args:
        text: a pattern, e.g. `INPUT -> [CONV3-8 -> RELU -> POOL2]*2 -> FC`.
        classes: outputs of a bare `FC`.
        fit: what to do where filters do not fit: "error", "crop" or "pad" (`geometry`).
        pool: whether the poolings written with `?` are there.
        dtype: the type computed in; parameters stay float32.

    Raises:
        PatternError: `text` does not parse; points at the character and lists what could stand
            there.
    """
    specs = _expand(_parse(text), _Reader(text, classes, pool))
    counts: Counter[str] = Counter()
    steps = []
    for spec, following in zip(specs, [*specs, None][1:], strict=True):
        options = dict(spec.options)
        if spec.kind in ("CONV", "LOCAL", "FC"):
            options["use_bias"] = following is None or following.kind != "BN"
        if spec.kind in ("CONV", "LOCAL", "FC", "WHITEN"):
            options["dtype"] = dtype
        if spec.kind in ("CONV", "LOCAL", "SUB", *_POOLS):
            options["fit"] = fit
        stem = "pool" if spec.kind in _POOLS else spec.kind.lower()
        counts[stem] += 1
        steps.append(
            Step(f"{stem}{counts[stem]}", spec.layer, tuple(options.items()), spec.position)
        )
    return Pattern(text, tuple(steps))


class _Spec(NamedTuple):
    kind: str
    layer: Any
    options: dict[str, Any]
    position: int


@functools.cache
def _grammar() -> Lark:
    grammar = Path(__file__).with_name("pattern.lark").read_text()
    return Lark(grammar, parser="lalr", propagate_positions=True)


def _parse(text: str) -> Tree:
    try:
        return _grammar().parse(text)
    except UnexpectedInput as error:
        raise _explain(text, error) from None


def _expand(tree: Tree, reader: "_Reader") -> list[_Spec]:
    """Unroll the repeats into one flat list of layers."""

    def unroll(node: Any, stage: int | None) -> list[_Spec]:
        if node.data != "group":
            return reader.read(node, stage)
        items = [child for child in node.children if child.data != "repeat"]
        repeats = [int(str(child.children[0])) for child in node.children if child.data == "repeat"]
        specs = []
        for i in range(*repeats or [1]):
            inner = i if repeats and stage is None else stage
            specs += [spec for item in items for spec in unroll(item, inner)]
        return specs

    return [spec for item in tree.children for spec in unroll(item, None)]


class _Reader(NamedTuple):
    """Reads one layer of the tree; `stage` is the round of the outermost repeat around it."""

    text: str
    classes: int | None
    pool: bool

    def read(self, node: Any, stage: int | None) -> list[_Spec]:
        symbol, *rest = node.children
        tokens = {child.type: child for child in rest if isinstance(child, Token)}
        parts = {child.data: child for child in rest if isinstance(child, Tree)}
        sizes: dict[str, Any] = {
            key: int(str(parts[key].children[0]))
            for key in ("stride", "padding", "groups")
            if key in parts
        }
        kind, width = str(symbol), parts.get("width")
        if node.data == "pool":
            if "OPTIONAL" in tokens and not self.pool:
                return []
            sizes["kernel_size"] = int(tokens.get("SIZE", 2))
            return [_Spec(kind, _POOLS[kind], sizes, symbol.start_pos)]
        if node.data == "subsample":
            sizes["kernel_size"] = int(tokens.get("SIZE", 2))
            return [_Spec(kind, nn.Subsample, sizes, symbol.start_pos)]
        if node.data == "filters":
            sizes |= {"filters": self._width(width, stage), "kernel_size": int(tokens["SIZE"])}
            layer = nn.Conv if kind == "CONV" else nn.LocalConv
            return [_Spec(kind, layer, sizes, symbol.start_pos)]
        if node.data == "whiten":
            size = {"kernel_size": int(tokens["SIZE"])}
            return [_Spec(kind, nn.Whiten, size, symbol.start_pos)]
        if node.data == "dense":
            features = self.classes if width is None else self._width(width, stage)
            if features is None:
                raise self._error(symbol, "a bare FC needs classes=<number>")
            return [_Spec(kind, nn.Dense, {"features": features}, symbol.start_pos)]
        if node.data == "drop":
            rate = float(tokens["NUMBER"])
            if rate >= 1:
                reason = f"a dropout rate is a fraction in [0, 1), not {rate:g}"
                raise self._error(tokens["NUMBER"], reason)
            return [_Spec(kind, nn.Dropout, {"rate": rate}, symbol.start_pos)]
        return [_Spec(kind, _SIMPLE[kind], {}, symbol.start_pos)]

    def _width(self, node: Any, stage: int | None) -> int:
        filters, *growth = node.children
        if not growth:
            return int(filters)
        base, i = growth
        if stage is None:
            raise self._error(i, "i counts the rounds of a [...]*n around it, and there is none")
        return int(filters) * int(base) ** stage

    def _error(self, token: Token, reason: str) -> PatternError:
        return PatternError(_point_at(self.text, token.start_pos or 0, reason))


def _explain(text: str, error: UnexpectedInput) -> PatternError:
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    position = len(text) if ended else error.pos_in_stream or 0
    # The error's own list comes from after the parser's last reductions, which narrow it.
    before = _grammar().parse_interactive(text[:position])
    before.exhaust_lexer()
    choices = _spoken(before.accepts())
    found = repr(text[position]) if position < len(text) else "the end"
    reason = f"found {found}, where could stand: {', '.join(choices)}"
    word = re.split(r"\W", text[position:])[0].rstrip("0123456789")
    if near := difflib.get_close_matches(word.upper(), choices, n=1, cutoff=0.5):
        reason += f"; nearest to {word!r}: {near[0]}"
    return PatternError(_point_at(text, position, reason))


def _spoken(terminals: set[str]) -> list[str]:
    spoken = {
        "INT": "a whole number",
        "SIZE": "a whole number from 1",
        "NUMBER": "a number",
        "$END": "the end",
    }
    literal = {t.name: t.pattern.value for t in _grammar().terminals}
    return sorted(spoken.get(name) or literal[name] for name in terminals)


def _point_at(text: str, position: int, reason: str) -> str:
    line = re.sub(r"\s", " ", text)
    return f"column {position + 1}: {reason}\n  {line}\n  {' ' * position}^"
