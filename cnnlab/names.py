"""What to say of a name that is not among the choices."""

import difflib
from collections.abc import Iterable


def unknown(what: str, name: object, choices: Iterable[str]) -> str:
    """Word the error: the name, the choices and the nearest of them.

    >>> unknown("fit", "crp", ("error", "crop", "pad"))
    "unknown fit: 'crp'; choices: error, crop, pad; did you mean 'crop'?"
    """
    choices = list(choices)
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what}: {name!r}; choices: {', '.join(choices)}{hint}"
