"""All claims on one page: a summary table, then a section a claim."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import pandas as pd

from cnnlab.analysis.rendering import markdown_text
from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.caption import meanings, rates, titles
from cnnlab.evidence.claim import Claim
from cnnlab.evidence.layout import markdown_table
from cnnlab.evidence.report import verdict_markdown
from cnnlab.evidence.tables import VERDICT, readable_arms, readable_comparisons
from cnnlab.evidence.verdict import (
    Outcome,
    Verdict,
    format_difference,
    format_n,
    format_runs,
    judge_claim,
    metric_name,
    metric_unit,
)
from cnnlab.pages import render
from cnnlab.training import Record
from cnnlab.training.recipe import identity

NOT_RUN = "not run"
OUTCOMES = (*get_args(Outcome), NOT_RUN)
"""The order that verdicts are sorted in."""
LINK = ""
"""Heading of the column of links to the claims' pages."""

_INTRODUCTION = """\
# Results

Sentences that the notes ask their reader to believe, some completed from the papers that they lead
to, and what happened when they were tried. `make results` prints this page, and all tables and
figures, from the records that lie beside them (`<preset>.jsonl`, a line a run); nothing here is
typed by hand. How a verdict is reached stands at the top of
[`verdict.py`](../cnnlab/evidence/verdict.py). A claim's verdict is that of its first comparison;
the others, controls among them, are counted beside it. It is about the nets, the data and the
length of training that its section names: the presets `digits` and `cpu` are minutes of small nets;
`paper` is larger nets and longer training, for E2, E3 and E17 the papers' own. Data named as a copy
are not quite the original: of CIFAR-10 one of which the images were stored as JPEG of quality 75,
of MNIST one that lacks images. Papers' figures are of the originals. A refuted claim is a finding,
and one that was not run says so."""


@dataclass(frozen=True)
class Result:
    """An ablation and its published records: none where it was not run."""

    ablation: Ablation
    records: Sequence[Record]

    @functools.cached_property
    def verdicts(self) -> list[Verdict]:
        """Of the claim's comparisons; the first is the claim's own."""
        return judge_claim(self.ablation.claim, self.records)

    @property
    def outcome(self) -> str:
        """The claim's verdict in a word."""
        return self.verdicts[0].outcome if self.records else NOT_RUN

    @property
    def others(self) -> str:
        """How the other comparisons came out, "2 supported, 1 undecided"; empty if not run."""
        if not self.records:
            return ""
        counts = Counter[str](verdict.outcome for verdict in self.verdicts[1:])
        return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])

    @property
    def difference(self) -> str:
        """The difference behind the verdict, with interval and unit; empty if there is none.

        It is of errors on the test images unless it says of what.
        """
        verdict = self.verdicts[0]
        if verdict.difference is None:
            return ""
        words = format_difference(verdict.difference, verdict.metric) + metric_unit(verdict.metric)
        usual = verdict.metric == Claim.metric
        of = "" if usual else f" of {metric_name(verdict.metric)}"
        return f"{words}{of}{verdict.comparison.origin}"

    @functools.cached_property
    def comparisons(self) -> pd.DataFrame:
        """The claim's comparisons in words."""
        words = readable_comparisons(self.ablation.claim, self.verdicts)
        return words if self.records else words.assign(**{VERDICT: NOT_RUN})

    @property
    def config(self) -> str:
        """The file that describes it, from the project's folder."""
        return f"configs/{self.ablation.name}.py"

    @property
    def command(self) -> str:
        """What does its runs."""
        return f"python experiments/ablate.py --config {self.config}:{self.ablation.preset}"

    @property
    def page(self) -> str:
        """Where its report stands, from the folder of all results."""
        return f"{self.ablation.name}/{self.ablation.preset}.md"

    @property
    def figure(self) -> str:
        """Where its figure stands, likewise."""
        return f"{self.ablation.name}/{self.ablation.preset}.png"

    def _repr_html_(self) -> str:
        arms = readable_arms(self.ablation, self.records)
        return render("result.html", result=self, arms=arms)


class Arm(NamedTuple):
    """An arm as a reader should see it: its network by pattern or name, its settings in words."""

    name: str
    network: str
    settings: list[str]


def overview(presets: Mapping[str, Sequence[Result]]) -> str:
    """The page of all claims, to stand in the folder of all results.

    Args:
        presets: of each preset, the results of all claims that have it; the first that was run
            gives a claim's section.
    """
    parts = [_INTRODUCTION]
    for preset, results in presets.items():
        parts += [f"## Preset `{preset}`", summary(results)]
    parts += [_section(results) for results in by_claim(presets)]
    return "\n\n".join(parts) + "\n"


