"""Tables of words, drawn: in Markdown, in a terminal, in LaTeX."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.analysis.rendering import markdown_text
from cnnlab.evidence.tables import DIFFERENCE, PAPER, QUESTION, SOURCE, VERDICT
from cnnlab.evidence.verdict import Outcome

COLOURS: dict[Outcome, str] = {"supported": "green", "refuted": "red", "undecided": "yellow"}

_STACKED = f"{QUESTION}\n{DIFFERENCE}"
_TEXT_COLUMNS = ("arm", "claim", QUESTION, DIFFERENCE, _STACKED, VERDICT, PAPER, SOURCE)
_WRAPPED_COLUMNS = ("arm", _STACKED, PAPER)


def markdown_table(table: pd.DataFrame, links: Collection[str] = ()) -> str:
    """A pipe table; the columns `links` are Markdown already, all else is words."""
    align = ["left" if name in _TEXT_COLUMNS else "right" for name in table.columns]
    words = table.columns.difference(list(links))
    safe = table.assign(**{name: table[name].map(markdown_text) for name in words})
    return safe.to_markdown(index=False, disable_numparse=True, colalign=align)


def stacked(comparisons: pd.DataFrame) -> pd.DataFrame:
    """`readable_comparisons` for a terminal: the difference under its question, no sources."""
    slim = comparisons.drop(columns=[QUESTION, DIFFERENCE, SOURCE], errors="ignore")
    slim.insert(0, _STACKED, comparisons[QUESTION] + "\n" + comparisons[DIFFERENCE])
    return slim


def measured_and_costs(arms: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`readable_arms` in two, for a terminal that it is too wide for."""
    end = list(arms.columns).index("n") + 1
    return arms.iloc[:, :end], arms[["arm", *arms.columns[end:]]]


def fits(table: Table, console: Console) -> bool:
    """Whether a terminal is wide enough for all of a table's columns."""
    endless = console.options.update_width(10_000)
    return console.measure(table, options=endless).minimum <= console.width


def rich_table(table: pd.DataFrame, row_lines: bool = False) -> Table:
    """A table for the terminal, verdicts in colour."""
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
        drawn.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    return drawn


def latex_float(table: pd.DataFrame, text: str, label: str) -> str:
    """A float with its caption, every word escaped."""
    safe = table.map(_latex).rename(columns=_latex)
    wide = {QUESTION: r"p{0.2\linewidth}", SOURCE: r"p{0.2\linewidth}"}
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
