"""Intervals and tests over the runs of an arm, each value the result of one seed.

Everything is one thing: a weighted sum of the means of independent arms, with the degrees of
freedom of Welch (1947) and Satterthwaite (1946). One arm gives Student's t, two with weights 1 and
-1 Welch's t test, four with 1, -1, -1, 1 an interaction. SciPy gives the distributions. Where
nothing can be said (one run, or runs that all agree) the answer is ``None``, never a NaN or an
interval of no width.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
POWER = 0.8
MOST_RUNS = 1000
"""Where `runs_needed` gives up."""


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


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of independent means, estimated; of many samples at once if they are arrays.

    Attributes:
        estimate: the sum, [...].
        variances: of the arms' runs, each times its weight squared, [arms, ...].
        runs: of each arm, [arms].
    """

    estimate: Any
    variances: NDArray[np.float64]
    runs: NDArray[np.float64]

    @property
    def error(self) -> Any:
        """Standard error of the estimate, [...]."""
        return np.sqrt(self._parts.sum(0))

    @property
    def degrees(self) -> Any:
        """Degrees of freedom of Welch and Satterthwaite, [...]."""
        return self._parts.sum(0) ** 2 / (self._parts.T**2 / (self.runs - 1)).T.sum(0)

    @property
    def _parts(self) -> NDArray[np.float64]:
        return (self.variances.T / self.runs).T

    def ends(self, level: float = LEVEL) -> tuple[Any, Any]:
        """Low and high end of the interval, [...] each."""
        half = stats.t.isf((1 - level) / 2, self.degrees) * self.error
        return self.estimate - half, self.estimate + half

    def interval(self, level: float = LEVEL) -> Interval:
        """The interval of a single sample."""
        low, high = self.ends(level)
        return Interval(float(self.estimate), float(low), float(high), level)

    def p_outside(self, margin: float = 0.0) -> Any:
        """p of the sum's being within ``-margin .. margin``; two-sided, so 0 tests a difference."""
        excess = (np.abs(self.estimate) - margin) / self.error
        return np.minimum(1, 2 * stats.t.sf(excess, self.degrees))

    def p_inside(self, margin: float) -> Any:
        """p of the sum's being outside ``-margin .. margin``: the larger of two one-sided tests."""
        return stats.t.sf((margin - np.abs(self.estimate)) / self.error, self.degrees)

    def power_outside(self, margin: float, significance: float) -> Any:
        """How probably `p_outside` is below `significance`, were the estimate true."""
        excess = (np.abs(self.estimate) - margin) / self.error
        return _power(excess, significance / 2, self.degrees)

    def power_inside(self, margin: float, significance: float) -> Any:
        """How probably `p_inside` is below `significance`, were the estimate true; at least."""
        near, far = (margin + sign * np.abs(self.estimate) for sign in (-1, 1))
        return (
            sum(_power(room / self.error, significance, self.degrees) for room in (near, far)) - 1
        )


def _power(distance: Any, significance: float, degrees: Any) -> Any:
    """Chance of a one-sided t test to reject at a true distance of so many standard errors."""
    return stats.nct.sf(stats.t.isf(significance, degrees), degrees, distance)


def contrast(
    samples: Sequence[ArrayLike], weights: Sequence[float] = (1,), constant: float = 0.0
) -> Contrast | None:
    """The weighted sum of the samples' means, less a constant.

    Args:
        samples: one an arm, [..., runs]; independent, with variances of their own.
        weights: one an arm.
        constant: a number to hold the sum against.

    Returns:
        The contrast, or ``None`` where an arm has fewer than two runs or none has any spread.

    Raises:
        ValueError: a value is not finite.
    """
    values = [_sample(sample) for sample in samples]
    if min(sample.shape[-1] for sample in values) < 2:
        return None
    spreads = [np.ptp(sample, -1) for sample in values]
    if not np.any(spreads):
        return None
    # The runs of one arm may agree: their variance is then 0, and not what rounding leaves.
    variances = [
        weight**2 * np.where(spread > 0, sample.var(-1, ddof=1), 0.0)
        for weight, spread, sample in zip(weights, spreads, values, strict=True)
    ]
    means = [weight * x.mean(-1) for weight, x in zip(weights, values, strict=True)]
    runs = np.array([float(sample.shape[-1]) for sample in values])
    return Contrast(sum(means) - constant, np.array(variances), runs)


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Interval | None:
    """Student's t interval of the mean of one number a run; ``None`` and errors as `contrast`."""
    found = contrast([values])
    return found.interval(level) if found else None


def runs_needed(found: Contrast, margin: float | None, significance: float) -> float:
    """How many runs an arm would decide, with a power of 80%, were estimate and spread the true.

    Args:
        found: a single contrast, undecided.
        margin: for equivalence, the largest sum that counts as none; else ``None``.
        significance: of the test.

    Returns:
        The least such number, or infinity if it is more than `MOST_RUNS`.
    """

    def decides(runs: int) -> bool:
        then = replace(found, runs=np.full(len(found.runs), float(runs)))
        if margin is None or abs(found.estimate) > margin:
            return bool(then.power_outside(margin or 0.0, significance) >= POWER)
        return bool(then.power_inside(margin, significance) >= POWER)

    choices = range(2, MOST_RUNS + 1)
    place = bisect.bisect_left(choices, True, key=decides)
    return choices[place] if place < len(choices) else math.inf


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p values [..., tests] adjusted by Holm (1979) for being that many: [..., tests].

    Rejecting what is below a level after adjustment, one rejects any true hypothesis at all with no
    more than that probability, however the tests depend on each other.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, axis=-1)
    rising = np.take_along_axis(values, order, -1) * np.arange(values.shape[-1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(rising, axis=-1), 1)
    return np.take_along_axis(adjusted, np.argsort(order, axis=-1), -1)


def holm_levels(p: ArrayLike, significance: float) -> NDArray[np.float64]:
    """The levels [tests] that Holm tests p values [tests] at, all smaller ones being rejected."""
    values = np.asarray(p, np.float64)
    return np.asarray(significance / (values >= values[:, None]).sum(axis=1))


def _sample(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"values must be finite, got {sample.tolist()}")
    return sample
