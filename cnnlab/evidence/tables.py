"""The tables of a claim: numbers at full precision, and the same rounded for reading.

`arms_table` and `comparisons_table` hold one number in each column;
``arms_table(...).to_csv(path, index=False)`` writes them. `readable_arms` and
`readable_comparisons` hold words, for `layout` to draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from cnnlab.analysis.counts import UNKNOWN
from cnnlab.analysis.receptive_field import ALL
from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import listed
from cnnlab.evidence.claim import Claim
from cnnlab.evidence.statistics import LEVEL, Interval, mean_interval
from cnnlab.evidence.verdict import (
    Verdict,
    format_difference,
    format_metric,
    format_n,
    format_p,
    format_runs,
    metric_name,
    metric_unit,
    metric_values,
)
from cnnlab.training.probes import metrics_of
from cnnlab.training.record import Record

QUESTION, DIFFERENCE, VERDICT, PAPER, SOURCE = (
    "question",
    "treatment - baseline",
    "verdict",
    "paper",
    "paper's source",
)
"""Headings of `readable_comparisons` that drawing knows."""

FLOAT32_BYTES = 4
_COUNTS = ("n", "weights", "macs", "activations", "activation_bytes")


def arms_table(ablation: Ablation, records: Iterable[Record]) -> pd.DataFrame:
    """One row an arm and metric, in the ablation's order: the metric over the runs, and the costs.

    Returns:
        Columns ``arm``, ``metric``, ``n``, ``mean``, ``low``, ``high``, ``level`` (ends of the t
        interval of the mean, empty for one run or no spread), ``learning_rate``, ``weights``
        (trainable parameters), ``macs``, ``activations`` (values), ``activation_bytes`` (as
        float32), all per image and forward, and ``receptive_field`` (pixels, or "all"). What is not
        known is missing, an empty cell of a CSV file. An arm that was not run has n = 0. A probe's
        metric has rows of the arms that it is taken of.

    Raises:
        ValueError: the runs of one arm are not of one network, a seed was run twice, or the
            metric is missing or not finite.
    """
    records = list(records)
    rows = [
        _arm_row(ablation, arm, metric, records)
        for metric in ablation.claim.metrics
        for arm, recipe in ablation.arms.items()
        if metric in metrics_of(recipe)
    ]
    table = pd.DataFrame(rows).astype({name: "Int64" for name in _COUNTS})
    # Whole numbers stay whole beside what is missing, and beside words.
    table["receptive_field"] = pd.Series([row["receptive_field"] for row in rows], dtype=object)
    return table


def comparisons_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a comparison, the one that decides the claim first.

    Returns:
        Columns ``question``, ``treatment``, ``baseline``, ``beyond`` (two arms with " - " between,
        whose difference is taken off), ``expect``, ``margin``, ``metric``, ``difference``
        (treatment - baseline, less the beyond), ``low``, ``high``, ``level`` (its Welch interval),
        ``p``, ``p_adjusted`` (by Holm), ``n`` (of each arm), ``verdict``, ``runs_needed`` (an
        arm, to decide what is undecided), ``reason``, ``paper``, ``paper_source``, ``paper_note``.
    """
    return pd.DataFrame([_comparison_row(verdict) for verdict in verdicts])


def readable_arms(ablation: Ablation, records: Iterable[Record]) -> pd.DataFrame:
    """One row an arm.

    Raises:
        ValueError: as `arms_table`.
    """
    table, claim = arms_table(ablation, records), ablation.claim
    costs = table[table["metric"] == claim.metric].set_index("arm")
    columns: dict[str, list[str]] = {"arm": list(ablation.arms)}
    for metric in claim.metrics:
        means = {row["arm"]: row for _, row in table[table["metric"] == metric].iterrows()}
        unit = " %" if metric_unit(metric) else ""
        columns[metric_name(metric) + unit] = [
            _mean(means[arm], metric) if arm in means else "" for arm in ablation.arms
        ]
    columns["n"] = [str(n) for n in costs["n"]]
    if ablation.rates or costs["learning_rate"].nunique() > 1:
        columns["learning rate"] = [f"{rate:g}" for rate in costs["learning_rate"]]
    macs = _scaled(costs["macs"], 1000, ("", " k", " M", " G", " T"))
    memory = _scaled(costs["activation_bytes"], 1024, (" B", " KiB", " MiB", " GiB"))
    fields = [size if size == ALL else f"{size} px" for size in costs["receptive_field"]]
    columns["weights"] = _told(costs, "weights", [f"{count:,}" for count in costs["weights"]])
    columns["MACs"] = _told(costs, "macs", macs)
    columns["activation memory"] = _told(costs, "activation_bytes", memory)
    columns["receptive field"] = _told(costs, "receptive_field", fields)
    return pd.DataFrame(columns)


