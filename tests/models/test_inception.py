"""Inception-v4 and Inception-ResNet-v2 against their figures and independent counts.

Parameters, of the whole and of each module, and MACs were counted in timm 1.0.31; receptive fields
are those of Araujo et al. 2019, "Computing receptive fields of convolutional neural networks".
"""

import functools
from collections import defaultdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import cnnlab
from cnnlab import models, nn, ops
from cnnlab.geometry import ReceptiveField
from cnnlab.models.inception import AVG, MAX, Branches, Chain, ScaledResidual

CONV = partial(nn.ConvNormReLU, conv=nn.Conv, norm=None)


@functools.cache
def summary(name):
    return cnnlab.summarize(models.create(name), (299, 299, 3))


def random(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module, x):
    leaves, tree = jax.tree.flatten(jax.eval_shape(module.init, jax.random.key(0), x))
    return jax.tree.unflatten(tree, [random(leaf.shape, i) for i, leaf in enumerate(leaves)])


def branches_of(rows, module):
    """Each branch's convolutions and pools, branch by branch."""
    branches = defaultdict(list)
    for row in rows:
        if row.path.startswith(f"{module}/branch") and row.notation[:2] not in ("BN", "RE"):
            branch = row.path.removeprefix(f"{module}/").split("/")[0]
            branches[branch].append(row.notation)
    return [" ".join(branch) for branch in branches.values()]


@pytest.mark.parametrize(
    ("name", "params", "macs", "field"),
    [
        ("inception_v4", 42_679_816, 12_253_974_624, 2071),
        ("inception_resnet_v2", 55_843_464, 13_155_794_016, 3039),
    ],
)
def test_totals(name, params, macs, field):
    found = summary(name)
    assert (found.params, found.macs) == (params, macs)
    assert found.receptive_field == ReceptiveField(field, 32)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (
            "inception_v4",
            {"stem": 928 + 9_280 + 18_560 + 55_488 + 189_312 + 332_160}
            | {f"inception_a{i}": 317_632 for i in range(1, 5)}
            | {"reduction_a": 2_306_112}
            | {f"inception_b{i}": 2_936_256 for i in range(1, 8)}
            | {"reduction_b": 2_747_392}
            | {f"inception_c{i}": 4_553_088 for i in range(1, 4)}
            | {"fc": 1_537_000},
        ),
        (
            "inception_resnet_v2",
            {"stem": 928 + 9_280 + 18_560 + 5_280 + 138_624, "mixed": 268_320}
            | {f"inception_resnet_a{i}": 123_168 for i in range(1, 11)}
            | {"reduction_a": 2_664_960}
            | {f"inception_resnet_b{i}": 1_126_784 for i in range(1, 21)}
            | {"reduction_b": 3_880_960}
            | {f"inception_resnet_c{i}": 2_035_424 for i in range(1, 11)}
            | {"head": 3_197_952, "fc": 1_537_000},
        ),
    ],
)
def test_parameters_of_each_module(name, counts):
    found = defaultdict(int)
    for row in summary(name).rows:
        found[row.path.split("/")[0]] += row.weights + row.biases
    assert {module: count for module, count in found.items() if count} == counts
    assert list(found)[1:] == [*list(counts)[:-1], "gap", "drop", "fc"]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        (
            "inception_v4",
            {"stem": (35, 35, 384), "inception_a": (35, 35, 384), "reduction_a": (17, 17, 1024)}
            | {"inception_b": (17, 17, 1024), "reduction_b": (8, 8, 1536)}
            | {"inception_c": (8, 8, 1536), "gap": (1536,), "drop": (1536,), "fc": (1000,)},
        ),
        (
            "inception_resnet_v2",
            {"stem": (35, 35, 192), "mixed": (35, 35, 320), "inception_resnet_a": (35, 35, 320)}
            | {"reduction_a": (17, 17, 1088), "inception_resnet_b": (17, 17, 1088)}
            | {"reduction_b": (8, 8, 2080), "inception_resnet_c": (8, 8, 2080)}
            | {"head": (8, 8, 1536), "gap": (1536,), "drop": (1536,), "fc": (1000,)},
        ),
    ],
)
def test_output_of_each_module(name, shapes):
    ends = defaultdict(list)
    for row in summary(name).rows[1:]:
        ends[row.path.split("/")[0]].append(row.shape)
    assert {module.rstrip("0123456789"): found[-1] for module, found in ends.items()} == shapes


