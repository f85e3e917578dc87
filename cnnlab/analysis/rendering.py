"""The layer table to be read, and as a data frame: one choice of columns for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from cnnlab.analysis.counts import UNKNOWN, total
from cnnlab.analysis.receptive_field import ALL, WHOLE
from cnnlab.errors import unknown
from cnnlab.ops import Size, pair

if TYPE_CHECKING:
    import pandas as pd

    from cnnlab.analysis.summary import Row, Summary

FORMS = {"text": "simple", "markdown": "pipe", "latex": "latex_booktabs", "html": "html"}
"""How a table can be written, and tabulate's name for it."""


class Column(NamedTuple):
    """What a column shows of a row: a number, words, a pair of numbers, or None."""

    heading: str
    value: Callable[[Row], Any]
    summed: bool = False
    share: bool = False
    """The value is shown as a fraction of all rows' sum."""
    axes: bool = False
    """The value is a pair, along height and width: two columns of a frame."""
    missing: str = ""
    """What stands for None where the table is read by people."""


COLUMNS = {
    "path": Column("name", lambda row: row.path),
    "notation": Column("layer", lambda row: row.notation),
    "shape": Column("output", lambda row: "x".join(map(str, row.shape))),
    "kernel": Column("kernel", lambda row: _axes(row.kernel), axes=True),
    "stride": Column("stride", lambda row: _axes(row.stride), axes=True),
    "padding": Column("padding", lambda row: _axes(row.padding), axes=True),
    "activations": Column("activations", lambda row: row.activations, summed=True),
    "weights": Column("weights", lambda row: row.weights, summed=True),
    "biases": Column("biases", lambda row: row.biases, summed=True),
    "params": Column("parameters", lambda row: row.params, summed=True),
    "macs": Column("MACs", lambda row: row.macs, summed=True, missing=UNKNOWN),
    "activations_share": Column("% of activations", lambda row: row.activations, share=True),
    "weights_share": Column("% of weights", lambda row: row.weights, share=True),
    "macs_share": Column("% of MACs", lambda row: row.macs, share=True, missing=UNKNOWN),
    "receptive_field": Column("sees", lambda row: _seen(row, "size"), axes=True, missing=ALL),
    "step": Column("step", lambda row: _seen(row, "step"), axes=True),
}
"""Every column by name. `sees` is the receptive field in pixels, `step` what lies between two."""

SHOWN = ("path", "notation", "shape", "activations", "params", "macs", "receptive_field")
"""The columns of a table where none are chosen."""


def table(summary: Summary, form: str, columns: Sequence[str]) -> str:
    """The table and its totals in one of `FORMS`, numbers with thousands separators.

    Raises:
        ValueError: an unknown form or column; no columns.
    """
    if form not in FORMS:
        raise ValueError(unknown("form of a table", form, FORMS))
    chosen = _chosen(columns)
    cells = [[_read(value, column) for value in _values(summary, column)] for column in chosen]
    totals = [
        _read(total(_values(summary, column)), column) if column.summed else "" for column in chosen
    ]
    totals[0] = f"total {totals[0]}".rstrip()
    rows = [*map(list, zip(*cells, strict=True)), totals]
    if form == "markdown":
        rows = [list(map(markdown_text, row)) for row in rows]
    return tabulate(
        rows,
        [column.heading for column in chosen],
        FORMS[form],
        colalign=["left" if name in ("path", "notation") else "right" for name in columns],
        disable_numparse=True,
    )


_MARKUP = re.compile(r"[|*`]|<(?=[a-z/!?])|](?=[(:[])|&(?=#?\w+;)", re.IGNORECASE)
"""What Markdown would take for a column's end, an emphasis, code, a tag, a link or an entity."""


def markdown_text(text: str) -> str:
    """Words of whatever source, in a line or a cell of Markdown: they are shown as they are."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split("\n")))


def frame(summary: Summary, columns: Sequence[str]) -> pd.DataFrame:
    """The rows as plain numbers and words, in columns called as in `COLUMNS`; sizes in two each.

    Raises:
        ValueError: an unknown column; no columns.
    """
    import pandas as pd  # half a second that a summary does not need

    values: dict[str, Any] = {}
    for name, column in zip(columns, _chosen(columns), strict=True):
        found = _values(summary, column)
        if column.axes:
            for axis, sizes in zip("hw", zip(*found, strict=True), strict=True):
                values[f"{name}_{axis}"] = pd.array(sizes, dtype="Int64")
        elif column.summed or column.share:
            values[name] = pd.array(found, dtype="Float64" if column.share else "Int64")
        else:
            values[name] = found
    return pd.DataFrame(values).convert_dtypes()


def _chosen(columns: Sequence[str]) -> list[Column]:
    if isinstance(columns, str) or not len(columns):
        raise ValueError(f"columns are a list of names, such as ['path', 'macs']; got {columns!r}")
    for name in columns:
        if name not in COLUMNS:
            raise ValueError(unknown("column", name, COLUMNS))
    return [COLUMNS[name] for name in columns]


def _values(summary: Summary, column: Column) -> list[Any]:
    values = [column.value(row) for row in summary.rows]
    if not column.share:
        return values
    whole = total(values)
    return [None if whole is None else value / (whole or 1) for value in values]


def _read(value: Any, column: Column) -> str:
    if isinstance(value, tuple):
        if value[0] != value[1]:
            return "x".join(column.missing if size is None else str(size) for size in value)
        value = value[0]
    if value is None:
        return column.missing
    if column.share:
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else value


def _axes(size: Size | None) -> tuple[int | None, int | None]:
    """A window's size along height and width; nothing without a window."""
    return (None, None) if size is None else pair(size)


def _seen(row: Row, what: str) -> tuple[int | None, int | None]:
    """Of the receptive field along height and width; None for the whole image."""
    height, width = (None if field is WHOLE else getattr(field, what) for field in row.fields)
    return height, width
