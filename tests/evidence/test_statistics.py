"""Values against the formulas written out; SciPy's t distribution gives the quantiles alone."""

import math
import statistics as plain
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp, ttest_ind

from cnnlab.evidence.statistics import (
    Contrast,
    contrast,
    holm,
    mean_interval,
    runs_needed,
)

# Student's (1908) sleep data: extra hours of ten patients under two drugs.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
INTERACTION = (1, -1, -1, 1)

samples = st.lists(st.integers(0, 5_000).map(lambda n: n / 100), min_size=2, max_size=8)


def by_hand(arms: list[list[float]], weights: tuple[float, ...]) -> tuple[float, float, float]:
    """Sum of the means, its standard error and Welch and Satterthwaite's degrees."""
    parts = [w**2 * plain.variance(s) / len(s) for w, s in zip(weights, arms, strict=True)]
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(s) - 1) for part, s in zip(parts, arms, strict=True)
    )
    total = sum(w * plain.mean(s) for w, s in zip(weights, arms, strict=True))
    return total, math.sqrt(sum(parts)), degrees


def found(arms: list[list[float]], weights: tuple[float, ...] = (1, -1)) -> Contrast:
    one = contrast(arms, weights)
    assert one is not None
    return one


def test_students_sleep_data() -> None:
    """R prints, for t.test(extra ~ group, sleep): -3.3654832 0.2054832, p-value = 0.07939."""
    welch = found([FIRST_DRUG, SECOND_DRUG])
    interval = welch.interval()
    assert interval.estimate == pytest.approx(-1.58)
    assert (interval.low, interval.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)
    assert interval.level == 0.95
    assert welch.degrees == pytest.approx(17.776, abs=5e-4)
    assert welch.p_outside() == pytest.approx(0.07939, abs=5e-6)


def test_mean_interval_of_three_values() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval is not None
    half = 4.302653 / math.sqrt(3)  # the 97.5% point of t with 2 degrees, as printed in tables
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(
        (2, 2 - half, 2 + half)
    )
    assert interval.half_width == pytest.approx(half)


@settings(deadline=None, max_examples=50)
@given(samples, samples, samples, samples, st.sampled_from([0.8, 0.95, 0.99]))
def test_contrasts_are_the_formula(
    a: list[float], b: list[float], c: list[float], d: list[float], level: float
) -> None:
    for arms, weights in (([a, b], (1, -1)), ([a, b, c, d], INTERACTION), ([a, b, c], (1, 0.5, 3))):
        one = contrast(arms, weights)
        if all(len({*arm}) == 1 for arm in arms):
            assert one is None
            continue
        total, error, degrees = by_hand(arms, weights)
        half = t.ppf((1 + level) / 2, degrees) * error
        assert one is not None
        interval = one.interval(level)
        assert interval.estimate == pytest.approx(total, abs=1e-9)
        assert interval.low == pytest.approx(total - half, rel=1e-6, abs=1e-6)
        assert interval.high == pytest.approx(total + half, rel=1e-6, abs=1e-6)


def test_one_arm_and_two_are_the_textbooks_tests() -> None:
    single = contrast([FIRST_DRUG], constant=2.0)
    assert single is not None
    assert single.estimate == pytest.approx(np.mean(FIRST_DRUG) - 2)
    assert single.p_outside() == pytest.approx(ttest_1samp(FIRST_DRUG, 2.0).pvalue)
    pair = found([FIRST_DRUG, SECOND_DRUG[:6]])
    expected = ttest_ind(FIRST_DRUG, SECOND_DRUG[:6], equal_var=False)
    assert pair.p_outside() == pytest.approx(expected.pvalue)


@settings(deadline=None, max_examples=50)
@given(samples, samples, st.sampled_from([0.1, 0.5, 3.0]))
def test_inside_and_outside_are_tails(a: list[float], b: list[float], margin: float) -> None:
    one = contrast([a, b], (1, -1))
    if one is None:
        return
    difference, error, degrees = by_hand([a, b], (1, -1))
    above = t.sf((difference + margin) / error, degrees)
    below = t.cdf((difference - margin) / error, degrees)
    assert one.p_inside(margin) == pytest.approx(max(above, below), rel=1e-5, abs=1e-9)
    tails = (
        t.sf((difference - margin) / error, degrees),
        t.cdf((difference + margin) / error, degrees),
    )
    assert one.p_outside(margin) == pytest.approx(min(1, 2 * min(tails)), rel=1e-5, abs=1e-9)


def test_equivalence_by_hand() -> None:
    """Means 10 and 10.1, each variance 0.01: d = -0.1, error sqrt(0.02 / 5), 8 degrees."""
    a = [9.9, 9.9, 10.0, 10.1, 10.1]
    b = [value + 0.1 for value in a]
    error = math.sqrt(2 * 0.01 / 5)
    assert found([a, b]).p_inside(0.3) == pytest.approx(t.cdf(-0.2 / error, 8))
    assert found([b, a]).p_inside(0.3) == pytest.approx(t.cdf(-0.2 / error, 8))
    assert found([a, b]).p_inside(0.05) == pytest.approx(t.cdf(0.05 / error, 8))
    assert found([a, b]).p_outside(0.05) == pytest.approx(2 * t.cdf(-0.05 / error, 8))


