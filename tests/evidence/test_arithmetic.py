"""The notes' arithmetic: what agrees, where they slip, and that every check can fail."""

import dataclasses
import functools

import jax.numpy as jnp
import pytest

import cnnlab
from cnnlab import models, ops
from cnnlab.evidence import ARITHMETIC_CLAIMS, arithmetic_table
from cnnlab.evidence.arithmetic import networks, sizes
from cnnlab.evidence.arithmetic.finding import largest_difference

IDS = [f"A{i}" for i in range(1, 24)]
SLIPS = {"A8", "A12", "A13", "A14", "A19"}
CLAIMS = {claim.id: claim for claim in ARITHMETIC_CLAIMS}

# What our column must print: counted by hand from the formulas, or golden counts of the papers.
FIGURES = {
    "A1": ["3,072", "120,000"],
    "A2": ["75 weights + 1 bias", "180 weights"],
    "A3": ["5, 3, 3; 4.5 is refused", "stride 1, stride 7", "input size 9, input size 11"],
    "A4": ["108 of 108", "4.5 becomes 4"],
    "A5": ["40 of 40", "F=3: P=1, F=5: P=2"],
    "A6": ["4x4x2; 32 sums"],
    "A7": ["32x32x10, 760 parameters"],
    "A8": ["28; 26, then 11.5"],
    "A9": ["75%; 15.5 does not fit", "gives 16"],
    "A10": ["7x7 and 5x5 (Jacobian: 7x7 and 5x5)", "27 C^2 against 49 C^2"],
    "A11": ["22 of 22 rows", "138,357,544 parameters", "13,416"],
    "A12": ["15.24M values, 61.0 MB"],
    "A13": ["9.63M values, 77.1 MB = 73.5 MiB"],
    "A14": [
        "alexnet 61,100,840 (+1.8%)",
        "alexnet_two_groups 60,965,224 (+1.6%)",
        "googlenet 6,998,552 (+75.0%)",
        "vgg16 138,357,544 (-1.2%)",
        "74% of the parameters",
        "63% of the memory and 30% of the MACs",
    ],
    "A16": ["64 of 64 shifts", "75 of 75 numbers", "0,1,0,0 and 0,0,1,0"],
    "A18": ["32x32x12 -> 16x16x12, 0 parameters", "32x32x12 -> 32x32x3"],
    "A20": ["72 of 72 networks"],
    "A21": ["ResNet-20 269,722 parameters, 40,551,040 MACs; plain-20 269,722, 40,551,040"],
    "A22": ["3x3x2, 18 of 18 steps"],
    "A23": ["12 of 12"],
}

REASONS = {
    "A8": ["11 comes only by cropping"],
    "A12": ["15,237,608", "96.0 MB or 91.6 MiB"],
    "A13": ["72 MB would be 9.00M values"],
    "A14": ["GoogLeNet's 4M is low", "7.00M", "Nor is most of VGG's compute", "30% of the MACs"],
    "A19": ["weights the NEW statistic", "its 0.9 is 0.1 here"],
}


@pytest.fixture(scope="module")
def table():
    return arithmetic_table().set_index("id")


def test_every_claim_once_and_in_order():
    assert [claim.id for claim in ARITHMETIC_CLAIMS] == IDS


def test_columns(table):
    columns = ["claim", "source", "the note says", "ours", "outcome", "why"]
    assert list(table.columns) == columns
    assert (table[columns[:-1]] != "").all(axis=None)
    assert table["source"].str.match(r"N[0-3]").all()


def test_outcomes(table):
    assert table["outcome"].to_dict() == {id: "slip" if id in SLIPS else "agrees" for id in IDS}


def test_a_reason_where_the_note_slips_and_nowhere_else(table):
    assert set(table.index[table["why"] != ""]) == SLIPS == set(REASONS)
    for id, parts in REASONS.items():
        assert all(part in table.loc[id, "why"] for part in parts), table.loc[id, "why"]


@pytest.mark.parametrize("id", FIGURES)
def test_figures(table, id):
    assert all(part in table.loc[id, "ours"] for part in FIGURES[id]), table.loc[id, "ours"]


def test_a_table_of_some():
    table = arithmetic_table([CLAIMS["A8"], CLAIMS["A3"]])
    assert list(table["id"]) == ["A8", "A3"]