def test_stem_of_figure_3():
    rows = summary("inception_v4").rows
    shapes = {row.path: row.shape for row in rows}
    assert [shapes[f"stem/conv{i}/conv"] for i in (1, 2, 3)] == [
        (149, 149, 32),
        (147, 147, 32),
        (147, 147, 64),
    ]
    assert [shapes[f"stem/mixed{i}/concat"] for i in (1, 2, 3)] == [
        (73, 73, 160),
        (71, 71, 192),
        (35, 35, 384),
    ]
    assert [row.notation for row in rows if row.path.startswith("stem/mixed2/branch2/")][::3] == [
        "CONV1-64",
        "CONV1x7-64",
        "CONV7x1-64",
        "CONV3-96p0",
    ]


@pytest.mark.parametrize(
    ("name", "module", "branches"),
    [
        (
            "inception_v4",
            "inception_a4",
            [
                "CONV1-96",
                "CONV1-64 CONV3-96",
                "CONV1-64 CONV3-96 CONV3-96",
                "AVGPOOL3/1p1 CONV1-96",
            ],
        ),
        (
            "inception_v4",
            "reduction_a",
            ["CONV3-384/2p0", "CONV1-192 CONV3-224 CONV3-256/2p0", "POOL3/2"],
        ),
        (
            "inception_v4",
            "inception_b7",
            [
                "CONV1-384",
                "CONV1-192 CONV1x7-224 CONV7x1-256",
                "CONV1-192 CONV7x1-192 CONV1x7-224 CONV7x1-224 CONV1x7-256",
                "AVGPOOL3/1p1 CONV1-128",
            ],
        ),
        (
            "inception_v4",
            "reduction_b",
            [
                "CONV1-192 CONV3-192/2p0",
                "CONV1-256 CONV1x7-256 CONV7x1-320 CONV3-320/2p0",
                "POOL3/2",
            ],
        ),
        (
            "inception_v4",
            "inception_c3",
            [
                "CONV1-256",
                "CONV1-384 CONV1x3-256 CONV3x1-256 CONCAT",
                "CONV1-384 CONV3x1-448 CONV1x3-512 CONV1x3-256 CONV3x1-256 CONCAT",
                "AVGPOOL3/1p1 CONV1-256",
            ],
        ),
        (
            "inception_resnet_v2",
            "inception_resnet_a10/mixed",
            ["CONV1-32", "CONV1-32 CONV3-32", "CONV1-32 CONV3-48 CONV3-64"],
        ),
        (
            "inception_resnet_v2",
            "inception_resnet_b20/mixed",
            ["CONV1-192", "CONV1-128 CONV1x7-160 CONV7x1-192"],
        ),
        (
            "inception_resnet_v2",
            "inception_resnet_c10/mixed",
            ["CONV1-192", "CONV1-192 CONV1x3-224 CONV3x1-256"],
        ),
        (
            "inception_resnet_v2",
            "reduction_b",
            [
                "CONV1-256 CONV3-384/2p0",
                "CONV1-256 CONV3-288/2p0",
                "CONV1-256 CONV3-288 CONV3-320/2p0",
                "POOL3/2",
            ],
        ),
    ],
)
def test_branches_of_the_figures(name, module, branches):
    """In the order of the code, to which published weights are tied."""
    assert branches_of(summary(name).rows, module) == branches


def test_every_convolution_is_normalised_but_the_linear_ones():
    rows = summary("inception_resnet_v2").rows
    notation = {row.path: row.notation for row in rows}
    biased = {row.path for row in rows if row.notation.startswith("CONV") and row.biases}
    linear = {path for path in notation if path.endswith("/linear")}
    assert biased == linear
    assert len(linear) == 40
    plain = {row.path for row in rows if row.notation.startswith("CONV")} - linear
    assert {path.removesuffix("/bn") for path, kind in notation.items() if kind == "BN"} == {
        path.removesuffix("/conv") for path in plain
    }
    assert notation["drop"] == "DROP0.2"