def test_many_samples_at_once_are_as_one_by_one() -> None:
    arms = np.random.default_rng(0).normal(size=(4, 7, 5))
    together = contrast(list(arms), INTERACTION)
    assert together is not None
    low, high = together.ends()
    for i in range(7):
        one = found(arms[:, i].tolist(), INTERACTION)
        assert (low[i], high[i]) == pytest.approx(one.ends())
        assert together.p_inside(0.7)[i] == pytest.approx(one.p_inside(0.7))
        assert together.p_outside(0.1)[i] == pytest.approx(one.p_outside(0.1))


@pytest.mark.parametrize(
    ("a", "b"),
    [([], [1.0, 2.0]), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([1.1] * 3, [2.2] * 4)],
)
def test_no_answer_without_spread(a: list[float], b: list[float]) -> None:
    assert contrast([a, b], (1, -1)) is None


@pytest.mark.parametrize("values", [[], [1.0], [1.1, 1.1, 1.1]])
def test_no_mean_interval_without_spread(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_one_arm_may_agree_and_nothing_is_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = found([[1.1] * 5, [1.0, 2.0, 3.0]]).interval()
    half = t.ppf(0.975, 2) / math.sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((-0.9 - half, -0.9 + half))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match=f"finite, got .*{bad}"):
        mean_interval([1.0, bad])
    with pytest.raises(ValueError, match="finite"):
        contrast([[1.0], [bad, 1.0]], (1, -1))


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [  # R's p.adjust(p, "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.04, 0.001, 0.03], [0.06, 0.003, 0.06]),
        ([0.6, 0.5], [1.0, 1.0]),
        ([0.2], [0.2]),
    ],
)
def test_holm(p: list[float], adjusted: list[float]) -> None:
    assert holm(p) == pytest.approx(adjusted)
    assert holm([p, p[::-1]]) == pytest.approx(np.array([adjusted, adjusted[::-1]]))


def spread_of(estimate: float, arms: int) -> Contrast:
    """What two runs an arm of unit variance might give."""
    return Contrast(estimate, np.ones(arms), np.full(arms, 2.0))


@pytest.mark.parametrize(
    ("arms", "effect", "runs"),
    # Cohen (1988), tables 2.4.1, at 0.05 two-sided and 80%; G*Power's for a single mean.
    [(2, 0.5, 64), (2, 0.8, 26), (2, 1.0, 17), (1, 0.5, 34), (1, 0.8, 15)],
)
def test_runs_needed_for_a_difference(arms: int, effect: float, runs: int) -> None:
    assert runs_needed(spread_of(effect, arms), None, 0.05) == runs
    assert runs_needed(spread_of(-effect, arms), None, 0.05) == runs


def test_what_so_many_runs_decide() -> None:
    """By simulation, with spreads that differ; equivalence within, at and outside its margin."""
    generator, spreads = np.random.default_rng(3), (1.0, 2.0)
    for truth, margin in ((1.2, None), (0.3, 1.5), (2.5, 1.0)):
        true = Contrast(truth, np.square(spreads), np.full(2, 3.0))
        runs = runs_needed(true, margin, 0.02)
        arms = [generator.normal(0, spread, (20_000, int(runs))) for spread in spreads]
        drawn = contrast([arms[0] + truth, arms[1]], (1, -1))
        assert drawn is not None
        inside = margin is not None and truth < margin
        p = drawn.p_inside(margin) if inside and margin else drawn.p_outside(margin or 0)
        assert 0.79 < np.mean(p < 0.02) < 0.83, (truth, margin, runs)


def test_more_runs_than_anybody_would_do() -> None:
    assert runs_needed(spread_of(0.01, 2), None, 0.05) == math.inf
    assert runs_needed(spread_of(1.0, 2), 1.0, 0.05) == math.inf
    assert runs_needed(spread_of(0.0, 2), None, 0.05) == math.inf
    assert 900 < runs_needed(spread_of(0.13, 2), None, 0.05) <= 1000


@pytest.mark.parametrize("runs", [(5, 5, 5, 5), (3, 5, 4, 7)])
@pytest.mark.parametrize("weights", [(1, -1), INTERACTION])
def test_intervals_cover_what_they_say(weights: tuple[int, ...], runs: tuple[int, ...]) -> None:
    """Draws of unequal spread and size: 95% of the intervals hold the true difference."""
    generator = np.random.default_rng(7)
    truths, spreads = (10.0, 12.0, 9.0, 9.5), (1.0, 2.0, 1.5, 0.7)
    arms = [
        generator.normal(truth, spread, (40_000, n))
        for truth, spread, n, _ in zip(truths, spreads, runs, weights, strict=False)
    ]
    drawn = contrast(arms, weights)
    assert drawn is not None
    low, high = drawn.ends()
    truth = sum(weight * mean for weight, mean in zip(weights, truths, strict=False))
    assert 0.94 <= np.mean((low <= truth) & (truth <= high)) <= 0.96
