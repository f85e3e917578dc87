"""The figure of a claim: every run as a dot, every arm's mean and interval, the verdict on top."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.analysis.pictures.picture import BLUE, GREY, ORANGE, drawn
from cnnlab.evidence.claim import Claim, Comparison
from cnnlab.evidence.statistics import LEVEL, mean_interval
from cnnlab.evidence.verdict import (
    Verdict,
    format_difference,
    metric_name,
    metric_unit,
    metric_values,
)
from cnnlab.files import write_whole
from cnnlab.training.record import Record

_WIDTH_INCHES, _ROW_INCHES = 7.0, 0.55


def figure(
    claim: Claim,
    arm_names: Sequence[str],
    records: Iterable[Record],
    verdicts: Sequence[Verdict],
    path: str | Path,
) -> None:
    """Draws one row an arm and saves it as PNG; the same records give the same file.

    Each dot is a run; the upright tick and the bar are the mean and its 95% t interval. The arm
    the claim speaks of is orange, and a dashed line marks what it is held against: the mean of an
    arm, or a number.

    Args:
        claim: gives title and metric.
        arm_names: rows from top to bottom; an arm without records says "not run".
        records: finished runs, in any order.
        verdicts: of the claim's comparisons, the deciding one first.
        path: file to write; the folder must exist.

    Raises:
        ValueError: a seed was run twice, or the metric is missing or not finite.
    """
    records = list(records)
    values = {arm: list(metric_values(records, arm, claim.metric).values()) for arm in arm_names}
    comparison = verdicts[0].comparison
    drawing = Figure(figsize=(_WIDTH_INCHES, 1.9 + _ROW_INCHES * len(values)), layout="constrained")
    axes = drawing.add_subplot()
    for row, (arm, runs) in enumerate(values.items()):
        _draw_arm(axes, row, runs, ORANGE if arm == comparison.treatment else BLUE)
    for baseline in held_against(comparison, values):
        axes.axvline(baseline, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)
    _dress(axes, values)
    axes.set_xlabel(_x_label(claim, records))
    drawing.suptitle(_title(claim, verdicts[0]), x=0.02, ha="left", fontsize=10.5)
    drawing.supxlabel(_key(comparison), x=0.02, ha="left", fontsize=8, color=GREY)
    write_whole(Path(path), drawn(drawing, "png", metadata={"Software": None}))


def _draw_arm(axes: Axes, row: int, runs: Sequence[float], colour: str) -> None:
    if not runs:
        axes.text(0.5, row, "not run", transform=axes.get_yaxis_transform(), ha="center",
                  va="center", color=GREY, style="italic")  # fmt: skip
        return
    heights = [row + 0.09 + 0.07 * (i % 3) for i in range(len(runs))]
    axes.scatter(runs, heights, s=20, color=colour, alpha=0.6, linewidths=0, zorder=2)
    mean, interval = sum(runs) / len(runs), mean_interval(runs)
    if interval:
        axes.plot([interval.low, interval.high], [row - 0.12] * 2, color=colour, linewidth=3,
                  solid_capstyle="butt", zorder=3)  # fmt: skip
    axes.plot(mean, row - 0.12, "|", color="black", markersize=11, markeredgewidth=1.6, zorder=4)


def _dress(axes: Axes, values: dict[str, list[float]]) -> None:
    axes.set_yticks(range(len(values)), [f"{arm}\nn = {len(runs)}" for arm, runs in values.items()])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _title(claim: Claim, verdict: Verdict) -> str:
    lines = textwrap.wrap(claim.title, width=84)
    detail = verdict.reason
    if verdict.difference:
        amount = format_difference(verdict.difference, verdict.metric)
        detail = f"difference {amount}{metric_unit(verdict.metric)} ({LEVEL:.0%} interval)"
    result = f"Verdict: {verdict.outcome}; {detail}"
    return "\n".join([*lines, *textwrap.wrap(result, width=84)])


def _x_label(claim: Claim, records: Sequence[Record]) -> str:
    titles = " and ".join(sorted({str(record.dataset["title"]) for record in records}))
    unit = ", %" if metric_unit(claim.metric) else ""
    name = f"{metric_name(claim.metric)}{unit} (lower is better)"
    return "\n".join([name, *textwrap.wrap(titles, width=84)])


def held_against(comparison: Comparison, values: Mapping[str, Sequence[float]]) -> list[float]:
    """What the treatment is held against: a number, or an arm's mean if that was run."""
    if not isinstance(comparison.baseline, str):
        return [comparison.constant]
    runs = values[comparison.baseline]
    return [sum(runs) / len(runs)] if runs else []


def _key(comparison: Comparison) -> str:
    mean = "mean of " if isinstance(comparison.baseline, str) else ""
    return (
        f"dot: one seed   tick and bar: mean, {LEVEL:.0%} t interval   "
        f"dashed: {mean}{comparison.baseline}"
    )
