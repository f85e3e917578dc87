"""Published results: what stands under `results/`, made from records alone."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from cnnlab.errors import Mistake
from cnnlab.evidence.ablation import Ablation, load_ablation, load_ablations
from cnnlab.evidence.overview import Result, by_claim, overview, summary
from cnnlab.evidence.records import read_records, records_path
from cnnlab.evidence.report import write_report
from cnnlab.evidence.verdict import format_n
from cnnlab.files import inside, read_text, write_whole
from cnnlab.training.folder import ForeignRecord, differences
from cnnlab.training.recipe import identity

PRESETS = ("cpu", "digits", "paper")
"""What configs can be asked for; the first that was run stands for a claim."""

HOME = Path(__file__).parents[2]
"""The checkout that holds this file, with its `results` and `configs`; elsewhere it has neither."""

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


class MarkerMissing(Mistake):
    """A text without the two markers between which the results stand."""


class CannotPublish(Mistake):
    """Runs that are not those that the config file describes: nobody could make them again."""


def check_publishable(ablation: Ablation, configs: Path) -> None:
    """Refuse to publish what was set on the command line and stands in no config.

    Raises:
        CannotPublish: there is no `configs/<name>.py`, or its arms are other ones; says in what.
    """
    config = inside(configs, f"{ablation.name}.py")
    if not config.exists():
        raise CannotPublish(f"no {config}, to make the published results again from")
    described = load_ablation(config, ablation.preset)
    if differing := list(differences(_runs(ablation), _runs(described))):
        raise CannotPublish(
            f"what is published is made again from {config}, which has it otherwise: "
            + "; ".join(differing)
        )


def _runs(ablation: Ablation) -> dict[str, Any]:
    """What makes an ablation's runs those that they are, and its page the one that it is."""
    arms = {arm: identity(recipe) for arm, recipe in ablation.arms.items()}
    claim = dataclasses.asdict(ablation.claim)
    return {"seeds": ablation.seeds, "rates": ablation.rates, "arms": arms, "claim": claim}


def rewrite(results: Path, configs: Path, readme: Path) -> list[Path]:
    """Rewrite every report under `results`, their overview, and the summary in `readme`.

    The records in `results/<name>/<preset>.jsonl` are of the ablation `configs/<name>.py:<preset>`.

    Args:
        results: a folder beside `readme`.
        configs: the folder of config files.
        readme: a Markdown file with the lines `BEGIN` and `END`.

    Returns:
        The pages written, the overview last.

    Raises:
        MarkerMissing: `readme` lacks a marker; nothing was written.
        BadFile: a config or a record cannot be understood; names file and line.
        ForeignRecord, RateNotChosen: records have no ablation, or are not of theirs, as when the
            config has changed since, or do not tell an arm's learning rate.
        FileNotFoundError: there is no `readme`.
    """
    text = read_text(readme)
    replace_block(text, "")
    presets = read_results(results, configs)
    pages = [
        write_report(result.ablation.home(results), result.ablation, list(result.records))
        for found in presets.values()
        for result in found
        if result.records
    ]
    pages.append(results / "README.md")
    write_whole(pages[-1], overview(presets))
    preset, found = next(iter(presets.items()))
    block = f"Preset `{preset}`:\n\n{summary(found, f'{results.name}/')}"
    write_whole(readme, replace_block(text, block))
    return pages


def read_results(results: Path, configs: Path) -> dict[str, list[Result]]:
    """Of each preset, the claims that have it, by their ids, with their records.

    The presets that were run come first, as in `PRESETS`.

    Raises:
        Exception: as `rewrite`, but for the marker.
    """
    paths = sorted(results.glob("*/*.jsonl"))
    run = {path.stem for path in paths}
    order = sorted({*PRESETS, *run}, key=lambda preset: (preset not in run, _rank(preset), preset))
    described = {preset: load_ablations(configs, preset) for preset in order}
    for path in paths:
        if path.parent.name not in {ablation.name for ablation in described[path.stem]}:
            config = configs / f"{path.parent.name}.py"
            raise ForeignRecord(f"{path}: there is no {config} with a preset {path.stem!r}")
    return {
        preset: [_result(results, ablation) for ablation in ablations]
        for preset, ablations in described.items()
    }


def empirical_table(home: Path = HOME) -> pd.DataFrame:
    """The claims that only training can check, with their verdicts from published records.

    Returns:
        One row a claim, with the columns of `arithmetic_table`; ``the note says`` is what it makes
        one expect, ``outcome`` "supported", "refuted", "undecided" or "not run".

    Raises:
        Exception: as `read_results`.
    """
    presets = read_results(home / "results", home / "configs")
    return pd.DataFrame([_row(lead) for lead, *_ in by_claim(presets)])


def _row(result: Result) -> dict[str, str]:
    claim, ours = result.ablation.claim, ""
    if result.records:
        runs = format_n(result.verdicts[0].n)
        ours = f"{result.difference or 'no interval'} (n = {runs}, preset {result.ablation.preset})"
    return {
        "id": claim.id,
        "claim": claim.statement.rstrip("."),
        "source": claim.source,
        "the note says": claim.comparisons[0].expectation,
        "ours": ours,
        "outcome": result.outcome,
        "why": "",
    }


def _rank(preset: str) -> int:
    return PRESETS.index(preset) if preset in PRESETS else len(PRESETS)


def _result(results: Path, ablation: Ablation) -> Result:
    path = records_path(results, ablation)
    return Result(*read_records(path, ablation)) if path.exists() else Result(ablation, [])


def replace_block(text: str, block: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """`text` with `block` between its markers.

    Raises:
        MarkerMissing: `text` lacks the first of `markers`, or the second after it.
    """
    before, begin, rest = text.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not (begin and end):
        raise MarkerMissing(f"no line {markers[bool(begin)]!r} to say where the results stand")
    return f"{before}{begin}\n{block}\n{end}{after}"
