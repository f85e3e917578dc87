"""All forms of the layer table hold the same rows, columns and numbers."""

import html
import io
import json
import re

import pandas as pd
import pytest
from flax import linen

import cnnlab
from cnnlab import models, nn
from cnnlab.analysis.rendering import COLUMNS, FORMS


class Named(linen.Module):
    """Names that mean something to Markdown, LaTeX and HTML."""

    @linen.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(40, (1, 7), name="a_b%|<i>&*")(x)
        return nn.Dense(1000, name="fc")(nn.GlobalAvgPool(name="gap")(nn.ReLU(name="relu")(x)))


@pytest.fixture(scope="module")
def summary():
    return cnnlab.summarize(Named(), (8, 8, 3))


def cells(text, form):
    """The cells of a table, read back; the rows of headings first, the totals last."""
    lines = text.splitlines()
    if form == "text":
        ends = [match.span() for match in re.finditer("-+", lines[1])]
        return [[line[a:b].strip() for a, b in ends] for line in (lines[0], *lines[2:])]
    if form == "markdown":
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in (lines[0], *lines[2:])]
        return [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in rows]
    if form == "latex":
        rows = [line.removesuffix(r"\\") for line in lines if line.endswith(r"\\")]
        plain = [re.sub(r"\\ensuremath\{(.)\}", r"\1", row) for row in rows]
        split = [re.split(r"(?<!\\)&", row) for row in plain]
        return [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in split]
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    return [
        [html.unescape(cell.strip()) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(summary, form):
    head, *rows, total = cells(summary.table(form, tuple(COLUMNS)), form)
    assert head == [column.heading for column in COLUMNS.values()]
    by_row = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    assert [row["path"] for row in by_row] == ["", "a_b%|<i>&*", "relu", "gap", "fc"]
    assert by_row[1] == {
        "path": "a_b%|<i>&*",
        "notation": "CONV1x7-40",
        "shape": "8x8x40",
        "kernel": "1x7",
        "stride": "1",
        "padding": "0x3",
        "activations": "2,560",
        "weights": "840",
        "biases": "40",
        "params": "880",
        "macs": "53,760",
        "activations_share": "67.5%",
        "weights_share": "2.1%",
        "macs_share": "57.3%",
        "receptive_field": "1x7",
        "step": "1",
    }
    assert (by_row[-1]["receptive_field"], by_row[-1]["step"], by_row[-1]["kernel"]) == (
        "all",
        "",
        "",
    )
    assert dict(zip(COLUMNS, total, strict=True)) == dict.fromkeys(COLUMNS, "") | {
        "path": "total",
        "activations": "3,792",
        "weights": "40,840",
        "biases": "1,040",
        "params": "41,880",
        "macs": "93,760",
    }


def test_escaped(summary):
    assert r"a\_b\%|" in summary.table("latex", ["path"])
    assert r"\% of MACs" in summary.table("latex", ["path", "macs_share"])
    assert "a_b%|&lt;i&gt;&amp;*" in summary.table("html", ["path"])
    assert r"a_b%\|\<i>&\*" in summary.table("markdown", ["path"])


def test_columns_are_chosen_in_one_way(summary):
    chosen = ("macs", "path", "step")
    for form in FORMS:
        head, *rows = cells(summary.table(form, chosen), form)
        assert head == ["MACs", "name", "step"]
        assert rows[1] == ["53,760", "a_b%|<i>&*", "1"]
    assert list(summary.to_frame(chosen)) == ["macs", "path", "step_h", "step_w"]
    for choose in (summary.table, lambda columns: summary.to_frame(columns)):
        with pytest.raises(ValueError, match=r"unknown column: 'mac'; .*did you mean 'macs'\?"):
            choose(columns=["mac"])
        for nothing in ([], (), "macs"):
            with pytest.raises(ValueError, match=r"a list of names, such as .*; got .*$") as caught:
                choose(columns=nothing)
            assert str(caught.value).endswith(f"got {nothing!r}")
    with pytest.raises(ValueError, match=r"unknown form of a table: 'txt'; .*did you mean 'text'"):
        summary.table("txt")


def test_print_and_notebook(summary):
    assert str(summary) == summary.table("text")
    assert summary._repr_html_() == summary.table("html")


def test_a_total_has_its_place_where_the_first_column_is_a_sum(summary):
    assert cells(summary.table("text", ["macs"]), "text")[-1] == ["total 93,760"]
    totals = ["total 93,760", "", "1,040"]
    assert cells(summary.table("text", ["macs", "path", "biases"]), "text")[-1] == totals
    assert cells(summary.table("text", ["shape", "macs"]), "text")[-1] == ["total", "93,760"]


def test_frame_is_plain(summary):
    frame = summary.to_frame()
    sizes = ("kernel", "stride", "padding", "receptive_field", "step")
    names = [(f"{name}_h", f"{name}_w") if name in sizes else (name,) for name in COLUMNS]
    assert tuple(frame) == sum(names, ())
    assert list(frame["macs"]) == [0, 53_760, 0, 0, 40_000]
    assert frame["params"].sum() == summary.params
    assert frame["macs_share"][1] == 53_760 / 93_760
    assert list(frame["receptive_field_w"].isna()) == [False, False, False, True, True]
    assert list(frame["kernel_h"][1:3].isna()) == [False, True]
    assert {name: int(frame[name][1]) for name in frame if name[:-2] in sizes} == {
        "kernel_h": 1,
        "kernel_w": 7,
        "stride_h": 1,
        "stride_w": 1,
        "padding_h": 0,
        "padding_w": 3,
        "receptive_field_h": 1,
        "receptive_field_w": 7,
        "step_h": 1,
        "step_w": 1,
    }
    flat = cnnlab.summarize(models.pattern("INPUT -> FC-2"), (4, 4, 1)).to_frame()
    for name in (f"{size}_{axis}" for size in sizes for axis in "hw"):
        assert str(frame[name].dtype) == str(flat[name].dtype) == "Int64"


def test_csv_and_json_through_pandas(summary):
    frame = summary.to_frame()
    rows = json.loads(frame.to_json(orient="records"))
    assert rows[1]["path"] == "a_b%|<i>&*"
    assert (rows[1]["kernel_h"], rows[1]["kernel_w"]) == (1, 7)
    assert [row["macs"] for row in rows] == [row.macs for row in summary.rows]
    assert rows[-1]["receptive_field_h"] is rows[-1]["kernel_h"] is None
    read = pd.read_csv(io.StringIO(frame.to_csv(index=False)), keep_default_na=False)
    assert list(read["path"]) == [row.path for row in summary.rows]
    assert list(read["weights"]) == [row.weights for row in summary.rows]


def test_no_weights_and_no_macs():
    """A share of nothing is 0."""
    frame = cnnlab.summarize(models.pattern("INPUT -> POOL2"), (4, 4, 1)).to_frame()
    assert list(frame["weights_share"]) == list(frame["macs_share"]) == [0, 0]
