"""The report page: all claims with their evidence in one document, made from records alone."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from cnnlab.analysis import Summary, summarize
from cnnlab.errors import Mistake, unknown
from cnnlab.evidence.caption import caption
from cnnlab.evidence.interval_plots import plots
from cnnlab.evidence.overview import OUTCOMES, Arm, Result, arm_settings, by_claim
from cnnlab.evidence.published import HOME, read_results
from cnnlab.evidence.scaling import DATA
from cnnlab.evidence.tables import readable_arms
from cnnlab.evidence.verdict import format_n, format_runs
from cnnlab.pages import Page, render
from cnnlab.training.program import build_model
from cnnlab.training.recipe import Recipe


def evidence_page(home: Path = HOME, preset: str | None = None, folder: str | Path = ".") -> Page:
    """The page of all claims, from the published records and the configs of a checkout.

    Args:
        home: the folder with `results` and `configs`.
        preset: the one to show; else each claim is shown under the first preset that was run, as
            in the overview.
        folder: where the page is to be saved, which its links to the configs start from.

    Raises:
        Mistake: no claim has that preset; says the presets there are and the nearest.
        ForeignRecord, RateNotChosen: as `read_results`.
    """
    presets = read_results(home / "results", home / "configs")
    claims = {name: results for name, results in presets.items() if results}
    if not claims:
        raise Mistake(f"no claims: looked in {home / 'configs'}")
    if preset is not None:
        if preset not in claims:
            raise Mistake(unknown("preset", preset, tuple(claims)))
        claims = {preset: claims[preset]}
    return report_page(by_claim(claims), os.path.relpath(home, folder))


def report_page(claims: Sequence[Sequence[Result]], home: str = ".") -> Page:
    """The page of some claims: a table of verdicts, then a section a claim.

    Args:
        claims: of each claim its results, the one to show first; of the others that were run the
            verdict is told.
        home: the folder of `configs`, from where the page is.
    """
    leads = [results[0] for results in claims]
    counts = Counter(result.outcome for result in leads)
    return Page(
        render(
            "report.html",
            counts=[(outcome, counts[outcome]) for outcome in OUTCOMES],
            summary=list(map(_summary_row, leads)),
            claims=[_section(*results) for results in claims],
            home=Path(home).as_posix(),
        )
    )


class Cell(NamedTuple):
    """A cell of a sortable table: what it shows, and what it is sorted by; empty comes last."""

    text: str
    key: float | str


def _summary_row(result: Result) -> dict[str, Any]:
    claim, verdict = result.ablation.claim, result.verdicts[0]
    letters, number = claim.place
    difference = verdict.difference
    return {
        "id": Cell(claim.id, f"{letters}{number:06}"),
        "verdict": Cell(result.outcome, OUTCOMES.index(result.outcome)),
        "statement": Cell(claim.statement, claim.statement.lower()),
        "difference": Cell(result.difference, difference.estimate if difference else ""),
        "n": Cell(*((format_n(verdict.n), min(verdict.n)) if result.records else ("", ""))),
        "needed": Cell(
            format_runs(verdict.runs_needed) if verdict.runs_needed else "",
            verdict.runs_needed or "",
        ),
        "others": Cell(result.others, result.others),
        "preset": Cell(result.ablation.preset, result.ablation.preset),
    }


def _section(lead: Result, *others: Result) -> dict[str, Any]:
    """What the page says of a claim."""
    ablation, records = lead.ablation, list(lead.records)
    return {
        "result": lead,
        "claim": ablation.claim,
        "verdict": lead.verdicts[0],
        "plots": plots(lead),
        "arms": readable_arms(ablation, records),
        "comparisons": lead.comparisons,
        "networks": list(_networks(lead)),
        "caption": caption(ablation, records),
        "others": [other for other in others if other.records],
    }


def _networks(result: Result) -> Iterator[tuple[Arm, Summary, Markup]]:
    """Of each arm what it is, and its layer table, whose cells `table` has escaped."""
    for arm in arm_settings(result.ablation):
        summary = layers(result.ablation.arms[arm.name])
        yield arm, summary, Markup(summary.table("html"))


def layers(recipe: Recipe) -> Summary:
    """The layer table of a recipe's network, on images of its data set's size.

    Raises:
        RecipeError, PatternError: as `build_model`.
    """
    name, size = recipe.data.name, recipe.data.image_size
    height, width, channels = DATA[name].shape
    shape = (size or height, size or width, channels)
    return _layers(Recipe(model=recipe.model), shape, DATA[name].classes)


@functools.cache
def _layers(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> Summary:
    return summarize(build_model(recipe.model, classes), shape)
