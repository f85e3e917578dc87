"""From the records of two arms to a verdict.

These are all the rules. With d the treatment's mean error minus the baseline's, and its 95% Welch
interval over the runs,

- **better** is supported when the interval lies wholly below 0, refuted when wholly above 0;
- **worse** is supported when it lies wholly above 0, refuted when wholly below 0;
- **equivalent** is supported when two one-sided Welch tests reject, at p < 0.05, that d is outside
  -margin .. margin, and refuted when the interval lies wholly outside -margin .. margin;
- everything else is undecided: also an arm that was not run, that has a single run, or two arms
  whose runs show no spread at all.

Nothing is paired: one seed in two arms starts two different networks, so runs are independent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cnnlab.evidence.claim import Claim, Comparison
from cnnlab.evidence.statistics import Interval, equivalence, welch_interval
from cnnlab.names import unknown
from cnnlab.training.record import Record

Outcome = Literal["supported", "refuted", "undecided"]

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """What the records say of one comparison.

    Attributes:
        comparison: the question.
        metric: the metric compared.
        outcome: "supported", "refuted" or "undecided".
        n: runs of the treatment and of the baseline.
        difference: treatment - baseline with its interval, in the metric's unit (points for
            errors in percent); ``None`` where the runs give no interval.
        p_equivalence: p of the two one-sided tests, for "equivalent" alone.
        reason: why this outcome, in words with numbers.
    """

    comparison: Comparison
    metric: str
    outcome: Outcome
    n: tuple[int, int]
    difference: Interval | None
    p_equivalence: float | None
    reason: str


def metric_values(records: Iterable[Record], arm: str, metric: str) -> dict[int, float]:
    """Values of one metric over the runs of one arm, by seed in rising order.

    Raises:
        ValueError: the metric is not in a record, or a seed was run twice (two records of one run
            are not two runs).
    """
    values: dict[int, float] = {}
    for record in records:
        if record.arm != arm:
            continue
        if record.seed in values:
            raise ValueError(f"arm {arm!r} has two records of seed {record.seed}")
        if metric not in record.metrics:
            what = f"metric in the record of arm {arm!r}, seed {record.seed}"
            raise ValueError(unknown(what, metric, tuple(sorted(record.metrics))))
        values[record.seed] = record.metrics[metric]
    return dict(sorted(values.items()))


def judge(comparison: Comparison, records: Iterable[Record], metric: str) -> Verdict:
    """Judges one comparison by the rules at the top of this module.

    Args:
        comparison: the question.
        records: finished runs, of any arms and in any order.
        metric: the key of the records' metrics to compare; lower is better.

    Raises:
        ValueError: a value is not finite, the metric is missing, or a seed was run twice.
    """
    records = list(records)
    by_seed = [metric_values(records, arm, metric) for arm in comparison.arms]
    treatment, baseline = (list(values.values()) for values in by_seed)
    difference = welch_interval(treatment, baseline)
    n = (len(treatment), len(baseline))
    if difference is None:
        return Verdict(comparison, metric, "undecided", n, None, None, _no_interval(comparison, n))
    margin = comparison.margin
    p = None if margin is None else equivalence(treatment, baseline, margin)
    if margin is None or p is None:
        outcome, reason = _judge_direction(comparison.expect == "better", difference, metric)
    else:
        outcome, reason = _judge_equivalence(margin, difference, p, metric)
    return Verdict(comparison, metric, outcome, n, difference, p, reason)


def judge_claim(claim: Claim, records: Iterable[Record]) -> list[Verdict]:
    """Judges every comparison of a claim; the first verdict is the claim's own.

    Raises:
        ValueError: a value is not finite, the metric is missing, or a seed was run twice.
    """
    records = list(records)
    return [judge(comparison, records, claim.metric) for comparison in claim.comparisons]


def metric_unit(metric: str) -> str:
    """Unit of a difference of this metric, with a space before it: errors are in percent."""
    return " points" if metric.endswith("_error") else ""


def format_metric(value: float, metric: str, sign: str = "") -> str:
    """Writes a value of this metric: errors (percent) to two decimals, others to four."""
    digits = 2 if metric.endswith("_error") else 4
    return f"{value:{sign}z.{digits}f}"


def format_difference(interval: Interval, metric: str) -> str:
    """Writes a difference with its interval, e.g. ``-1.84 [-2.31, -1.37]``."""
    low, high = (format_metric(end, metric, "+") for end in (interval.low, interval.high))
    return f"{format_metric(interval.estimate, metric, '+')} [{low}, {high}]"


def _judge_direction(
    lower_expected: bool, difference: Interval, metric: str
) -> tuple[Outcome, str]:
    lower, higher = difference.high < 0, difference.low > 0
    outcome: Outcome = "undecided"
    if lower or higher:
        outcome = "supported" if lower == lower_expected else "refuted"
    place = "lies below 0" if lower else "lies above 0" if higher else "contains 0"
    return outcome, f"the {_describe(difference, metric)} {place}"


def _judge_equivalence(
    margin: float, difference: Interval, p: float, metric: str
) -> tuple[Outcome, str]:
    outcome: Outcome = "undecided"
    place = "is not shown to lie within"
    if p < SIGNIFICANCE:
        outcome, place = "supported", "lies within"
    elif difference.high < -margin or difference.low > margin:
        outcome, place = "refuted", "lies outside"
    limit = f"±{format_metric(margin, metric)}{metric_unit(metric)}"
    name = _describe(difference, metric)
    return outcome, f"the {name} {place} {limit} (two one-sided tests, p = {p:.2g})"


def _describe(difference: Interval, metric: str) -> str:
    name = metric.replace("_", " ")
    amount = format_difference(difference, metric)
    return f"difference in {name} of {amount}{metric_unit(metric)}"


def _no_interval(comparison: Comparison, n: tuple[int, int]) -> str:
    missing = [arm for arm, runs in zip(comparison.arms, n, strict=True) if runs == 0]
    if missing:
        return f"{' and '.join(missing)} not run"
    single = [arm for arm, runs in zip(comparison.arms, n, strict=True) if runs == 1]
    if single:
        return f"an interval needs two runs an arm: {' and '.join(single)} has one"
    return "no spread between the runs of either arm, so no interval"
