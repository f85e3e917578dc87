"""An ablation's report: tables and a figure, made from its records and nothing else."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from cnnlab.evidence import plots, tables
from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import titles
from cnnlab.evidence.verdict import judge_claim
from cnnlab.training import Record
from cnnlab.training.recipe import completed, identity
from cnnlab.training.record import write_whole


class ForeignRecord(ValueError):
    """A record of a run that the ablation does not have."""


def read_records(path: Path, ablation: Ablation) -> list[Record]:
    """The published records of an ablation, one JSON line each.

    Raises:
        ForeignRecord: a record is not of one of the ablation's recipes, as when the config has
            changed since.
    """
    records = [Record.from_json(line) for line in path.read_text().splitlines()]
    for record in records:
        if record.arm not in ablation.arms or completed(record.config) != identity(
            ablation.recipe(record.arm, record.seed)
        ):
            run = f"arm {record.arm!r} seed {record.seed}"
            raise ForeignRecord(f"{path}: {run} was run with another recipe than the config's")
    return records


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Publish records at `path`, sorted by arm and seed."""
    ordered = sorted(records, key=lambda record: (record.arm, record.seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(record.to_json() + "\n" for record in ordered))


def write_report(folder: Path, ablation: Ablation, records: list[Record]) -> Path:
    """Write `<preset>.md`, `.csv`, `.tex` and `.png` into `folder`; returns the Markdown's path."""
    claim, arms = ablation.claim, tuple(ablation.arms)
    verdicts = judge_claim(claim, records)
    folder.mkdir(parents=True, exist_ok=True)
    page, figure = folder / f"{ablation.preset}.md", folder / f"{ablation.preset}.png"
    plots.figure(claim, arms, records, verdicts, figure)
    text = tables.report_markdown(ablation, records, verdicts)
    write_whole(page, f"{text}\n![every run's error, by arm]({figure.name})\n")
    write_whole(page.with_suffix(".tex"), tables.report_latex(ablation, records, verdicts))
    numbers = {
        f"{ablation.preset}.csv": tables.arms_table(claim, arms, records),
        f"{ablation.preset}-comparisons.csv": tables.comparisons_table(verdicts),
    }
    for name, table in numbers.items():
        write_whole(folder / name, table.assign(data=titles(records)).to_csv(index=False))
    return page


def print_report(console: Console, ablation: Ablation, records: list[Record]) -> None:
    """Print tables and verdict."""
    tables.print_report(console, ablation, records, judge_claim(ablation.claim, records))