def test_scales_and_the_last_block_without_relu():
    """0.17, 0.10, 0.20 as in the code whose weights are published; the last adds in full."""
    stages = {stage.name: stage for stage in models.create("inception_resnet_v2").stages}
    assert {name: stage.scale for name, stage in stages.items() if stage.scale} == {
        "inception_resnet_a": 0.17,
        "inception_resnet_b": 0.10,
        "inception_resnet_c": 0.20,
        "inception_resnet_c10": 1.0,
    }
    paths = [row.path for row in summary("inception_resnet_v2").rows]
    relus = {path.split("/")[0] for path in paths if path.count("/") == 1 and "/relu" in path}
    adds = {path.split("/")[0] for path in paths if path.endswith("/add")}
    assert adds - relus == {"inception_resnet_c10"}


def test_the_norms_epsilon_and_momentum():
    """TF-Slim's."""
    found = set()

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            found.add((context.module.epsilon, context.module.momentum))
        return call(*args, **kwargs)

    with linen.intercept_methods(record):
        image = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
        jax.eval_shape(models.create("inception_v4").init, jax.random.key(0), image)
    assert found == {(0.001, 0.9997)}


@pytest.mark.parametrize("relu", [False, True])
def test_a_residual_written_out(relu):
    """x + scale F(x), F the concatenated branches behind a linear 1x1 with a bias."""
    branches = (((2, 1),), ((3, 1), (4, (1, 3))))
    module, x = ScaledResidual(branches, 0.3, relu, CONV, nn.Conv), random((2, 4, 5, 6), 9)
    variables = drawn(module, x)
    mixed, linear = variables["params"]["mixed"], variables["params"]["linear"]

    def unit(y, layer, padding):
        y = ops.conv2d(y, layer["conv"]["kernel"], layer["conv"]["bias"], padding=padding)
        return jnp.maximum(y, 0)

    one = unit(x, mixed["branch1"]["conv1"], 0)
    two = unit(unit(x, mixed["branch2"]["conv1"], 0), mixed["branch2"]["conv2"], (0, 1))
    residual = np.concatenate([one, two], -1) @ linear["kernel"][0, 0] + linear["bias"]
    expected = x + 0.3 * residual
    assert (expected < 0).any()
    y = jax.jit(module.apply)(variables, x)
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, 1e-4, 1e-4)


def test_pools_in_branches():
    """An average is over the pixels of the image, so that ones stay ones up to the border."""
    x = jnp.ones((1, 7, 7, 2))
    y = Branches(((AVG,),), CONV).apply({}, x)
    np.testing.assert_allclose(y, x, rtol=1e-6)
    x = random((1, 7, 7, 2), 4)
    y = Branches(((MAX,), (AVG, MAX)), CONV).apply({}, x)
    assert y.shape == (1, 3, 3, 4)
    np.testing.assert_array_equal(y[0, 2, 1, :2], np.max(x[0, 4:7, 2:5], axis=(0, 1)))


def test_a_chain_names_its_steps_by_kind_and_count():
    steps = (MAX, (2, 1), (3, 3, 2, 0), MAX, (((1, 1),), ((1, 1), (2, 1))), (4, 1))
    x = jax.ShapeDtypeStruct((1, 19, 19, 1), jnp.float32)
    params = jax.eval_shape(Chain(steps, CONV).init, jax.random.key(0), x)["params"]
    assert set(params) == {"conv1", "conv2", "mixed1", "conv3"}
    assert params["conv3"]["conv"]["kernel"].shape == (1, 1, 1 + 2, 4)
    assert set(params["mixed1"]["branch2"]) == {"conv1", "conv2"}


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_the_smallest_image(name):
    """75 pixels leave one neuron at the top; below, the last valid convolution has no place."""
    init = models.create(name, classes=3).init
    image = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    assert jax.eval_shape(init, jax.random.key(0), image)["params"]
    with pytest.raises(cnnlab.geometry.DoesNotFit):
        jax.eval_shape(init, jax.random.key(0), image.update(shape=(1, 74, 75, 3)))
