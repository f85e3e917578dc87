"""The twelve nets of the All-CNN paper, against tables 1 and 2 and counts computed from them."""

import functools

import pytest

import cnnlab
from cnnlab import models
from cnnlab.geometry import ReceptiveField

TWELVE = [(base, kind) for base in "abc" for kind in ("base", "strided", "convpool", "all")]
TOP = "CONV3-192 RELU CONV1-192 RELU CONV1-10 RELU GAP"


@functools.cache
def summary(base, kind):
    name = f"allcnn_{base}_{kind}"
    return cnnlab.summarize(models.create(name), models.network(name).input_shape)


def notations(base, kind):
    return " ".join(row.notation for row in summary(base, kind).rows)


@pytest.mark.parametrize(
    ("base", "kind", "params", "macs", "field"),
    [
        ("a", "base", 839_242, 149_053_440, 27),
        ("a", "strided", 839_242, 55_050_240, 21),
        ("a", "convpool", 1_254_250, 318_922_752, 33),
        ("a", "all", 1_254_250, 191_520_768, 27),
        ("b", "base", 885_610, 167_927_808, 27),
        ("b", "strided", 885_610, 153_772_032, 21),
        ("b", "convpool", 1_300_618, 337_797_120, 33),
        ("b", "all", 1_300_618, 210_395_136, 27),
        ("c", "base", 954_730, 238_706_688, 27),
        ("c", "strided", 954_730, 111_304_704, 21),
        ("c", "convpool", 1_369_738, 408_576_000, 33),
        ("c", "all", 1_369_738, 281_174_016, 27),
    ],
)
def test_figures(base, kind, params, macs, field):
    table = summary(base, kind)
    assert (table.params, table.macs) == (params, macs)
    assert table.receptive_field == ReceptiveField(field, 4)


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        ("base", "CONV3-{0} RELU CONV3-{0} RELU POOL3/2p1"),
        ("strided", "CONV3-{0} RELU CONV3-{0}/2 RELU"),
        ("convpool", "CONV3-{0} RELU CONV3-{0} RELU CONV3-{0} RELU POOL3/2p1"),
        ("all", "CONV3-{0} RELU CONV3-{0} RELU CONV3-{0}/2 RELU"),
    ],
)
def test_table_2(kind, stage):
    stages = f"{stage} DROP0.5".format(96), f"{stage} DROP0.5".format(192)
    assert notations("c", kind) == f"INPUT DROP0.2 {stages[0]} {stages[1]} {TOP}"


@pytest.mark.parametrize(
    ("base", "kind", "stage"),
    [
        ("a", "base", "CONV5-{0} RELU POOL3/2p1"),
        ("a", "strided", "CONV5-{0}/2 RELU"),
        ("a", "all", "CONV5-{0} RELU CONV3-{0}/2 RELU"),
        ("b", "base", "CONV5-{0} RELU CONV1-{0} RELU POOL3/2p1"),
        ("b", "strided", "CONV5-{0} RELU CONV1-{0}/2 RELU"),
        ("b", "convpool", "CONV5-{0} RELU CONV1-{0} RELU CONV3-{0} RELU POOL3/2p1"),
    ],
)
def test_a_and_b_are_derived_alike(base, kind, stage):
    stages = f"{stage} DROP0.5".format(96), f"{stage} DROP0.5".format(192)
    assert notations(base, kind) == f"INPUT DROP0.2 {stages[0]} {stages[1]} {TOP}"


@pytest.mark.parametrize(("base", "kind"), TWELVE)
def test_each_stage_halves_the_image(base, kind):
    """32, then 16, then 8 up to the class maps: the paper's 6x6 is not what 32 gives."""
    sizes = list(dict.fromkeys(row.shape for row in summary(base, kind).rows))
    assert sizes == [
        (32, 32, 3),
        *([(32, 32, 96)] if (base, kind) != ("a", "strided") else []),
        (16, 16, 96),
        *([(16, 16, 192)] if (base, kind) != ("a", "strided") else []),
        (8, 8, 192),
        (8, 8, 10),
        (10,),
    ]


def test_classes():
    assert models.create("allcnn_c_all", classes=100).layers[-3].notation == "CONV1-100"
