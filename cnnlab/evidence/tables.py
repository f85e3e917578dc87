"""The tables of a claim, for re-use (pandas, CSV) and for reading (terminal, Markdown, LaTeX).

`arms_table` and `comparisons_table` hold numbers at full precision, one in each column;
``arms_table(...).to_csv(path, index=False)`` writes them. The reports round the same numbers.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import caption, listed, titles
from cnnlab.evidence.claim import Claim
from cnnlab.evidence.statistics import LEVEL, Interval, mean_interval
from cnnlab.evidence.verdict import (
    Outcome,
    Verdict,
    format_difference,
    format_metric,
    metric_unit,
    metric_values,
)
from cnnlab.training.record import Record

_FLOAT32_BYTES = 4
_ARMS = "treatment - baseline"
_SOURCE = "paper's source"
_STACKED = f"question\n{_ARMS}"
_TEXT_COLUMNS = ("arm", "question", _ARMS, _STACKED, "verdict", "paper", _SOURCE)
_WRAPPED_COLUMNS = ("arm", _STACKED, "paper")
_COLOURS: dict[Outcome, str] = {"supported": "green", "refuted": "red", "undecided": "yellow"}


def arms_table(claim: Claim, arm_names: Sequence[str], records: Iterable[Record]) -> pd.DataFrame:
    """One row an arm, in the order given: its error over the runs and what its network costs.

    Args:
        claim: gives the metric.
        arm_names: the arms to show; one without records has n = 0 and nothing else.
        records: finished runs, in any order.

    Returns:
        Columns ``arm``, ``metric``, ``n``, ``mean``, ``low``, ``high``, ``level`` (ends of the t
        interval of the mean, empty for one run or no spread), ``weights`` (trainable parameters),
        ``macs``, ``activations`` (values), ``activation_bytes`` (as float32), all per image and
        forward, and ``receptive_field`` (pixels).

    Raises:
        ValueError: the runs of one arm are not of one network, a seed was run twice, or the
            metric is missing or not finite.
    """
    records = list(records)
    rows = [_arm_row(arm, claim.metric, records) for arm in arm_names]
    frame = pd.DataFrame(rows)
    counts = ["n", "weights", "macs", "activations", "activation_bytes", "receptive_field"]
    return frame.astype({name: "Int64" for name in counts})


def comparisons_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a comparison, the one that decides the claim first.

    Returns:
        Columns ``question``, ``treatment``, ``baseline``, ``expect``, ``margin``, ``metric``,
        ``difference`` (treatment - baseline), ``low``, ``high``, ``level`` (its Welch interval),
        ``p_equivalence``, ``n_treatment``, ``n_baseline``, ``verdict``, ``reason``, ``paper``,
        ``paper_source``, ``paper_note``.
    """
    return pd.DataFrame([_comparison_row(verdict) for verdict in verdicts])


def verdict_sentence(verdict: Verdict) -> str:
    """The verdict in one sentence, from its outcome to the numbers behind it."""
    treatment, baseline = verdict.comparison.arms
    runs = " and ".join(map(str, verdict.n))
    return f"{treatment} against {baseline} (n = {runs}): {verdict.reason}."


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict's sentence with its outcome in bold before it."""
    return f"**{verdict.outcome.capitalize()}**: {verdict_sentence(verdict)}"


def arms_markdown(ablation: Ablation, records: Iterable[Record]) -> str:
    """The arms' table in Markdown, rounded for reading.

    Raises:
        ValueError: as `arms_table`.
    """
    return _markdown(_readable_arms(ablation, records))


def report_markdown(
    ablation: Ablation, records: Iterable[Record], verdicts: Sequence[Verdict]
) -> str:
    """The whole result as a Markdown page: claim, verdict, both tables and their caption.

    Raises:
        ValueError: as `arms_table`.
    """
    claim, records = ablation.claim, list(records)
    parts = [
        f"# {claim.title}",
        f"Source of the claim: {claim.source}.",
        verdict_markdown(verdicts[0]),
        arms_markdown(ablation, records),
        _markdown(_readable_comparisons(verdicts)),
        caption(claim, ablation.preset, records),
    ]
    return "\n\n".join(parts) + "\n"


