"""Counts that may not be known: None stands for "unknown", and so does a sum with such a part."""

from collections.abc import Iterable

from cnnlab.errors import Mistake

Count = int | None

UNKNOWN = "unknown"
"""How None is printed."""


def total(counts: Iterable[Count]) -> Count:
    """The sum; None where a part is."""
    parts = list(counts)
    return None if None in parts else sum(filter(None, parts))


def known(count: Count, what: str) -> int:
    """The count, for arithmetic that needs it.

    Raises:
        Mistake: it is not known; says `what` it is of.
    """
    if count is None:
        raise Mistake(f"{what}: {UNKNOWN}")
    return count