def test_nothing_is_broadcast():
    with pytest.raises(ValueError, match="shapes differ"):
        largest_difference(jnp.zeros((2, 1)), jnp.zeros((2, 3)))


# Each fault wraps the function it stands in for.


def _flipped(conv2d, x, kernel, bias=None, **options):
    return conv2d(x, kernel[::-1, ::-1], bias, **options)


def _first_row_dropped(conv2d, x, kernel, bias=None, **options):
    return conv2d(x, kernel.at[0].set(0), bias, **options)


def _brighter_to_the_right(conv2d, *args, **options):
    y = conv2d(*args, **options)
    return y + jnp.arange(y.shape[2])[:, None]


def _bias_forgotten(layer, x, weights, bias=None, **options):
    return layer(x, weights, **options)


def _always(name, value):
    return lambda wrapped, *args, **options: wrapped(*args, **(options | {name: value}))


def _one_weight_more(summarize, model, shape):
    table = summarize(model, shape)
    rows = (dataclasses.replace(row, weights=row.weights + 1) for row in table.rows)
    return dataclasses.replace(table, rows=tuple(rows))


def _input_twice(summarize, *args):
    table = summarize(*args)
    return dataclasses.replace(table, rows=(table.rows[0], *table.rows))


def _macs_as_memory(summarize, *args):
    table = summarize(*args)
    rows = (dataclasses.replace(row, macs=row.activations) for row in table.rows)
    return dataclasses.replace(table, rows=tuple(rows))


def _last_layer_twice(summarize, *args):
    table = summarize(*args)
    return dataclasses.replace(table, rows=(*table.rows, table.rows[-1]))


def _unbiased_variance(batch_norm, x, *args, **options):
    y, mean, var = batch_norm(x, *args, **options)
    return y, mean, var * len(x) / (len(x) - 1) if options["train"] else var


FAULTS = [
    ("A1", cnnlab, "summarize", _one_weight_more),
    ("A2", cnnlab, "summarize", _one_weight_more),
    ("A3", sizes, "output_size", _always("fit", "crop")),
    ("A4", sizes, "output_size", _always("fit", "pad")),
    ("A5", sizes, "same_padding", lambda same, f: same(f) + 1),
    ("A6", ops, "conv2d", _flipped),
    ("A6", ops, "conv2d", _bias_forgotten),
    ("A7", cnnlab, "summarize", _one_weight_more),
    ("A8", sizes, "output_size", _always("fit", "crop")),
    ("A9", ops, "max_pool", _always("stride", 1)),
    ("A9", sizes, "fit_padding", lambda pad, *args, **options: pad(*args, **options)[::-1]),
    ("A10", ops, "conv2d", _first_row_dropped),
    ("A10", cnnlab, "summarize", _one_weight_more),
    ("A11", networks, "summary", _last_layer_twice),
    ("A11", networks, "summary", lambda summary, _: summary("alexnet")),
    ("A12", networks, "summary", _input_twice),
    ("A13", cnnlab, "summarize", _last_layer_twice),
    ("A14", networks, "summary", lambda summary, _: summary("alexnet")),
    ("A14", networks, "summary", _macs_as_memory),
    ("A15", ops, "dense", _bias_forgotten),
    ("A16", ops, "conv2d", _brighter_to_the_right),
    ("A17", ops, "conv2d", _flipped),
    ("A18", cnnlab, "summarize", _one_weight_more),
    ("A18", ops, "channel_pool", _always("reduce", "avg")),
    ("A19", ops, "momentum_from_note", lambda convert, momentum: momentum),
    ("A19", ops, "batch_norm", _unbiased_variance),
    ("A20", models, "pattern", _always("pool", True)),
    ("A20", ops, "dense", _bias_forgotten),
    ("A21", networks, "summary", lambda summary, name: summary(name.replace("plain20", "plain32"))),
    ("A22", ops, "conv2d", _flipped),
    ("A23", cnnlab, "summarize", _one_weight_more),
]


@pytest.mark.parametrize(("id", "module", "name", "fault"), FAULTS)
def test_a_fault_disagrees(id, module, name, fault, monkeypatch):
    monkeypatch.setattr(module, name, functools.partial(fault, getattr(module, name)))
    finding = CLAIMS[id].check()
    assert (finding.outcome, finding.why) == ("disagrees", "")


def test_every_check_has_been_seen_to_fail():
    assert {id for id, *_ in FAULTS} == set(IDS)
