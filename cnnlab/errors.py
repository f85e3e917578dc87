"""What can go wrong, in two kinds, and what to say of a name that is not among the choices.

A launcher shows either kind as one line: `error: ...`, exit status 2 for a `Mistake` and 1 for a
`Failure` (or an `OSError`). Anything else is a fault of this code, and shows its traceback.
"""

import difflib
from collections.abc import Iterable


class Mistake(ValueError):
    """What was asked for cannot be: says the value, the choices and what to do instead."""


class Failure(RuntimeError):
    """What was asked for is right, and the machine, a file or the run itself failed at it."""


def unknown(what: str, name: object, choices: Iterable[str]) -> str:
    """Word the error: the name, the choices and the nearest of them, the first of equally near.

    >>> unknown("fit", "crp", ("error", "crop", "pad"))
    "unknown fit: 'crp'; choices: error, crop, pad; did you mean 'crop'?"
    """
    choices = list(choices)
    nearest = max(choices, key=lambda choice: _likeness(choice, str(name)), default="")
    hint = f"; did you mean {nearest!r}?" if _likeness(nearest, str(name)) >= 0.5 else ""
    return f"unknown {what}: {name!r}; choices: {', '.join(choices)}{hint}"


def _likeness(one: str, other: str) -> float:
    """From 0 to 1, whatever the case."""
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()