def readable_comparisons(claim: Claim, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a comparison."""
    unit = metric_unit(claim.metric)
    columns = {
        QUESTION: [_question(claim, verdict) for verdict in verdicts],
        DIFFERENCE: [verdict.comparison.difference for verdict in verdicts],
        f"difference{',' if unit else ''}{unit} [{LEVEL:.0%}]": [
            format_difference(verdict.difference, verdict.metric)
            if verdict.difference
            else "not run" * (0 in verdict.n)
            for verdict in verdicts
        ],
        "p": ["" if v.p_adjusted is None else format_p(v.p_adjusted) for v in verdicts],
        "n": [format_n(verdict.n) for verdict in verdicts],
        VERDICT: [verdict.outcome for verdict in verdicts],
    }
    if any(verdict.runs_needed for verdict in verdicts):
        columns["n to decide"] = [
            format_runs(verdict.runs_needed) if verdict.runs_needed else "" for verdict in verdicts
        ]
    papers = [verdict.comparison.paper for verdict in verdicts]
    if any(papers):
        columns[PAPER] = [paper.value if paper else "" for paper in papers]
        columns[SOURCE] = [
            "; ".join(filter(None, (paper.source, paper.note))) if paper else "" for paper in papers
        ]
    return pd.DataFrame(columns)


def _arm_row(
    ablation: Ablation, arm: str, metric: str, records: Sequence[Record]
) -> dict[str, Any]:
    values = list(metric_values(records, arm, metric).values())
    networks = [record.network for record in records if record.arm == arm]
    if any(network != networks[0] for network in networks):
        raise ValueError(f"the runs of arm {arm!r} are not of one network: {listed(networks)}")
    network = networks[0] if networks else {}
    activations = network.get("activations")
    return {
        "arm": arm,
        "metric": metric,
        "n": len(values),
        "mean": sum(values) / len(values) if values else None,
        **_ends(mean_interval(values)),
        "learning_rate": ablation.arms[arm].optimizer.learning_rate,
        "weights": network.get("weights"),
        "macs": network.get("macs"),
        "activations": activations,
        "activation_bytes": None if activations is None else activations * FLOAT32_BYTES,
        "receptive_field": network.get("receptive_field"),
    }


def _comparison_row(verdict: Verdict) -> dict[str, Any]:
    comparison, paper = verdict.comparison, verdict.comparison.paper
    return {
        "question": comparison.question,
        "treatment": comparison.treatment,
        "baseline": comparison.baseline,
        "beyond": " - ".join(comparison.beyond) if comparison.beyond else None,
        "expect": comparison.expect,
        "margin": comparison.margin,
        "metric": verdict.metric,
        "difference": verdict.difference.estimate if verdict.difference else None,
        **_ends(verdict.difference),
        "p": verdict.p,
        "p_adjusted": verdict.p_adjusted,
        "n": " ".join(map(str, verdict.n)),
        "verdict": verdict.outcome,
        "runs_needed": verdict.runs_needed,
        "reason": verdict.reason,
        "paper": paper.value if paper else None,
        "paper_source": paper.source if paper else None,
        "paper_note": paper.note if paper else None,
    }


def _ends(interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {"low": None, "high": None, "level": None}
    return {"low": interval.low, "high": interval.high, "level": interval.level}


def _question(claim: Claim, verdict: Verdict) -> str:
    comparison, metric = verdict.comparison, verdict.metric
    remarks = []
    if metric != claim.metric:
        remarks.append(metric_name(metric))
    if comparison.margin is not None:
        remarks.append(f"margin {format_metric(comparison.margin, metric)}{metric_unit(metric)}")
    return comparison.question + (f" ({', '.join(remarks)})" if remarks else "")


def _mean(row: pd.Series, metric: str) -> str:
    if row["n"] == 0:
        return "not run"
    mean = format_metric(row["mean"], metric)
    if pd.isna(row["low"]):
        return mean
    return f"{mean} ± {format_metric((row['high'] - row['low']) / 2, metric)}"


def _told(costs: pd.DataFrame, name: str, words: Sequence[str]) -> list[str]:
    """The words for each arm's count: none if it was not run, and of what is not known, that."""
    counts = zip(costs["n"], costs[name], words, strict=True)
    return ["" if n == 0 else UNKNOWN if pd.isna(count) else word for n, count, word in counts]


def _scaled(values: pd.Series, base: int, units: Sequence[str]) -> list[str]:
    """Writes a column in one unit: its largest value's, unless the smallest would vanish in it.

    What is missing is left empty.
    """
    numbers = values[values > 0].astype(float)
    smallest, largest = numbers.min(), numbers.max()
    power = 0
    while power < len(units) - 1 and largest >= base and smallest >= base / 1000:
        power, largest, smallest = power + 1, largest / base, smallest / base
    digits = min(max(2 - math.floor(math.log10(smallest)), 0), 3) if power else 0
    return [
        "" if pd.isna(value) else f"{value / base**power:,.{digits}f}{units[power]}"
        for value in values
    ]
