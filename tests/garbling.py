"""JSON as it should not be: what editors, power cuts and other programs make of a file."""

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some

from cnnlab.errors import Failure, Mistake

STRANGE = some.one_of(
    some.sampled_from([None, True, False, 0, 1, -1, 5, -50, 101, 2**31, 2**63, 10**400]),
    some.sampled_from([0.5, -0.5, 1e9, 1e-320, float("nan"), float("inf"), -float("inf")]),
    some.sampled_from(["", "x", "5", "-1", "../../x", "\0", "é", "\ud800", "a\nb", "x" * 300]),
    some.sampled_from([[], [1], ["x"], [[]], {}, {"a": 1}, {"": None}, {"a": {"b": []}}]),
)


@some.composite
def garbled(draw: Any, document: Any) -> bytes:
    """A JSON document with one thing or a few changed, as the bytes of a file."""
    found = copy.deepcopy(document)
    for _ in range(draw(some.integers(0, 3))):
        found = draw(_changed(found))
    content = json.dumps(found, indent=draw(some.sampled_from([None, 1]))).encode()
    return draw(some.one_of(some.just(content), _broken(content)))


@some.composite
def _changed(draw: Any, found: Any) -> Any:
    """One value, wherever it stands, replaced, removed, wrapped or named otherwise."""
    places = list(_places(found))
    if not places:
        return copy.deepcopy(draw(STRANGE))
    holder, key = draw(some.sampled_from(places))
    how = draw(some.sampled_from(["other", "gone", "wrapped", "deep", "more", "number"]))
    value = holder[key]
    if how == "gone":
        del holder[key]
    elif how == "more" and isinstance(holder, dict):
        holder[draw(some.sampled_from(["x", "", f"{key}s", "../x", "__class__"]))] = copy.deepcopy(
            value
        )
    elif how == "deep":
        for _ in range(draw(some.sampled_from([2, 31, 200]))):
            holder[key] = [holder[key]]
    elif how == "wrapped":
        holder[key] = draw(some.sampled_from([[value], {"a": value}, [value, 1], str(value)]))
    elif how == "number" and type(value) in (int, float) and abs(value) < 1e300:
        holder[key] = draw(some.sampled_from([-value, value + 1, value * 1000, value + 0.5]))
    else:
        holder[key] = copy.deepcopy(draw(STRANGE))
    return found


def _places(found: Any) -> Any:
    items = found.items() if isinstance(found, dict) else enumerate(found)
    for key, value in list(items):
        yield found, key
        if isinstance(value, dict | list):
            yield from _places(value)


@some.composite
def _broken(draw: Any, content: bytes) -> bytes:
    """The bytes cut short, flipped, overwritten or added to."""
    at = draw(some.integers(0, len(content)))
    many = draw(some.sampled_from([1, 4, 64]))
    how = draw(some.sampled_from(["cut", "flip", "zero", "twice", "insert", "encoded"]))
    if how == "cut":
        return content[:at]
    if how == "flip":
        flipped = bytes(byte ^ draw(some.integers(1, 255)) for byte in content[at : at + many])
        return content[:at] + flipped + content[at + many :]
    if how == "zero":
        return content[:at] + bytes(many) + content[at + many :]
    if how == "insert":
        return content[:at] + draw(some.binary(max_size=8)) + content[at:]
    return content + content if how == "twice" else content.decode().encode("utf-16")


@some.composite
def garbled_lines(draw: Any, documents: list[Any]) -> bytes:
    """A file of a document a line, of which some are garbled, missing, doubled or cut short."""
    lines = [json.dumps(document).encode() for document in documents]
    for _ in range(draw(some.integers(1, 2))):
        at = draw(some.integers(0, len(lines) - 1))
        how = draw(some.sampled_from(["garbled", "gone", "twice", "empty"]))
        if how == "garbled":
            lines[at] = draw(garbled(documents[at % len(documents)])).replace(b"\n", b" ")
        elif how == "empty":
            lines[at] = b""
        else:
            lines[at : at + 1] = [lines[at]] * (2 if how == "twice" else 0)
        lines = lines or [b""]
    content = b"\n".join(lines) + draw(
        some.sampled_from([b"\n", b"", b'\n{"st', b"\n" + bytes(99)])
    )
    return content[: draw(some.integers(0, len(content)))] if draw(some.booleans()) else content


def read_or_told(read: Callable[[], object], *paths: Path) -> None:
    """Read, unless one of the files is told in a line: no other error comes."""
    try:
        with suppress(OSError, Failure):
            read()
    except Mistake as mistake:
        said = str(mistake)
        assert any(str(path) in said for path in paths), said
        assert "\n" not in said, said
        assert len(said) < 2000, said


def examples(number: int) -> settings:
    """So many, whatever the time they take."""
    checks = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)
    return settings(max_examples=number, deadline=None, suppress_health_check=checks)
