"""Searches for an input that is answered wrongly: short in the suite, long and new under `slow`."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings


def strength(some: int, many: int) -> Any:
    """Parametrizes a test by `examples`: `some` in the suite, `many` under `-m slow`."""
    long = pytest.param(many, id="many", marks=pytest.mark.slow)
    return pytest.mark.parametrize("examples", [pytest.param(some, id="some"), long])


def search(
    examples: int, check: Callable[..., None], *strategies: Any, deadline: float | None = None
) -> None:
    """Try a check on as many examples; a few are the same at every run, many are new."""
    tried = settings(
        max_examples=examples,
        deadline=deadline,
        derandomize=examples < 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    tried(given(*strategies)(check))()