def report_latex(ablation: Ablation, records: Iterable[Record], verdicts: Sequence[Verdict]) -> str:
    """Both tables as LaTeX floats; the document needs the package booktabs.

    Raises:
        ValueError: as `arms_table`.
    """
    claim, records, verdict = ablation.claim, list(records), verdicts[0]
    arms = _readable_arms(ablation, records)
    title = f"{claim.title}. {verdict.outcome.capitalize()}."
    notes = caption(claim, ablation.preset, records)
    return (
        "% needs \\usepackage{booktabs}\n"
        + _latex_float(arms, f"{title} {notes}", f"tab:{claim.id}-arms")
        + "\n"
        + _latex_float(
            _readable_comparisons(verdicts),
            f"{claim.id}: {verdict_sentence(verdict)} Data: {titles(records)}.",
            f"tab:{claim.id}-comparisons",
        )
    )


def print_report(
    console: Console, ablation: Ablation, records: Iterable[Record], verdicts: Sequence[Verdict]
) -> None:
    """Prints claim, tables, caption and, last, the verdict; at home in 80 columns.

    Raises:
        ValueError: as `arms_table`.
    """
    claim, records, verdict = ablation.claim, list(records), verdicts[0]
    console.print(Text(claim.title, style="bold"))
    console.print(Text(f"Source of the claim: {claim.source}."))
    console.print(_rich(_readable_arms(ablation, records)))
    comparisons = _readable_comparisons(verdicts)
    comparisons.insert(0, _STACKED, comparisons.pop("question") + "\n" + comparisons.pop(_ARMS))
    slim = comparisons.drop(columns=_SOURCE, errors="ignore")
    console.print(_rich(slim, row_lines=True))
    for row in comparisons.to_dict("records"):
        if row.get("paper"):
            console.print(Text(f"{row['paper']}: {row[_SOURCE]}."))
    console.print(Text(caption(claim, ablation.preset, records), style="dim"))
    outcome = Text(f"\n{verdict.outcome.upper()}", style=f"bold {_COLOURS[verdict.outcome]}")
    console.print(outcome + Text(f": {verdict_sentence(verdict)}"))


def _arm_row(arm: str, metric: str, records: Sequence[Record]) -> dict[str, Any]:
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
        "weights": network.get("weights"),
        "macs": network.get("macs"),
        "activations": activations,
        "activation_bytes": None if activations is None else activations * _FLOAT32_BYTES,
        "receptive_field": network.get("receptive_field"),
    }


def _comparison_row(verdict: Verdict) -> dict[str, Any]:
    comparison, paper = verdict.comparison, verdict.comparison.paper
    return {
        "question": comparison.question,
        "treatment": comparison.treatment,
        "baseline": comparison.baseline,
        "expect": comparison.expect,
        "margin": comparison.margin,
        "metric": verdict.metric,
        "difference": verdict.difference.estimate if verdict.difference else None,
        **_ends(verdict.difference),
        "p_equivalence": verdict.p_equivalence,
        "n_treatment": verdict.n[0],
        "n_baseline": verdict.n[1],
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "paper": paper.value if paper else None,
        "paper_source": paper.source if paper else None,
        "paper_note": paper.note if paper else None,
    }


