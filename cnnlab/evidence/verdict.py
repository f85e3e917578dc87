"""From the records of some arms to a verdict.

These are all the rules. With d the difference that a comparison asks for - of two arms' mean
errors, of two such differences, or of one mean and a number - and its 95% Welch interval over the
runs,

- **better** is supported when d is below 0, **worse** when d is above 0, and refuted when d is on
  the other side, if a two-sided Welch test rejects that d is 0;
- **not worse** ("with no loss") is supported when d is below the margin, refuted when it is above,
  if a two-sided Welch test rejects that d is the margin: two-sided since either side is a verdict,
  so that it asks more of the loss than an equivalence does;
- **equivalent** is supported when two one-sided Welch tests reject that d is outside
  -margin .. margin, and refuted when a Welch test rejects that it is within;
- a test rejects when its p, adjusted by Holm for the number of the claim's comparisons, is below
  0.05: then no more than one table in twenty has any false verdict, if the number of seeds was set
  before the runs (to decide what is undecided, take fresh seeds: looking twice errs twice);
- everything else is undecided: also an arm that was not run, that has a single run, or arms whose
  runs show no spread at all. What is undecided says how many runs an arm would decide it with a
  probability of 80%, if the difference and the spread that were seen are the true ones and the
  comparisons with smaller p are decided.

An equivalence has two hypotheses, that d is outside and that d is within, of which one is true and
the other is tested: the one that the estimate speaks against. So it counts as one test.

Nothing is paired: one seed in two arms starts two different networks, so runs are independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cnnlab.errors import unknown
from cnnlab.evidence.claim import Claim, Comparison
from cnnlab.evidence.statistics import (
    MOST_RUNS,
    Contrast,
    Interval,
    contrast,
    holm,
    holm_levels,
    runs_needed,
)
from cnnlab.pages import render
from cnnlab.training.record import Record

Outcome = Literal["supported", "refuted", "undecided"]

SIGNIFICANCE = 0.05

PERCENT = ("_error", "_gap")
"""Endings of the metrics that are in percent."""


@dataclass(frozen=True)
class Verdict:
    """What the records say of one comparison.

    Attributes:
        comparison: the question.
        metric: the metric compared.
        outcome: "supported", "refuted" or "undecided".
        n: runs of each of the comparison's arms.
        difference: what was judged with its interval, in the metric's unit (points for errors in
            percent); ``None`` where the runs give no interval.
        p: of the test behind the outcome, by itself; ``None`` without an interval.
        p_adjusted: the same after Holm's adjustment, which decides.
        runs_needed: of what is undecided, the runs an arm that would decide it; infinity if more
            than `MOST_RUNS`, ``None`` if decided or not to be told.
        reason: why this outcome, in words with numbers.
    """

    comparison: Comparison
    metric: str
    outcome: Outcome
    n: tuple[int, ...]
    difference: Interval | None
    p: float | None
    p_adjusted: float | None
    runs_needed: float | None
    reason: str

    @property
    def sentence(self) -> str:
        """From what was compared to the numbers behind the outcome."""
        comparison = self.comparison
        arms = f"{comparison.treatment} against {comparison.baseline}"
        if comparison.beyond:
            arms += f", beyond {' against '.join(comparison.beyond)}"
        return f"{arms} (n = {format_n(self.n)}): {self.reason}."

    def _repr_html_(self) -> str:
        return render("verdict.html", verdict=self)


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


@dataclass(frozen=True)
class _Case:
    """A comparison, and the values of its arms' runs."""

    comparison: Comparison
    metric: str
    samples: list[list[float]]
    contrast: Contrast | None

    @property
    def n(self) -> tuple[int, ...]:
        return tuple(map(len, self.samples))

    @property
    def limit(self) -> float:
        """What the difference is tested against: the margin of "not worse", else 0."""
        return (self.comparison.margin or 0.0) if self.comparison.expect == "not worse" else 0.0

    @property
    def band(self) -> float | None:
        """The margin of "equivalent", which lies on both sides of 0."""
        return self.comparison.margin if self.comparison.expect == "equivalent" else None

    @property
    def inside(self) -> bool:
        """Whether the estimate speaks for an equivalence."""
        return bool(self.band and self.contrast and abs(self.contrast.estimate) <= self.band)

    @property
    def tested(self) -> Contrast | None:
        """The difference less the limit."""
        found = self.contrast
        return replace(found, estimate=found.estimate - self.limit) if found else None

    @property
    def p(self) -> float | None:
        if self.tested is None:
            return None
        test = self.tested.p_inside if self.inside else self.tested.p_outside
        return float(test(self.band or 0.0))