def by_claim(presets: Mapping[str, Sequence[Result]]) -> list[list[Result]]:
    """The results of each claim under all presets, those that were run first; claims by id."""
    claims: dict[tuple[str, int], list[Result]] = {}
    for results in presets.values():
        for result in results:
            claims.setdefault(result.ablation.claim.place, []).append(result)
    return [
        sorted(claims[place], key=lambda result: not result.records) for place in sorted(claims)
    ]


def summary(results: Sequence[Result], folder: str = "") -> str:
    """A table of claims: the verdict and its numbers, the other comparisons' outcomes, and a link.

    The links begin with `folder`. Below it stands what data the numbers come from.
    """
    if not any(result.records for result in results):
        return "Not run."
    rows = [_summary_row(result, folder) for result in results]
    data = titles(record for result in results for record in result.records)
    return f"{markdown_table(pd.DataFrame(rows), links=[LINK])}\n\nData: {markdown_text(data)}."


def _summary_row(result: Result, folder: str) -> dict[str, str]:
    verdict = result.verdicts[0]
    return {
        "claim": result.ablation.claim.title,
        "verdict": result.outcome,
        "difference [95%]": result.difference,
        "n": format_n(verdict.n) if result.records else "",
        "n to decide": format_runs(verdict.runs_needed) if verdict.runs_needed else "",
        "other comparisons": result.others,
        LINK: f"[table]({folder}{result.page})" if result.records else "",
    }


def _section(results: Sequence[Result]) -> str:
    lead, *others = results
    claim = lead.ablation.claim
    parts = [
        f"## {markdown_text(claim.title)}",
        markdown_text(f"{claim.comparisons[0].question} Source of the claim: {claim.source}."),
        "\n".join([*map(_arm_line, arm_settings(lead.ablation)), *_options_line(lead.ablation)]),
        *(_findings(lead) if lead.records else ["Not run."]),
        *filter(None, [claim.caveats]),
        f"```sh\n{lead.command}\n```",
        *(_line(other) for other in others if other.records),
    ]
    return "\n\n".join(parts)


def _findings(result: Result) -> list[str]:
    ablation, records = result.ablation, result.records
    where = f"Preset `{ablation.preset}`; data: {markdown_text(titles(records))}."
    return [
        verdict_markdown(result.verdicts[0]),
        markdown_table(readable_arms(ablation, records)),
        markdown_table(result.comparisons),
        f"![every run, by arm]({result.figure})",
        " ".join(filter(None, [where, markdown_text(rates(ablation)), meanings(ablation.claim)])),
        f"[How to read the numbers, and what made them]({result.page}).",
    ]


def _line(result: Result) -> str:
    verdict = verdict_markdown(result.verdicts[0])
    return f"Preset `{result.ablation.preset}`: {verdict} [All of it]({result.page})."


def _arm_line(arm: Arm) -> str:
    return f"- {_code(arm.name)}: " + ", ".join(map(_code, (arm.network, *arm.settings)))


def _code(text: str) -> str:
    """Words as code, fenced by more backticks than they hold in a row."""
    words = " ".join(text.split("\n"))
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    room = " " * (words[:1] == "`" or words[-1:] == "`")
    return f"{fence}{room}{words}{room}{fence}"


def _options_line(ablation: Ablation) -> list[str]:
    """What the networks of all arms are made with."""
    first, *others = (dict(recipe.model.options) for recipe in ablation.arms.values())
    shared = [_code(f"{key} = {value}") for key, value in first.items()
              if all(options.get(key) == value for options in others)]  # fmt: skip
    return [f"- {'all ' * bool(others)}with {', '.join(shared)}"] if shared else []


def arm_settings(ablation: Ablation) -> Iterator[Arm]:
    """Each arm's network, and what else sets it apart from the other arms."""
    recipes = {arm: dict(_flat(identity(recipe))) for arm, recipe in ablation.arms.items()}
    shown = {"arm", "model.name"} | ({"optimizer.learning_rate"} if ablation.rates else set())
    keys = sorted(set().union(*recipes.values()) - shown)
    for arm, recipe in recipes.items():
        others = [
            f"{key} = {recipe[key]}"
            for key in keys
            if key in recipe and any(recipe[key] != each.get(key) for each in recipes.values())
        ]
        yield Arm(arm, recipe["model.name"], others)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
