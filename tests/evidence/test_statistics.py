"""Values against the formulas written out; SciPy's t distribution gives the quantiles alone."""

import math
import statistics as plain
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from cnnlab.evidence.statistics import equivalence, mean_interval, welch_interval

# Student's (1908) sleep data: extra hours of ten patients under two drugs.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

samples = st.lists(st.integers(0, 5_000).map(lambda n: n / 100), min_size=2, max_size=8)


def welch_by_hand(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Difference of the means, its standard error and Welch and Satterthwaite's degrees."""
    parts = [plain.variance(s) / len(s) for s in (a, b)]
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(s) - 1) for part, s in zip(parts, (a, b), strict=True)
    )
    return plain.mean(a) - plain.mean(b), math.sqrt(sum(parts)), degrees


def test_students_sleep_data() -> None:
    """R prints, for t.test(extra ~ group, sleep): -3.3654832 0.2054832 (df = 17.776)."""
    interval = welch_interval(FIRST_DRUG, SECOND_DRUG)
    assert interval is not None
    assert interval.estimate == pytest.approx(-1.58)
    assert (interval.low, interval.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)
    assert interval.level == 0.95


def test_mean_interval_of_three_values() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval is not None
    half = 4.302653 / math.sqrt(3)  # the 97.5% point of t with 2 degrees, as printed in tables
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(
        (2, 2 - half, 2 + half)
    )
    assert interval.half_width == pytest.approx(half)


@settings(deadline=None, max_examples=50)
@given(samples, samples, st.sampled_from([0.8, 0.95, 0.99]))
def test_welch_interval_is_the_formula(a: list[float], b: list[float], level: float) -> None:
    interval = welch_interval(a, b, level)
    if len({*a}) == len({*b}) == 1:
        assert interval is None
        return
    difference, error, degrees = welch_by_hand(a, b)
    half = t.ppf((1 + level) / 2, degrees) * error
    assert interval is not None
    assert interval.estimate == pytest.approx(difference, abs=1e-9)
    assert interval.low == pytest.approx(difference - half, rel=1e-6, abs=1e-6)
    assert interval.high == pytest.approx(difference + half, rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(samples, samples, st.sampled_from([0.1, 0.5, 3.0]))
def test_equivalence_is_the_worse_of_two_tails(
    a: list[float], b: list[float], margin: float
) -> None:
    p = equivalence(a, b, margin)
    if len({*a}) == len({*b}) == 1:
        assert p is None
        return
    difference, error, degrees = welch_by_hand(a, b)
    tails = (
        t.sf((difference + margin) / error, degrees),
        t.cdf((difference - margin) / error, degrees),
    )
    assert p == pytest.approx(max(tails), rel=1e-5, abs=1e-9)


def test_equivalence_by_hand() -> None:
    """Means 10 and 10.1, each variance 0.01: d = -0.1, error sqrt(0.02 / 5), 8 degrees."""
    a = [9.9, 9.9, 10.0, 10.1, 10.1]
    b = [value + 0.1 for value in a]
    error = math.sqrt(2 * 0.01 / 5)
    assert equivalence(a, b, 0.3) == pytest.approx(t.cdf(-0.2 / error, 8))
    assert equivalence(b, a, 0.3) == pytest.approx(t.cdf(-0.2 / error, 8))
    assert equivalence(a, b, 0.05) == pytest.approx(t.cdf(0.05 / error, 8))


@pytest.mark.parametrize(
    ("a", "b"),
    [([], [1.0, 2.0]), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([1.1] * 3, [2.2] * 4)],
)
def test_no_answer_without_spread(a: list[float], b: list[float]) -> None:
    assert welch_interval(a, b) is None
    assert equivalence(a, b, 1.0) is None


@pytest.mark.parametrize("values", [[], [1.0], [1.1, 1.1, 1.1]])
def test_no_mean_interval_without_spread(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_one_arm_may_agree_and_nothing_is_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = welch_interval([1.1] * 5, [1.0, 2.0, 3.0])
        assert equivalence([1.1] * 5, [1.0, 2.0, 3.0], 0.1) is not None
    half = t.ppf(0.975, 2) / math.sqrt(3)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((-0.9 - half, -0.9 + half))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match=f"finite, got .*{bad}"):
        mean_interval([1.0, bad])
    with pytest.raises(ValueError, match="finite"):
        welch_interval([1.0, 2.0], [bad, 1.0])
    with pytest.raises(ValueError, match="finite"):
        equivalence([1.0], [bad, 1.0], 1.0)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_margin_must_be_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence([1.0, 2.0], [1.0, 3.0], margin)


def test_intervals_cover_what_they_say() -> None:
    """400 draws of unequal spread and size: 95% of the intervals hold the true difference."""
    generator = np.random.default_rng(7)

    def draw(mean: float, spread: float, size: int) -> list[float]:
        return generator.normal(mean, spread, size).tolist()

    covered = [
        interval.low <= -2.0 <= interval.high
        for _ in range(400)
        if (interval := welch_interval(draw(10, 1, 5), draw(12, 2, 7)))
    ]
    assert len(covered) == 400
    assert 0.93 <= np.mean(covered) <= 0.97
