"""A config file: a user's Python, run for what it describes; an error in it is told by its line."""

import os
import runpy
import traceback
from collections.abc import Iterator
from errno import ENOENT
from pathlib import Path
from typing import Any

from cnnlab.errors import Mistake
from cnnlab.files import BadFile


class NoPreset(Mistake):
    """A preset that a config does not have; says those it has and the nearest."""


def described(path: Path, preset: str) -> Any:
    """What the `get_config` of a file gives for a preset.

    Raises:
        FileNotFoundError: no such file.
        NoPreset: as the file words it.
        BadFile: the file raises something else; says in which line, and what.
    """
    if not path.is_file():
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path))
    try:
        functions = runpy.run_path(str(path))
        if "get_config" in functions:
            return functions["get_config"](preset)
    except Mistake:
        raise
    except Exception as error:  # a file may raise anything
        raise blamed(error, str(path)) or BadFile(f"{path}: {_said(error)}") from error
    raise BadFile(f"{path} has no function get_config(preset)")


def blamed(error: BaseException, file: str) -> Mistake | None:
    """What a Python file is to be told of an error that arose in it; None where it did not."""
    for each in _chain(error):
        lines = [at for frame, at in traceback.walk_tb(each.__traceback__)
                 if frame.f_code.co_filename == file]  # fmt: skip
        if isinstance(each, SyntaxError) and each.filename == file:
            lines.append(each.lineno or 1)
        if lines and str(each).startswith("unknown preset"):
            return NoPreset(str(each))
        if lines and isinstance(each, Mistake):
            return each
        if lines:
            return BadFile(f"{file}, line {lines[-1]}: {_said(each)}")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came of."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {words.strip().partition(chr(10))[0]}".removesuffix(": ")
