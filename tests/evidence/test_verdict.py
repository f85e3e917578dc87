import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from cnnlab.evidence.claim import Claim, Comparison
from cnnlab.evidence.statistics import contrast, holm
from cnnlab.evidence.verdict import SIGNIFICANCE, Verdict, judge_claim, metric_values
from cnnlab.training.record import Record

LOW, HIGH = [10.0, 10.2, 10.4], [20.0, 20.2, 20.4]
CLOSE = [10.1, 10.2, 10.3]
ACROSS = [11.0, 11.2, 11.4]
WIDE = [5.0, 10.0, 16.0]
Make = Callable[..., list[Record]]


def comparison(expect: str, margin: float | None = None, **more: object) -> Comparison:
    fields = {"treatment": "a", "baseline": "b", "question": "?", **more}
    return Comparison(expect=expect, margin=margin, **fields)  # type: ignore[arg-type]


def judge(one: Comparison, records: list[Record], metric: str = "test_error") -> Verdict:
    (verdict,) = judge_claim(Claim("T1", "A beats b.", "a test", (one,), metric), records)
    return verdict


@pytest.mark.parametrize(
    ("expect", "margin", "a", "b", "outcome", "words"),
    [
        ("better", None, LOW, HIGH, "supported", "-10.00 .* lies below 0 "),
        ("better", None, HIGH, LOW, "refuted", "10.00 .* lies above 0 "),
        ("better", None, LOW, WIDE, "undecided", "is not shown to lie below 0 "),
        ("worse", None, HIGH, LOW, "supported", "lies above 0 "),
        ("worse", None, LOW, HIGH, "refuted", "lies below 0 "),
        ("worse", None, WIDE, LOW, "undecided", "is not shown to lie above 0 "),
        ("equivalent", 1.0, LOW, CLOSE, "supported", r"lies within ±1.00 points \(Holm-adjusted p"),
        ("equivalent", 1.0, LOW, HIGH, "refuted", "lies outside ±1.00 points"),
        ("equivalent", 1.0, HIGH, LOW, "refuted", "lies outside ±1.00 points"),
        ("equivalent", 1.0, LOW, WIDE, "undecided", "is not shown to lie within"),
        ("equivalent", 1.01, LOW, ACROSS, "undecided", "-1.00 .* is not shown to lie within"),
        ("equivalent", 0.99, ACROSS, LOW, "undecided", "1.00 .* is not shown to lie outside"),
        ("equivalent", 0.05, LOW, CLOSE, "undecided", "is not shown to lie within"),
        ("not worse", 1.0, LOW, HIGH, "supported", r"-10.00 .* lies below \+1.00 points \(Holm"),
        ("not worse", 1.0, LOW, CLOSE, "supported", r"lies below \+1.00 points"),
        ("not worse", 1.0, HIGH, LOW, "refuted", r"10.00 .* lies above \+1.00 points"),
        ("not worse", 1.0, WIDE, WIDE, "undecided", r"is not shown to lie below \+1.00 points"),
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
    verdict = judge(comparison(expect, margin), records_of({"a": a, "b": b}))
    assert verdict.outcome == outcome
    assert verdict.n == (len(a), len(b))
    with_interval = "run" not in words and "no spread" not in words
    assert (verdict.difference is not None) == with_interval
    assert (verdict.p is not None) == (verdict.p_adjusted is not None) == with_interval
    assert (verdict.runs_needed is not None) == (with_interval and outcome == "undecided")
    assert re.search(words, verdict.reason), verdict.reason


@pytest.mark.parametrize(
    ("baseline", "expect", "margin", "outcome"),
    [
        (11.0, "better", None, "supported"),
        (9, "better", None, "refuted"),
        (10.1, "better", None, "undecided"),
        (10.1, "equivalent", 1.0, "supported"),
        (20.0, "equivalent", 1.0, "refuted"),
        (9.9, "not worse", 1.0, "supported"),
        (8.5, "not worse", 1.0, "refuted"),
    ],
)
def test_an_arm_against_a_number(
    records_of: Make, baseline: float, expect: str, margin: float | None, outcome: str
) -> None:
    verdict = judge(comparison(expect, margin, baseline=baseline), records_of({"a": LOW}))
    assert (verdict.outcome, verdict.n) == (outcome, (3,))
    assert verdict.difference is not None
    assert verdict.difference.estimate == pytest.approx(10.2 - baseline)
    half = 4.302653 * 0.2 / math.sqrt(3)
    assert verdict.difference.half_width == pytest.approx(half)


def test_a_difference_of_differences(records_of: Make) -> None:
    """(a - b) - (c - d) = (10.2 - 20.2) - (11.2 - 10.2) = -11, on four variances."""
    records = records_of({"a": LOW, "b": HIGH, "c": ACROSS, "d": CLOSE})
    verdict = judge(comparison("better", beyond=("c", "d")), records)
    assert (verdict.outcome, verdict.n) == ("supported", (3, 3, 3, 3))
    assert verdict.difference is not None
    assert verdict.difference.estimate == pytest.approx(-11)
    swapped = judge(comparison("better", beyond=("d", "c")), records)
    assert swapped.difference is not None
    assert swapped.difference.estimate == pytest.approx(-9)
    alone = judge(comparison("better", beyond=("c", "e")), records)
    assert (alone.outcome, alone.reason) == ("undecided", "e not run")


def test_holm_counts_every_comparison(records_of: Make) -> None:
    """A difference of 2.9 with an error of 0.82: p = 0.024 on 4 degrees, not enough times three."""
    records = records_of({"a": [1.0, 2.0, 3.0], "b": [3.9, 4.9, 5.9], "c": [1.1, 2.1, 2.9]})
    asked = (
        comparison("better"),
        comparison("better", baseline="c"),
        comparison("better", baseline="not run"),
    )
    alone = judge(asked[0], records)
    assert alone.outcome == "supported"
    assert alone.p == pytest.approx(0.0238, abs=5e-5)
    assert alone.p == alone.p_adjusted
    first, second, third = judge_claim(Claim("T1", "A.", "a test", asked), records)
    assert (first.outcome, first.p) == ("undecided", alone.p)
    assert first.p is not None
    assert first.p_adjusted == pytest.approx(3 * first.p)
    assert first.difference == alone.difference
    assert (second.p_adjusted, second.outcome) == (1, "undecided")
    assert (third.p, third.p_adjusted) == (None, None)


def test_undecided_says_what_would_decide_it(records_of: Make) -> None:
    """A difference of half a standard deviation: 64 runs an arm (Cohen 1988, table 2.4.1)."""
    records = records_of({"a": [0.0, 2.0, 4.0], "b": [1.0, 3.0, 5.0]})
    verdict = judge(comparison("better"), records)
    assert verdict.runs_needed == 64
    # As far from the margin of a loss as there from 0.
    loss = judge(
        comparison("not worse", 1.0), records_of({"a": [1.0, 3.0, 5.0], "b": [1.0, 3.0, 5.0]})
    )
    assert loss.runs_needed == 64
    assert verdict.reason.endswith("; with 64 runs an arm it should be decided")
    far = judge(comparison("better"), records_of({"a": [0.0, 2.0], "b": [0.01, 2.01]}))
    assert far.runs_needed == math.inf
    assert far.reason.endswith("; with more than 1,000 runs an arm it should be decided")
    two = Claim("T1", "A.", "a test", (comparison("better"), comparison("worse", baseline="c")))
    needed = judge_claim(two, records)[0].runs_needed
    assert needed is not None
    assert 64 < needed < 100
    # Once the other is decided, Holm tests this one as if it were alone.
    decided = records + records_of({"c": [-90.0, -92.0, -94.0]})
    assert [v.runs_needed for v in judge_claim(two, decided)] == [64, None]


class TestErrorRates:
    """What is promised of a table, by simulation of tables whose truth is known."""

    WEIGHTS = ((1, -1, 0, 0), (1, 0, -1, 0), (0, 1, -1, 0), (1, -1, -1, 1))

    def p_values(self, means: tuple[float, ...], tables: int, seed: int) -> np.ndarray:
        """Of four comparisons between four arms of five runs, by Holm: [tables, 4]."""
        generator, spreads = np.random.default_rng(seed), (1.0, 1.5, 0.6, 1.0)
        runs = [generator.normal(m, s, (tables, 5)) for m, s in zip(means, spreads, strict=True)]
        found = [contrast(runs, weights) for weights in self.WEIGHTS]
        return holm(np.stack([one.p_outside() for one in found if one], axis=-1))

    def test_no_difference_no_verdict_in_19_tables_of_20(self) -> None:
        p = self.p_values((5.0, 5.0, 5.0, 5.0), 40_000, seed=0)
        assert np.mean((p < SIGNIFICANCE).any(-1)) <= 0.05
        assert np.mean((p < SIGNIFICANCE).any(-1)) > 0.02, "Holm is not that conservative"

    def test_true_differences_do_not_buy_false_ones(self) -> None:
        """Arm d is far off: the interaction is there, the first three comparisons are not."""
        p = self.p_values((5.0, 5.0, 5.0, 15.0), 40_000, seed=1)
        assert np.mean((p[:, :3] < SIGNIFICANCE).any(-1)) <= 0.05
        assert np.mean(p[:, 3] < SIGNIFICANCE) > 0.99

    @pytest.mark.parametrize("gap", [1.0, 1.0001, 3.0])
    def test_equivalence_is_not_claimed_of_what_differs(self, gap: float) -> None:
        generator = np.random.default_rng(2)
        arms = [generator.normal(mean, 0.5, (40_000, 5)) for mean in (5.0, 5.0 + gap)]
        found = contrast(arms, (1, -1))
        assert found is not None
        inside = np.abs(found.estimate) <= 1.0
        assert np.mean(inside & (found.p_inside(1.0) < SIGNIFICANCE)) <= 0.05

    def test_equivalence_is_not_refuted_of_what_is_equivalent(self) -> None:
        generator = np.random.default_rng(4)
        arms = [generator.normal(mean, 0.5, (40_000, 5)) for mean in (5.0, 6.0)]
        found = contrast(arms, (1, -1))
        assert found is not None
        outside = np.abs(found.estimate) > 1.0
        assert np.mean(outside & (found.p_outside(1.0) < SIGNIFICANCE)) <= 0.05

    def test_no_loss_is_a_difference_from_the_margin(self, records_of: Make) -> None:
        """Of a loss as large as the margin one verdict in forty is false on either side."""
        generator = np.random.default_rng(6)
        draws = [
            {"a": generator.normal(11, 1, 5), "b": generator.normal(10, 1, 5)} for _ in range(2000)
        ]
        outcomes = [
            judge(comparison("not worse", 1.0), records_of(drawn)).outcome for drawn in draws
        ]
        for outcome in ("supported", "refuted"):
            assert 0.015 < outcomes.count(outcome) / len(outcomes) < 0.035

    def test_a_table_without_differences_is_silent(self, records_of: Make) -> None:
        """300 tables of five questions each; not adjusted, 23% of them would have a verdict."""
        generator = np.random.default_rng(7)
        asked = [(f"a{i}", f"b{i}") for i in range(5)]
        questions = tuple(comparison("better", treatment=a, baseline=b) for a, b in asked)
        claim = Claim("T1", "A.", "a test", questions)
        loud = 0
        for _ in range(300):
            drawn = {arm: generator.normal(10.0, 1.0, 5) for pair in asked for arm in pair}
            verdicts = judge_claim(claim, records_of(drawn))
            loud += any(verdict.outcome != "undecided" for verdict in verdicts)
        assert 0.01 < loud / 300 < 0.1

    def test_verdicts_of_whole_claims(self, records_of: Make) -> None:
        """400 tables: what is known to be so is supported, nothing else is (but one in twenty)."""
        generator = np.random.default_rng(5)
        claim = Claim(
            "T1",
            "A.",
            "a test",
            (
                comparison("better"),  # true, by 8 standard deviations
                comparison("worse", baseline="same"),  # no difference
                comparison("equivalent", 4.0, baseline="same"),  # true
                comparison("equivalent", 4.0),  # false: by 8
                comparison("worse", beyond=("same", "c")),  # false: it is -8
            ),
        )
        means = {"a": 10.0, "b": 18.0, "same": 10.0, "c": 10.0}
        outcomes = np.array(
            [
                [verdict.outcome for verdict in judge_claim(claim, records_of(drawn))]
                for _ in range(400)
                if (drawn := {arm: generator.normal(m, 1.0, 5) for arm, m in means.items()})
            ]
        )
        truth = np.array(["supported", "undecided", "supported", "refuted", "refuted"])
        wrong = (outcomes != truth) & (outcomes != "undecided")
        assert wrong.any(1).mean() <= 0.05
        found = (outcomes == truth).mean(0)
        assert (found[[0, 2, 3, 4]] > 0.95).all(), found
        assert found[1] > 0.95


def test_difference_is_treatment_minus_baseline(records_of: Make) -> None:
    verdict = judge(comparison("better"), records_of({"a": LOW, "b": HIGH}))
    assert verdict.difference is not None
    assert verdict.difference.estimate == pytest.approx(-10)


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
        judge(comparison("better"), records_of({"a": [1.0, math.nan], "b": LOW}))
