"""The keys of a recipe: each has a type, a range and a meaning, and is checked when it is set."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self, get_type_hints

from flax.core import FrozenDict, freeze, unfreeze

from cnnlab.errors import Mistake, unknown

LARGEST_STEP = 2**31 - 1
"""A state counts its steps in int32."""


class RecipeError(Mistake):
    """A recipe that cannot be run; the message names the key, the value and the choices."""


class Key(NamedTuple):
    """What a key means, and which of its type's values it takes.

    Attributes:
        meaning: in a line, with the unit.
        low: the least number.
        high: the largest number.
        below: the number that it stays below, in the place of `high`.
        choices: the words it takes, if not all.
    """

    meaning: str
    low: float | None = None
    high: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The numbers it takes, in words; empty for all."""
        if self.below is not None:
            return f"in [{self.low:g}, {self.below:g})"
        if self.low is not None:
            return f"from {_written(self.low)} to {_written(self.high)}"
        return ""

    def holds(self, number: float) -> bool:
        """Whether a number is finite and in range."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        below = math.inf if self.below is None else self.below
        return low <= number <= high and number < below  # false of what is no number


def key(default: Any, meaning: str, **limits: Any) -> Any:
    """A field of a `Keys` class: its default, its meaning, and the limits that `Key` has."""
    return dataclasses.field(default=default, metadata={"key": Key(meaning, **limits)})


@dataclasses.dataclass(frozen=True)
class Keys:
    """Some keys, or sections of them, that cannot be changed and are right one by one.

    Raises:
        RecipeError: a value has another type, is not finite, or out of range; when it is made.
    """

    PATH: ClassVar[str] = ""
    """What stands before a key's name, such as `train.`."""

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            if "key" in field.metadata:
                value = getattr(self, field.name)
                name = f"{self.PATH}{field.name}"
                checked = _checked(name, value, types[field.name], field.metadata["key"])
                object.__setattr__(self, field.name, checked)

    def override(self, changes: Mapping[str, Any]) -> Self:
        """The same with other values.

        Args:
            changes: nested, `{"train": {"steps": 3}}`, or by path, `{"train.steps": 3}`; what is
                free in form, a network's options, is merged.

        Raises:
            RecipeError: a key that there is not, with the nearest; or as when it is made.
        """
        names = [field.name for field in dataclasses.fields(self)]
        values: dict[str, Any] = {}
        for path, value in changes.items():
            name, _, rest = path.partition(".")
            if name not in names:
                raise RecipeError(unknown("key", f"{self.PATH}{name}", self._paths(names)))
            values[name] = self._overridden(name, value, rest, values)
        return dataclasses.replace(self, **values)

    def _overridden(self, name: str, value: Any, rest: str, values: Mapping[str, Any]) -> Any:
        """What a key becomes; what `values` makes of it already goes on."""
        before = values.get(name, getattr(self, name))
        inner = {rest: value} if rest else value
        if not isinstance(before, (Keys, Mapping)):
            if rest:
                raise RecipeError(f"{self.PATH}{name} has no keys of its own, such as {rest!r}")
            return value
        if not isinstance(inner, Mapping):
            raise RecipeError(f"{self.PATH}{name} = {value!r} must be keys with their values")
        return before.override(inner) if isinstance(before, Keys) else {**before, **inner}

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, by name."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in found.items()}

    def described(self) -> Iterator[tuple[str, Any, str, Key]]:
        """Path, value, type in words and meaning of every key."""
        types = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Keys):
                yield from value.described()
            else:
                kind = _WORDS[types[field.name]]
                yield f"{self.PATH}{field.name}", value, kind, field.metadata["key"]

    def _paths(self, names: list[str]) -> list[str]:
        return [f"{self.PATH}{name}" for name in names]


_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple[float, ...]: "numbers",
    Mapping[str, Any]: "keys with their values",
}


def _checked(name: str, value: Any, kind: Any, limits: Key) -> Any:
    """The value in its type, if it is one that the key takes."""
    if limits.choices and value not in limits.choices:
        raise RecipeError(unknown(name, value, limits.choices))
    if kind == tuple[float, ...]:
        if isinstance(value, str) or not isinstance(value, (tuple, list)):
            raise _refused(name, value, kind, limits)
        return tuple(_checked(name, each, float, limits) for each in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value)
    if kind == Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise _refused(name, value, kind, limits)
        return _frozen(name, value)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not right or (kind in (int, float) and not limits.holds(value)):
        raise _refused(name, value, kind, limits)
    return value


def _refused(name: str, value: Any, kind: Any, limits: Key) -> RecipeError:
    wanted = f"{_WORDS[kind]} {limits.range}".rstrip()
    return RecipeError(f"{name} = {reprlib.repr(value)} must be {wanted}")


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _frozen(name: str, value: Any) -> Any:
    """Options as a record can hold them: names, lists, words and finite numbers; hashable."""
    if isinstance(value, Mapping) and all(isinstance(each, str) for each in value):
        return freeze({each: _frozen(f"{name}.{each}", held) for each, held in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(name, each) for each in value)
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise RecipeError(
        f"{name} = {reprlib.repr(value)} must be words, finite numbers, or lists or names of such"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Keys):
        return value.to_dict()
    return unfreeze(value) if isinstance(value, FrozenDict) else value


def _written(number: float | None) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