def judge_claim(claim: Claim, records: Iterable[Record]) -> list[Verdict]:
    """Judges every comparison of a claim by the rules at the top of this module.

    Args:
        claim: its comparisons are one family; the first verdict is the claim's own.
        records: finished runs, of any arms and in any order.

    Raises:
        ValueError: a value is not finite, the metric is missing, or a seed was run twice.
    """
    records = list(records)
    cases = [_case(claim, comparison, records) for comparison in claim.comparisons]
    # What was not run counts as well, so that running it can only lower what the others show.
    found = [1.0 if case.p is None else case.p for case in cases]
    levels = holm_levels(found, SIGNIFICANCE).tolist()
    judged = zip(cases, holm(found).tolist(), levels, strict=True)
    return [_judge(case, p, level) for case, p, level in judged]


def _case(claim: Claim, comparison: Comparison, records: Sequence[Record]) -> _Case:
    metric = claim.metric_of(comparison)
    samples = [list(metric_values(records, arm, metric).values()) for arm in comparison.arms]
    found = contrast(samples, comparison.weights, comparison.constant)
    return _Case(comparison, metric, samples, found)


def _judge(case: _Case, p_adjusted: float, level: float) -> Verdict:
    comparison, metric, tested = case.comparison, case.metric, case.tested
    if case.contrast is None or tested is None:
        reason = _no_interval(comparison, case.n)
        return Verdict(comparison, metric, "undecided", case.n, None, None, None, None, reason)
    difference, needed = case.contrast.interval(), None
    outcome: Outcome = "supported" if _as_claimed(case, difference) else "refuted"
    if p_adjusted >= SIGNIFICANCE:
        outcome = "undecided"
        needed = runs_needed(tested, case.band, level)
    reason = _reason(case, difference, outcome, p_adjusted, needed)
    return Verdict(
        comparison, metric, outcome, case.n, difference, case.p, p_adjusted, needed, reason
    )


def metric_name(metric: str) -> str:
    """What a metric is called in a sentence."""
    return metric.replace("_", " ")


def metric_unit(metric: str) -> str:
    """Unit of a difference of this metric, with a space before it: errors are in percent."""
    return " points" if metric.endswith(PERCENT) else ""


def format_metric(value: float, metric: str, sign: str = "") -> str:
    """Writes a value of this metric: errors (percent) to two decimals, others to four."""
    digits = 2 if metric.endswith(PERCENT) else 4
    return f"{value:{sign}z.{digits}f}"


def format_difference(interval: Interval, metric: str) -> str:
    """Writes a difference with its interval, e.g. ``-1.84 [-2.31, -1.37]``."""
    low, high = (format_metric(end, metric, "+") for end in (interval.low, interval.high))
    return f"{format_metric(interval.estimate, metric, '+')} [{low}, {high}]"


def format_p(p: float) -> str:
    """Writes a p value to two digits, very small ones as ``< 0.0001``."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def format_n(n: Sequence[int]) -> str:
    """Writes the runs of some arms: once where all have as many."""
    return ", ".join(map(str, n if len(set(n)) > 1 else n[:1]))


def format_runs(runs: float) -> str:
    """Writes how many runs an arm are needed."""
    return f"more than {MOST_RUNS:,}" if math.isinf(runs) else f"{runs:,.0f}"


def _as_claimed(case: _Case, difference: Interval) -> bool:
    """Whether the estimate lies where the claim says, shown or not."""
    if case.comparison.expect == "equivalent":
        return case.inside
    return (difference.estimate < case.limit) == (case.comparison.expect != "worse")


def _reason(
    case: _Case, difference: Interval, outcome: Outcome, p: float, needed: float | None
) -> str:
    what = f"{metric_name(case.metric)}{case.comparison.origin}"
    amount = f"{format_difference(difference, case.metric)}{metric_unit(case.metric)}"
    lies = "is not shown to lie" if outcome == "undecided" else "lies"
    place = _place(case, difference)
    words = f"the difference in {what} of {amount} {lies} {place}"
    words += f" (Holm-adjusted p {_equals(format_p(p))})"
    if needed is None:
        return words
    return f"{words}; with {format_runs(needed)} runs an arm it should be decided"


def _place(case: _Case, difference: Interval) -> str:
    """Where the estimate lies, in words."""
    unit = metric_unit(case.metric)
    if case.band is not None:
        side = "within" if case.inside else "outside"
        return f"{side} ±{format_metric(case.band, case.metric)}{unit}"
    limit = f"{format_metric(case.limit, case.metric, '+')}{unit}" if case.limit else "0"
    return f"below {limit}" if difference.estimate < case.limit else f"above {limit}"


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _no_interval(comparison: Comparison, n: tuple[int, ...]) -> str:
    missing = [arm for arm, runs in zip(comparison.arms, n, strict=True) if runs == 0]
    if missing:
        return f"{' and '.join(missing)} not run"
    single = [arm for arm, runs in zip(comparison.arms, n, strict=True) if runs == 1]
    if single:
        have = "has" if len(single) == 1 else "have"
        return f"an interval needs two runs an arm: {' and '.join(single)} {have} one"
    return "no spread between the runs of any arm, so no interval"
