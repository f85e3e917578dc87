import math
import re
from collections.abc import Callable

import pytest

from cnnlab.evidence import verdict as module
from cnnlab.evidence.claim import Claim, Comparison
from cnnlab.evidence.statistics import Interval
from cnnlab.evidence.verdict import judge, judge_claim, metric_values
from cnnlab.training.record import Record

LOW, HIGH = [10.0, 10.2, 10.4], [20.0, 20.2, 20.4]
CLOSE = [10.1, 10.2, 10.3]
ACROSS = [11.0, 11.2, 11.4]
WIDE = [5.0, 10.0, 16.0]
Make = Callable[..., list[Record]]


def comparison(expect: str, margin: float | None = None) -> Comparison:
    return Comparison("a", "b", expect, "a against b?", margin)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expect", "margin", "a", "b", "outcome", "words"),
    [
        ("better", None, LOW, HIGH, "supported", "-10.00 .* lies below 0"),
        ("better", None, HIGH, LOW, "refuted", "10.00 .* lies above 0"),
        ("better", None, LOW, WIDE, "undecided", "contains 0"),
        ("worse", None, HIGH, LOW, "supported", "lies above 0"),
        ("worse", None, LOW, HIGH, "refuted", "lies below 0"),
        ("worse", None, WIDE, LOW, "undecided", "contains 0"),
        ("equivalent", 1.0, LOW, CLOSE, "supported", r"lies within ±1.00 points \(two one-sided"),
        ("equivalent", 1.0, LOW, HIGH, "refuted", "lies outside ±1.00 points"),
        ("equivalent", 1.0, HIGH, LOW, "refuted", "lies outside ±1.00 points"),
        ("equivalent", 1.0, LOW, WIDE, "undecided", "is not shown to lie within"),
        ("equivalent", 1.0, LOW, ACROSS, "undecided", "-1.00 .* is not shown to lie within"),
        ("equivalent", 1.0, ACROSS, LOW, "undecided", "1.00 .* is not shown to lie within"),
        ("equivalent", 0.05, LOW, CLOSE, "undecided", "is not shown to lie within"),
        ("better", None, LOW, [], "undecided", "^b not run$"),
        ("better", None, [], [], "undecided", "^a and b not run$"),
        ("equivalent", 1.0, [], LOW, "undecided", "^a not run$"),
        ("better", None, [1.0], HIGH, "undecided", "needs two runs an arm: a has one"),
        ("better", None, [1.0] * 3, [2.0] * 3, "undecided", "no spread"),
        ("equivalent", 1.0, [1.0] * 3, [1.0] * 3, "undecided", "no spread"),
        ("better", None, [10.0] * 3, HIGH, "supported", "lies below 0"),
    ],
)
def test_every_rule(
    records_of: Make,
    expect: str,
    margin: float | None,
    a: list[float],
    b: list[float],
    outcome: str,
    words: str,
) -> None:
    verdict = judge(comparison(expect, margin), records_of({"a": a, "b": b}), "test_error")
    assert verdict.outcome == outcome
    assert verdict.n == (len(a), len(b))
    with_interval = "run" not in words and "no spread" not in words
    assert (verdict.difference is not None) == with_interval
    assert (verdict.p_equivalence is not None) == (with_interval and expect == "equivalent")
    assert re.search(words, verdict.reason), verdict.reason


def test_difference_is_treatment_minus_baseline(records_of: Make) -> None:
    verdict = judge(comparison("better"), records_of({"a": LOW, "b": HIGH}), "test_error")
    assert verdict.difference is not None
    assert verdict.difference.estimate == pytest.approx(-10)


def test_interval_that_ends_at_zero_decides_nothing(
    records_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "welch_interval", lambda a, b: Interval(-1.0, -2.0, 0.0))
    verdict = judge(comparison("better"), records_of({"a": LOW, "b": HIGH}), "test_error")
    assert verdict.outcome == "undecided"


def test_another_metric_is_judged_in_its_own_unit(records_of: Make) -> None:
    verdict = judge(comparison("better"), records_of({"a": LOW, "b": HIGH}), "test_loss")
    assert verdict.difference is not None
    assert verdict.difference.estimate == pytest.approx(-0.1)
    assert "test loss of -0.1000 [" in verdict.reason
    assert "points" not in verdict.reason


def test_claim_is_judged_by_its_first_comparison(claim: Claim, records: list[Record]) -> None:
    verdicts = judge_claim(claim, records)
    assert [v.comparison for v in verdicts] == list(claim.comparisons)
    assert [v.outcome for v in verdicts] == ["supported", "undecided"]


def test_order_of_records_changes_nothing(claim: Claim, records: list[Record]) -> None:
    assert judge_claim(claim, records[::-1]) == judge_claim(claim, iter(records))


def test_values_come_by_rising_seed(records: list[Record]) -> None:
    assert list(metric_values(records[::-1], "three_3x3", "test_error").items()) == [
        (0, 24.0),
        (1, 25.0),
        (2, 26.0),
    ]


def test_one_seed_is_one_run(records: list[Record]) -> None:
    with pytest.raises(ValueError, match="arm 'one_7x7' has two records of seed 4"):
        metric_values([*records, records[4]], "one_7x7", "test_error")


def test_unknown_metric_names_the_nearest(records: list[Record]) -> None:
    message = "arm 'linear', seed 0: 'test_eror'; choices: test_error, test_loss.*'test_error'"
    with pytest.raises(ValueError, match=message):
        metric_values(records, "linear", "test_eror")


def test_diverged_run_is_not_averaged(records_of: Make) -> None:
    with pytest.raises(ValueError, match="finite"):
        judge(comparison("better"), records_of({"a": [1.0, math.nan], "b": LOW}), "test_error")
