"""AlexNet against its papers' sizes and the known counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models, nn
from cnnlab.geometry import DoesNotFit, ReceptiveField


@functools.cache
def rows(name):
    table = cnnlab.summarize(models.create(name), models.network(name).input_shape)
    return [(row.notation, row.shape, row.weights + row.biases) for row in table.rows]


@functools.cache
def summary(name):
    return cnnlab.summarize(models.create(name), models.network(name).input_shape)


def test_one_tower_row_by_row():
    """61,100,840 parameters in torchvision."""
    assert [row for row in rows("alexnet") if row[0] != "RELU"] == [
        ("INPUT", (224, 224, 3), 0),
        ("CONV11-64/4p2", (55, 55, 64), 11 * 11 * 3 * 64 + 64),
        ("POOL3/2", (27, 27, 64), 0),
        ("CONV5-192", (27, 27, 192), 5 * 5 * 64 * 192 + 192),
        ("POOL3/2", (13, 13, 192), 0),
        ("CONV3-384", (13, 13, 384), 3 * 3 * 192 * 384 + 384),
        ("CONV3-256", (13, 13, 256), 3 * 3 * 384 * 256 + 256),
        ("CONV3-256", (13, 13, 256), 3 * 3 * 256 * 256 + 256),
        ("POOL3/2", (6, 6, 256), 0),
        ("DROP0.5", (6, 6, 256), 0),
        ("FC-4096", (4096,), 9216 * 4096 + 4096),
        ("DROP0.5", (4096,), 0),
        ("FC-4096", (4096,), 4096 * 4096 + 4096),
        ("FC-1000", (1000,), 4096 * 1000 + 1000),
    ]
    assert summary("alexnet").params == 61_100_840


def test_two_groups_row_by_row():
    """The 2012 paper, sec. 3.5: 5x5x48, 3x3x192 kernels where a filter sees one GPU's maps."""
    assert [row for row in rows("alexnet_two_groups") if row[0] != "RELU"] == [
        ("INPUT", (227, 227, 3), 0),
        ("CONV11-96/4p0", (55, 55, 96), 11 * 11 * 3 * 96 + 96),
        ("LRN", (55, 55, 96), 0),
        ("POOL3/2", (27, 27, 96), 0),
        ("CONV5-256g2", (27, 27, 256), 5 * 5 * 48 * 256 + 256),
        ("LRN", (27, 27, 256), 0),
        ("POOL3/2", (13, 13, 256), 0),
        ("CONV3-384", (13, 13, 384), 3 * 3 * 256 * 384 + 384),
        ("CONV3-384g2", (13, 13, 384), 3 * 3 * 192 * 384 + 384),
        ("CONV3-256g2", (13, 13, 256), 3 * 3 * 192 * 256 + 256),
        ("POOL3/2", (6, 6, 256), 0),
        ("FC-4096", (4096,), 9216 * 4096 + 4096),
        ("DROP0.5", (4096,), 0),
        ("FC-4096", (4096,), 4096 * 4096 + 4096),
        ("DROP0.5", (4096,), 0),
        ("FC-1000", (1000,), 4096 * 1000 + 1000),
    ]
    assert summary("alexnet_two_groups").params == 60_965_224


@pytest.mark.parametrize("name", ["alexnet", "alexnet_two_groups"])
def test_a_relu_right_after_every_weight_but_the_last(name):
    kinds = [row[0] for row in rows(name)]
    weighted = [i for i, kind in enumerate(kinds) if kind.startswith(("CONV", "FC"))]
    assert {kinds[i + 1] for i in weighted[:-1]} == {"RELU"}
    assert kinds.count("RELU") == 7


@pytest.mark.parametrize(
    ("name", "macs"), [("alexnet", 714_188_480), ("alexnet_two_groups", 724_406_816)]
)
def test_macs_and_receptive_field(name, macs):
    """195 is also in google-research/receptive_field's table, for alexnet_v2."""
    assert summary(name).macs == macs
    assert summary(name).receptive_field == ReceptiveField(195, 32)


def test_the_2012_paper_s_own_input_does_not_fit():
    with pytest.raises(DoesNotFit, match=r"\(224-11\+2\*0\)/4\+1 = 54.25"):
        cnnlab.summarize(models.create("alexnet_two_groups"), (224, 224, 3))


def test_response_normalisation_is_the_paper_s():
    """b = a / (2 + 1e-4 * sum of 5 neighbours' squares)^0.75 (sec. 3.3), not alpha / 5 as Caffe."""
    norms = [
        layer
        for layer in models.create("alexnet_two_groups").layers
        if isinstance(layer, nn.LocalResponseNorm)
    ]
    assert len(norms) == 2
    a = np.random.default_rng(0).normal(scale=100, size=8)
    for norm in norms:
        b = jax.jit(norm.apply)({}, jnp.asarray(a, jnp.float32)[None, None, None])
        for i in range(8):
            energy = sum(a[j] ** 2 for j in range(max(0, i - 2), min(8, i + 3)))
            np.testing.assert_allclose(b[0, 0, 0, i], a[i] / (2 + 1e-4 * energy) ** 0.75, rtol=1e-5)
