"""Records that are not of the run that they stand for, told by the fields that differ."""

from collections.abc import Iterator
from typing import Any

from cnnlab.errors import Mistake
from cnnlab.training import Record
from cnnlab.training.recipe import Recipe, completed, identity


class ForeignRecord(Mistake):
    """A record of a run that the ablation does not have, or on another copy of its data."""


def check_recipe(what: str, record: Record, recipe: Recipe) -> None:
    """Refuse a record of another recipe.

    Raises:
        ForeignRecord: begins with `what` and names the fields that differ.
    """
    said = f"{what} was run with another recipe than the config's"
    compare(said, completed(record.config), identity(recipe))


def compare(what: str, found: Any, expected: Any) -> None:
    """Refuse what is not as expected.

    Raises:
        ForeignRecord: as `check_recipe`.
    """
    if differing := list(differences(found, expected)):
        raise ForeignRecord(f"{what}: {'; '.join(differing)}")


def differences(found: Any, expected: Any, key: str = "") -> Iterator[str]:
    """Says of each field that differs what it is, there and here."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            inner = f"{key}.{name}" if key else name
            yield from differences(found.get(name), expected.get(name), inner)
    elif found != expected:
        yield f"{key} = {found!r}, not {expected!r}"
