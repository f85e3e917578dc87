"""The report page's plots: what stands where on their axes, in percent of an axis's length.

The page draws them as SVG that keeps its text at any width, so that all places are shares of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.claim import Comparison
from cnnlab.evidence.overview import NOT_RUN, Result
from cnnlab.evidence.plots import held_against
from cnnlab.evidence.statistics import Interval, mean_interval
from cnnlab.evidence.verdict import (
    Verdict,
    format_difference,
    format_metric,
    format_p,
    metric_name,
    metric_unit,
    metric_values,
)
from cnnlab.training import Record
from cnnlab.training.probes import metrics_of

_TOLD = ("test_error", "validation_error", "train_error")
"""What a run's mark tells besides the metric drawn."""


@dataclass(frozen=True)
class Axis:
    """A straight scale from `low` to `high`, in a metric's unit."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> Axis:
        """The axis that shows all values, none of them at its very end."""
        values = list(values)
        room = 0.06 * (max(values) - min(values)) or 1.0
        return cls(min(values) - room, max(values) + room)

    def place(self, value: float) -> float:
        """Where a value stands, in percent of the length."""
        return 100 * (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of round values."""
        ticks = MaxNLocator(nbins=5).tick_values(self.low, self.high)
        return [(self.place(t), f"{t:z.6g}") for t in ticks if self.low <= t <= self.high]


@dataclass(frozen=True)
class Mark:
    """A run: where it stands, and what is said of it, part by part."""

    place: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A line of a plot.

    Attributes:
        label: what it is of.
        note: its numbers in words.
        outcome: a verdict; empty on an arm's line.
        marked: whether it is the arm that the claim speaks of.
        runs: one an arm's run.
        estimate: place of the mean or the difference, if there is one.
        ends: places of its interval's ends, if it has one.
        margin: places between which a difference is no loss, or none at all, if asked.
    """

    label: str
    note: str
    outcome: str = ""
    marked: bool = False
    runs: tuple[Mark, ...] = ()
    estimate: float | None = None
    ends: tuple[float, float] | None = None
    margin: tuple[float, float] | None = None


@dataclass(frozen=True)
class Plot:
    """Lines on one axis.

    Attributes:
        title: what is drawn, with its unit.
        rows: from top to bottom.
        ticks: places and labels along the axis.
        guide: place of the upright dashed line, if there is one, and what it marks.
    """

    title: str
    rows: tuple[Row, ...]
    ticks: list[tuple[float, str]]
    guide: tuple[float, str] | None


def plots(result: Result) -> list[Plot]:
    """Of each metric the arms' runs, then the differences; none of what has no runs."""
    found = (
        plot
        for metric in result.ablation.claim.metrics
        for plot in (_arms(result, metric), _differences(result, metric))
    )
    return list(filter(None, found))


def _arms(result: Result, metric: str) -> Plot | None:
    ablation, records = result.ablation, list(result.records)
    arms = [arm for arm, recipe in ablation.arms.items() if metric in metrics_of(recipe)]
    runs = {arm: metric_values(records, arm, metric) for arm in arms}
    values = {arm: list(found.values()) for arm, found in runs.items()}
    if not any(values.values()):
        return None
    intervals = {arm: mean_interval(found) if found else None for arm, found in values.items()}
    compared = [each.comparison for each in result.verdicts if each.metric == metric]
    # The test error is always shown, and may be what no comparison is about.
    guides = held_against(compared[0], values) if compared else []
    speaks_of = (compared or [result.verdicts[0].comparison])[0].treatment
    axis = Axis.around([*sum(values.values(), guides), *_ends(intervals.values())])
    told = {(record.arm, record.seed): _told(ablation, record, metric) for record in records}
    rows = tuple(
        Row(
            label=arm,
            note=_mean_words(values[arm], intervals[arm], metric),
            marked=arm == speaks_of,
            runs=tuple(
                Mark(axis.place(value), tuple(told[arm, seed])) for seed, value in found.items()
            ),
            estimate=axis.place(sum(values[arm]) / len(found)) if found else None,
            ends=_places(axis, intervals[arm]),
        )
        for arm, found in runs.items()
    )
    guide = (axis.place(guides[0]), _guide_words(compared[0])) if guides else None
    title = f"{metric_name(metric)}{_percent(metric)}, lower is better"
    return Plot(title, rows, axis.ticks, guide)


def _guide_words(comparison: Comparison) -> str:
    baseline = comparison.baseline
    return f"mean of {baseline}" if isinstance(baseline, str) else str(baseline)


def _differences(result: Result, metric: str) -> Plot | None:
    verdicts = [verdict for verdict in result.verdicts if verdict.metric == metric]
    intervals = [verdict.difference for verdict in verdicts]
    if not any(intervals):
        return None
    margins = [verdict.comparison.margin or 0.0 for verdict in verdicts]
    axis = Axis.around([0.0, *margins, *(-margin for margin in margins), *_ends(intervals)])
    rows = tuple(
        Row(
            label=verdict.comparison.question,
            note=_difference_words(verdict),
            outcome=verdict.outcome,
            estimate=axis.place(verdict.difference.estimate) if verdict.difference else None,
            ends=_places(axis, verdict.difference),
            margin=_margin(axis, verdict.comparison),
        )
        for verdict in verdicts
    )
    unit = metric_unit(metric)
    title = f"difference in {metric_name(metric)}{',' * bool(unit)}{unit}"
    return Plot(title, rows, axis.ticks, (axis.place(0.0), "no difference"))


def _margin(axis: Axis, comparison: Comparison) -> tuple[float, float] | None:
    if comparison.margin is None:
        return None
    low = 0.0 if comparison.expect == "not worse" else axis.place(-comparison.margin)
    return low, axis.place(comparison.margin)


def _ends(intervals: Iterable[Interval | None]) -> Iterator[float]:
    for interval in intervals:
        if interval:
            yield from (interval.low, interval.high)


def _places(axis: Axis, interval: Interval | None) -> tuple[float, float] | None:
    return (axis.place(interval.low), axis.place(interval.high)) if interval else None


def _mean_words(values: Sequence[float], interval: Interval | None, metric: str) -> str:
    if not values:
        return NOT_RUN
    mean = format_metric(sum(values) / len(values), metric)
    half = f" ± {format_metric(interval.half_width, metric)}" if interval else ""
    return f"{mean}{half}{_percent(metric, ' ')}, n = {len(values)}"


def _difference_words(verdict: Verdict) -> str:
    words = verdict.comparison.difference
    if verdict.difference is None or verdict.p_adjusted is None:
        return f"{words}: {verdict.reason}"
    difference = format_difference(verdict.difference, verdict.metric)
    return f"{words} = {difference}{metric_unit(verdict.metric)}, p {format_p(verdict.p_adjusted)}"


def _told(ablation: Ablation, record: Record, metric: str) -> Iterator[str]:
    """What is said of a run: nothing that its record does not hold."""
    yield f"{record.arm}, seed {record.seed}"
    yield _figure(record, metric)
    rate = ablation.arms[record.arm].optimizer.learning_rate
    yield f"learning rate {rate:g}{', by validation error' if ablation.rates else ''}"
    yield from (_figure(record, key) for key in _TOLD if key in record.metrics and key != metric)
    yield f"{record.steps:,} steps"
    if record.diverged:
        yield "diverged, counts as guessing"


def _figure(record: Record, metric: str) -> str:
    value = format_metric(record.metrics[metric], metric)
    return f"{metric_name(metric)} {value}{_percent(metric, ' ')}"


def _percent(metric: str, before: str = ", ") -> str:
    return f"{before}%" if metric_unit(metric) else ""
