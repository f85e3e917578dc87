"""Published results: the reports under `results/` and the README's block, from records alone."""

import runpy
from pathlib import Path

from cnnlab.evidence import tables
from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import titles
from cnnlab.evidence.report import read_records, write_report
from cnnlab.evidence.verdict import judge
from cnnlab.training import Record
from cnnlab.training.record import write_whole

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


class MarkerMissing(ValueError):
    """A text without the two markers between which the results stand."""


def rewrite(results: Path, configs: Path, readme: Path) -> list[Path]:
    """Rewrite every report under `results`, and the block of `readme` that shows them.

    The records in `results/<name>/<preset>.jsonl` are of the ablation `configs/<name>.py:<preset>`.

    Args:
        results: a folder beside `readme`.
        configs: the folder of config files.
        readme: a Markdown file with the lines `BEGIN` and `END`.

    Returns:
        The reports' pages.

    Raises:
        MarkerMissing: `readme` lacks a marker; nothing was written.
        ForeignRecord: a record is not of its ablation, as when the config has changed since.
        FileNotFoundError: there is no `readme`, or no config to some records.
    """
    text = readme.read_text()
    replace_block(text, "")
    pages, sections = [], []
    for path in sorted(results.glob("*/*.jsonl")):
        ablation = load_ablation(configs / f"{path.parent.name}.py", path.stem)
        records = read_records(path, ablation)
        page = write_report(path.parent, ablation, records)
        pages.append(page)
        sections.append(section(ablation, records, page.relative_to(readme.parent)))
    write_whole(readme, replace_block(text, "\n\n".join(sections)))
    return pages


def load_ablation(config: Path, preset: str) -> Ablation:
    """The ablation that a config file describes under a preset.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has no such preset, or what it describes does not hold together.
    """
    return Ablation.from_config(runpy.run_path(str(config))["get_config"](preset))


def load_ablations(configs: Path, preset: str) -> list[Ablation]:
    """The ablations of all files in `configs` that have the preset, by their claims' ids.

    Raises:
        ValueError: what a file describes does not hold together.
    """
    found = []
    for path in configs.glob("*.py"):
        try:
            found.append(load_ablation(path, preset))
        except ValueError as error:
            # As every config words it that is asked for a preset it does not have.
            if not str(error).startswith(f"unknown preset: {preset!r}"):
                raise
    return sorted(found, key=lambda ablation: (len(ablation.claim.id), ablation.claim.id))


def section(ablation: Ablation, records: list[Record], page: Path) -> str:
    """One ablation's result for the README: claim, verdict, arms and where the rest stands."""
    claim = ablation.claim
    parts = [
        f"### {claim.title} (preset `{ablation.preset}`)",
        tables.verdict_markdown(judge(claim.comparisons[0], records, claim.metric)),
        tables.arms_markdown(ablation, records),
        f"Data: {titles(records)}. "
        f"[All comparisons, and how to read the numbers]({page.as_posix()}); "
        f"[every run in a figure]({page.with_suffix('.png').as_posix()}).",
    ]
    return "\n\n".join(parts)


def replace_block(text: str, block: str) -> str:
    """`text` with `block` between its markers.

    Raises:
        MarkerMissing: `text` lacks `BEGIN`, or `END` after it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        missing = END if begin else BEGIN
        raise MarkerMissing(f"no line {missing!r} to say where the results stand")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"
