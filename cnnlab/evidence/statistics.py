"""Intervals and tests over the runs of an arm, each value the result of one seed.

SciPy does the mathematics. Where nothing can be said (one run, or runs that all agree) the answer
is ``None``, never a NaN or an interval of no width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval, all in the unit of the values it was made from."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def half_width(self) -> float:
        """Half the distance from end to end: what stands after the ± sign."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's t interval of a mean.

    Args:
        values: one number a run.
        level: coverage, between 0 and 1.

    Returns:
        The interval, or ``None`` with fewer than two values or with no spread between them.

    Raises:
        ValueError: a value is not finite.
    """
    sample = _sample(values)
    if len(sample) < 2 or np.ptp(sample) == 0:
        return None
    ends = stats.ttest_1samp(sample, 0.0).confidence_interval(level)
    return Interval(float(sample.mean()), float(ends.low), float(ends.high), level)


def welch_interval(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Welch's interval of mean(a) - mean(b): independent runs, variances not taken as equal.

    Args:
        a: one number a run of the one arm.
        b: one number a run of the other.
        level: coverage, between 0 and 1.

    Returns:
        The interval, or ``None`` where an arm has fewer than two runs or neither has any spread.

    Raises:
        ValueError: a value is not finite.
    """
    first, second = _sample(a), _sample(b)
    if not _comparable(first, second):
        return None
    with _agreeing_runs_allowed():
        ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(level)
    difference = float(first.mean() - second.mean())
    return Interval(difference, float(ends.low), float(ends.high), level)


def equivalence(a: Sequence[float], b: Sequence[float], margin: float) -> float | None:
    """Two one-sided Welch tests (TOST): is mean(a) - mean(b) within -margin .. margin?

    Args:
        a: one number a run of the one arm.
        b: one number a run of the other.
        margin: the largest difference that counts as none, in the unit of the values.

    Returns:
        The larger of the two p values: small means equivalent. ``None`` where an arm has fewer
        than two runs or neither has any spread.

    Raises:
        ValueError: a value is not finite, or the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    first, second = _sample(a), _sample(b)
    if not _comparable(first, second):
        return None
    with _agreeing_runs_allowed():
        above = stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater")
        below = stats.ttest_ind(first - margin, second, equal_var=False, alternative="less")
    return float(max(above.pvalue, below.pvalue))


def _sample(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"values must be finite, got {[float(v) for v in sample]}")
    return sample


def _comparable(a: np.ndarray, b: np.ndarray) -> bool:
    return min(len(a), len(b)) >= 2 and bool(np.ptp(a) > 0 or np.ptp(b) > 0)


@contextmanager
def _agreeing_runs_allowed() -> Iterator[None]:
    # SciPy warns of cancellation when all runs of one arm agree; their variance is truly 0.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Precision loss", category=RuntimeWarning)
        yield