def _ends(interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {"low": None, "high": None, "level": None}
    return {"low": interval.low, "high": interval.high, "level": interval.level}


def _readable_arms(ablation: Ablation, records: Iterable[Record]) -> pd.DataFrame:
    table = arms_table(ablation.claim, tuple(ablation.arms), records)
    metric = ablation.claim.metric
    unit = " %" if metric_unit(metric) else ""
    columns = {
        "arm": list(table["arm"]),
        metric.replace("_", " ") + unit: [_mean(row, metric) for _, row in table.iterrows()],
        "n": [str(n) for n in table["n"]],
        "weights": ["" if pd.isna(count) else f"{count:,}" for count in table["weights"]],
        "MACs": _scaled(table["macs"], 1000, ("", " k", " M", " G", " T")),
        "activation memory": _scaled(
            table["activation_bytes"], 1024, (" B", " KiB", " MiB", " GiB")
        ),
        "receptive field": [
            "" if pd.isna(size) else f"{size} px" for size in table["receptive_field"]
        ],
    }
    return pd.DataFrame(columns)


def _readable_comparisons(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    unit = metric_unit(verdicts[0].metric)
    columns = {
        "question": [_question(verdict) for verdict in verdicts],
        _ARMS: [" - ".join(verdict.comparison.arms) for verdict in verdicts],
        f"difference{',' if unit else ''}{unit} [{LEVEL:.0%}]": [
            format_difference(verdict.difference, verdict.metric)
            if verdict.difference
            else "not run" * (0 in verdict.n)
            for verdict in verdicts
        ],
        "n": [", ".join(map(str, verdict.n)) for verdict in verdicts],
        "verdict": [verdict.outcome for verdict in verdicts],
    }
    papers = [verdict.comparison.paper for verdict in verdicts]
    if any(papers):
        columns["paper"] = [paper.value if paper else "" for paper in papers]
        columns[_SOURCE] = [
            "; ".join(filter(None, (paper.source, paper.note))) if paper else "" for paper in papers
        ]
    return pd.DataFrame(columns)


def _question(verdict: Verdict) -> str:
    comparison, metric = verdict.comparison, verdict.metric
    if comparison.margin is None:
        return comparison.question
    margin = f"{format_metric(comparison.margin, metric)}{metric_unit(metric)}"
    return f"{comparison.question} (margin {margin})"


def _mean(row: pd.Series, metric: str) -> str:
    if row["n"] == 0:
        return "not run"
    mean = format_metric(row["mean"], metric)
    if pd.isna(row["low"]):
        return mean
    return f"{mean} ± {format_metric((row['high'] - row['low']) / 2, metric)}"


def _scaled(values: pd.Series, base: int, units: Sequence[str]) -> list[str]:
    """Writes a column in one unit, the one that suits its smallest value."""
    power, smallest = 0, values.min()
    while not pd.isna(smallest) and smallest >= base and power < len(units) - 1:
        power, smallest = power + 1, smallest / base
    digits = 1 if power else 0
    return [
        "" if pd.isna(value) else f"{value / base**power:,.{digits}f}{units[power]}"
        for value in values
    ]


def _markdown(table: pd.DataFrame) -> str:
    safe = table.map(lambda cell: cell.replace("|", r"\|"))
    align = ["left" if name in _TEXT_COLUMNS else "right" for name in safe.columns]
    return safe.to_markdown(index=False, disable_numparse=True, colalign=align)


def _rich(table: pd.DataFrame, row_lines: bool = False) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_lines=row_lines)
    for name in table.columns:
        words = max(map(len, name.split()))
        header = textwrap.fill(name, max(words, *map(len, table[name])))
        drawn.add_column(
            Text(name if name in _WRAPPED_COLUMNS else header),
            justify="left" if name in _TEXT_COLUMNS else "right",
            overflow="fold",
            no_wrap=name not in _WRAPPED_COLUMNS,
        )
    for row in table.itertuples(index=False):
        drawn.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return drawn


def _latex_float(table: pd.DataFrame, text: str, label: str) -> str:
    safe = table.map(_latex).rename(columns=_latex)
    wide = {"question": r"p{0.2\linewidth}", _SOURCE: r"p{0.2\linewidth}"}
    align = [wide.get(name, "l" if name in _TEXT_COLUMNS else "r") for name in table.columns]
    style = safe.style.hide(axis="index")
    return style.to_latex(
        hrules=True,
        position="htbp",
        position_float="centering",
        column_format="".join(align),
        caption=_latex(text),
        label=label,
    )


_LATEX_CHARACTERS = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
        "±": r"$\pm$",
    }
)


def _latex(text: str) -> str:
    escaped = text.translate(_LATEX_CHARACTERS)
    return re.sub(r"(?<!\w)-(?=\d)|(?<= )-(?= )", "$-$", escaped)
