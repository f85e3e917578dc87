"""An ablation's report: a page, tables and a figure, made from its records and nothing else."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cnnlab.analysis.rendering import markdown_text
from cnnlab.evidence import plots
from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import caption, titles
from cnnlab.evidence.layout import (
    COLOURS,
    fits,
    latex_float,
    markdown_table,
    measured_and_costs,
    rich_table,
    stacked,
)
from cnnlab.evidence.tables import (
    PAPER,
    SOURCE,
    arms_table,
    comparisons_table,
    readable_arms,
    readable_comparisons,
)
from cnnlab.evidence.verdict import Verdict, judge_claim
from cnnlab.files import inside, write_whole
from cnnlab.training import Record


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict's sentence with its outcome in bold before it."""
    return f"**{verdict.outcome.capitalize()}**: {markdown_text(verdict.sentence)}"


def report_markdown(
    ablation: Ablation, records: Iterable[Record], verdicts: Sequence[Verdict]
) -> str:
    """The whole result as a Markdown page: claim, verdict, both tables, caption and caveats.

    Raises:
        ValueError: as `arms_table`.
    """
    claim, records = ablation.claim, list(records)
    parts = [
        f"# {markdown_text(claim.title)}",
        f"Source of the claim: {markdown_text(claim.source)}.",
        verdict_markdown(verdicts[0]),
        markdown_table(readable_arms(ablation, records)),
        markdown_table(readable_comparisons(claim, verdicts)),
        markdown_text(caption(ablation, records)),
        *filter(None, [claim.caveats]),
    ]
    return "\n\n".join(parts) + "\n"


def report_latex(ablation: Ablation, records: Iterable[Record], verdicts: Sequence[Verdict]) -> str:
    """Both tables as LaTeX floats; the document needs the package booktabs.

    Raises:
        ValueError: as `arms_table`.
    """
    claim, records, verdict = ablation.claim, list(records), verdicts[0]
    title = f"{claim.title}. {verdict.outcome.capitalize()}."
    return (
        "% needs \\usepackage{booktabs}\n"
        + latex_float(
            readable_arms(ablation, records),
            f"{title} {caption(ablation, records)}",
            f"tab:{claim.id}-arms",
        )
        + "\n"
        + latex_float(
            readable_comparisons(claim, verdicts),
            f"{claim.id}: {verdict.sentence} Data: {titles(records)}.",
            f"tab:{claim.id}-comparisons",
        )
    )


def print_report(console: Console, ablation: Ablation, records: Iterable[Record]) -> None:
    """Prints claim, tables, caption and, last, the verdict; at home in 80 columns.

    Raises:
        ValueError: as `arms_table`.
    """
    claim, records = ablation.claim, list(records)
    verdicts = judge_claim(claim, records)
    console.print(Text(claim.title, style="bold"))
    console.print(Text(f"Source of the claim: {claim.source}."))
    arms = readable_arms(ablation, records)
    for part in [arms] if fits(rich_table(arms), console) else measured_and_costs(arms):
        console.print(rich_table(part))
    comparisons = readable_comparisons(claim, verdicts)
    console.print(rich_table(stacked(comparisons), row_lines=True))
    for row in comparisons.to_dict("records"):
        if row.get(PAPER):
            console.print(Text(f"{row[PAPER]}: {row[SOURCE]}."))
    for text in filter(None, (caption(ablation, records), claim.caveats)):
        console.print(Text(text, style="dim"))
    outcome = verdicts[0].outcome
    heading = Text(f"\n{outcome.upper()}", style=f"bold {COLOURS[outcome]}")
    console.print(heading + Text(f": {verdicts[0].sentence}"))


def write_report(folder: Path, ablation: Ablation, records: list[Record]) -> Path:
    """Write `<preset>.md`, `.csv`, `.tex` and `.png` into `folder`; returns the Markdown's path."""
    verdicts = judge_claim(ablation.claim, records)
    folder.mkdir(parents=True, exist_ok=True)
    preset = ablation.preset
    page, figure = inside(folder, f"{preset}.md"), inside(folder, f"{preset}.png")
    plots.figure(ablation.claim, tuple(ablation.arms), records, verdicts, figure)
    text = report_markdown(ablation, records, verdicts)
    write_whole(page, f"{text}\n![every run, by arm]({figure.name})\n")
    write_whole(page.with_suffix(".tex"), report_latex(ablation, records, verdicts))
    numbers = {
        f"{preset}.csv": arms_table(ablation, records),
        f"{preset}-comparisons.csv": comparisons_table(verdicts),
    }
    for name, table in numbers.items():
        write_whole(folder / name, table.assign(data=titles(records)).to_csv(index=False))
    return page
