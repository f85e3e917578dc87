"""VGG against table 1 of its paper, the notes' own table, and torchvision's counts."""

import functools

import pytest

import cnnlab
from cnnlab import models
from cnnlab.geometry import ReceptiveField

# Filter size and filters of every convolution, "|" a pooling: the columns of table 1, written out.
COLUMNS = {
    "vgg11": "3-64 | 3-128 | 3-256 3-256 | 3-512 3-512 | 3-512 3-512 |",
    "vgg13": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 | 3-512 3-512 | 3-512 3-512 |",
    "vgg16_1x1": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 1-256 | 3-512 3-512 1-512"
    " | 3-512 3-512 1-512 |",
    "vgg16": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 3-256 | 3-512 3-512 3-512"
    " | 3-512 3-512 3-512 |",
    "vgg19": "3-64 3-64 | 3-128 3-128 | 3-256 3-256 3-256 3-256 | 3-512 3-512 3-512 3-512"
    " | 3-512 3-512 3-512 3-512 |",
}
# torchvision's, which keep a bias in every convolution; the 1x1 nets have no count there.
TORCHVISION_BN = {
    "vgg11": 132_868_840,
    "vgg13": 133_053_736,
    "vgg16": 138_365_992,
    "vgg19": 143_678_248,
}
FC_PARAMS = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
FC_MACS = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000


@functools.cache
def summary(name, shape=(224, 224, 3), **options):
    return cnnlab.summarize(models.create(name, **options), shape)


def notations(*args, **options):
    return [row.notation for row in summary(*args, **options).rows]


def closed_form(name):
    """Parameters and MACs of the stages, and the filters in all."""
    size, channels, params, macs, total = 224, 3, 0, 0, 0
    for word in COLUMNS[name].split():
        if word == "|":
            size //= 2
            continue
        kernel, filters = map(int, word.split("-"))
        weights = kernel**2 * channels * filters
        params += weights + filters
        macs += weights * size**2
        total += filters
        channels = filters
    return params, macs, total


@pytest.mark.parametrize(
    ("name", "params", "macs", "field"),
    [
        ("vgg11", 132_863_336, 7.609, 150),
        ("vgg13", 133_047_848, 11.308, 156),
        ("vgg16_1x1", 133_638_952, 11.771, 156),
        ("vgg16", 138_357_544, 15.470, 212),
        ("vgg19", 143_667_240, 19.632, 268),
    ],
)
def test_figures(name, params, macs, field):
    stages_params, stages_macs, _ = closed_form(name)
    table = summary(name)
    assert table.params == params == stages_params + FC_PARAMS
    assert round(table.macs / 1e9, 3) == macs
    assert table.macs == stages_macs + FC_MACS
    assert table.receptive_field == ReceptiveField(field, 32)


@pytest.mark.parametrize("name", COLUMNS)
def test_order_of_layers(name):
    head = "FC-4096 RELU DROP0.5 " * 2 + "FC-1000"
    for suffix, after in (("", "RELU"), ("_bn", "BN RELU")):
        stages = " ".join(
            "POOL2" if word == "|" else f"CONV{word} {after}" for word in COLUMNS[name].split()
        )
        assert " ".join(notations(name + suffix)) == f"INPUT {stages} {head}"


@pytest.mark.parametrize("name", COLUMNS)
def test_batch_norm_takes_the_place_of_the_biases(name):
    """A scale and an offset for each filter more, its bias less; torchvision leaves the bias in."""
    filters = closed_form(name)[2]
    assert summary(f"{name}_bn").params == summary(name).params + filters
    if name in TORCHVISION_BN:
        assert summary(f"{name}_bn").params == TORCHVISION_BN[name] - filters
    assert summary(f"{name}_bn").macs == summary(name).macs


def test_the_notes_table():
    """N0, "VGGNet in detail": volumes, weights without biases, row by row."""
    rows = [row for row in summary("vgg16").rows if row.notation[:4] not in ("RELU", "DROP")]
    assert [(row.shape, row.weights) for row in rows] == [
        ((224, 224, 3), 0),
        ((224, 224, 64), 1_728),
        ((224, 224, 64), 36_864),
        ((112, 112, 64), 0),
        ((112, 112, 128), 73_728),
        ((112, 112, 128), 147_456),
        ((56, 56, 128), 0),
        ((56, 56, 256), 294_912),
        ((56, 56, 256), 589_824),
        ((56, 56, 256), 589_824),
        ((28, 28, 256), 0),
        ((28, 28, 512), 1_179_648),
        ((28, 28, 512), 2_359_296),
        ((28, 28, 512), 2_359_296),
        ((14, 14, 512), 0),
        ((14, 14, 512), 2_359_296),
        ((14, 14, 512), 2_359_296),
        ((14, 14, 512), 2_359_296),
        ((7, 7, 512), 0),
        ((4096,), 102_760_448),
        ((4096,), 16_777_216),
        ((1000,), 4_096_000),
    ]


def test_the_head_of_global_average_pooling():
    table = summary("vgg16", head="gap", classes=10)
    assert notations("vgg16", head="gap", classes=10)[-3:] == ["POOL2", "GAP", "FC-10"]
    assert table.params == closed_form("vgg16")[0] + 512 * 10 + 10
    assert summary("vgg16", (96, 64, 3), head="gap", classes=10).params == table.params


@pytest.mark.parametrize("name", ["vgg11", "vgg19_bn"])
def test_unknown_head(name):
    with pytest.raises(ValueError, match=r"unknown head: 'gpa'; choices: fc, gap; .*mean 'gap'\?"):
        models.create(name, head="gpa")


def test_cifar():
    """kuangliu/pytorch-cifar counts 14,728,266, with biases before the batch norms."""
    table = summary("vgg_cifar", (32, 32, 3))
    assert table.params == 14_728_266 - closed_form("vgg16")[2]
    assert [row.notation for row in table.rows[:-1]] == notations("vgg16_bn")[:-7]
    assert [(row.notation, row.shape) for row in table.rows[-2:]] == [
        ("POOL2", (1, 1, 512)),
        ("FC-10", (10,)),
    ]
    assert models.network("vgg_cifar").input_shape == (32, 32, 3)
    assert models.network("vgg16").input_shape == (224, 224, 3)
