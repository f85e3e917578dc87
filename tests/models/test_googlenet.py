"""GoogLeNet against table 1 of its paper, torchvision's counts, and layers written out."""

import functools
from collections import defaultdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import geometry, models, nn, ops
from cnnlab.models.googlenet import AuxiliaryHead, Inception

IMAGE = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
NAMES = ("googlenet", "googlenet_bn")
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


@functools.cache
def rows_of(name):
    return cnnlab.summarize(models.create(name), (224, 224, 3)).rows


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def init_shapes(name, **options):
    return jax.eval_shape(models.create(name, **options).init, jax.random.key(0), IMAGE)


def apply_in_training(model, variables, x):
    rngs, mutable = {"dropout": jax.random.key(1)}, ["batch_stats", "aux_logits"]
    return model.apply(variables, x, train=True, mutable=mutable, rngs=rngs)


def random(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("name", "alone", "heads"),
    [
        ("googlenet", 6_998_552, (3_188_840, 3_190_888)),
        ("googlenet_bn", 6_624_904, (3_188_968, 3_191_016)),
    ],
)
def test_parameters(name, alone, heads):
    """Caffe's and torchvision's; a head is 1x1 to 128, 2048 to 1024, 1024 to the classes."""
    assert size(init_shapes(name)["params"]) == alone
    params = init_shapes(name, aux=0.3)["params"]
    assert (size(params["aux1"]), size(params["aux2"])) == heads
    assert size(params) == alone + sum(heads)
    offsets = 128 if name == "googlenet" else 2 * 128
    assert heads[0] == 512 * 128 + offsets + 2048 * 1024 + 1024 + 1024 * 1000 + 1000
    assert size(init_shapes(name, classes=10)["params"]) == alone - 990 * 1025


def test_parameters_of_torchvision_with_heads():
    assert size(init_shapes("googlenet_bn", aux=0.3)["params"]) == 13_004_888


@pytest.mark.parametrize("name", NAMES)
def test_output_sizes_of_table_1(name):
    shapes = {row.path: row.shape for row in rows_of(name)}
    assert [shapes[f"inception_{module}/concat"] for module in MODULES] == [
        (28, 28, 256),
        (28, 28, 480),
        (14, 14, 512),
        (14, 14, 512),
        (14, 14, 512),
        (14, 14, 528),
        (14, 14, 832),
        (7, 7, 832),
        (7, 7, 1024),
    ]
    assert {path: shapes[path] for path in ("conv1/conv", "pool1", "conv3/conv", "pool2")} == {
        "conv1/conv": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv3/conv": (56, 56, 192),
        "pool2": (28, 28, 192),
    }
    assert shapes["pool3"] == (14, 14, 480)
    assert shapes["pool4"] == (7, 7, 832)
    assert (shapes["gap"], shapes["fc"]) == ((1024,), (1000,))


def test_weights_and_operations_of_table_1():
    """Where the paper's columns are arithmetic: weights / 1024, and MACs as "ops"."""
    weights, macs = defaultdict(int), defaultdict(int)
    for row in rows_of("googlenet"):
        part = row.path.split("/")[0]
        part = "conv2" if part == "conv3" else part.removeprefix("inception_")
        weights[part] += row.weights
        macs[part] += row.macs
    for part, kilo in {"conv2": 112, "3a": 159, "3b": 380, "fc": 1000}.items():
        assert weights[part] / 1024 == pytest.approx(kilo, abs=1.01), part
    printed = {"conv2": 360, "3a": 128, "3b": 304, "4a": 73, "4b": 88}
    printed |= {"4c": 100, "4d": 119, "4e": 170, "5b": 71, "fc": 1}
    for part, million in printed.items():
        assert macs[part] / 1e6 == pytest.approx(million, abs=0.7), part
    assert (macs["conv1"], macs["5a"]) == (112**2 * 49 * 3 * 64, 49 * 1_042_432)


def test_steps_before_the_modules():
    def steps(name):
        paths = [(row.path.split("/")[0], row.notation) for row in rows_of(name)[1:]]
        return [notation for part, notation in paths if not part.startswith("inception")][:-5]

    assert " ".join(steps("googlenet")) == (
        "CONV7-64/2 RELU POOL3/2 LRN CONV1-64 RELU CONV3-192 RELU LRN POOL3/2"
    )
    assert " ".join(steps("googlenet_bn")) == (
        "CONV7-64/2 BN RELU POOL3/2 CONV1-64 BN RELU CONV3-192 BN RELU POOL3/2"
    )


@pytest.mark.parametrize(
    ("name", "tail", "large"),
    [
        ("googlenet", "POOL3/2 POOL3/2 GAP DROP0.4 FC-1000", 5),
        ("googlenet_bn", "POOL3/2 POOL2 GAP DROP0.2 FC-1000", 3),
    ],
)
def test_what_differs_behind(name, tail, large):
    rows = rows_of(name)
    assert [r.notation for r in rows if r.path in ("pool3", "pool4", "gap", "drop", "fc")] == (
        tail.split()
    )
    notation = {row.path: row.notation for row in rows}
    assert notation["inception_4b/conv5x5/conv"] == f"CONV{large}-64"
    assert notation["inception_4b/conv3x3/conv"] == "CONV3-224"
    normalised = {row.path.rsplit("/", 1)[0] for row in rows if row.notation == "BN"}
    convs = {row.path.rsplit("/", 1)[0] for row in rows if row.notation.startswith("CONV")}
    assert len(convs) == 3 + 9 * 6
    assert normalised == (convs if name == "googlenet_bn" else set())
    assert {row.biases > 0 for row in rows if row.notation.startswith("CONV")} == (
        {name == "googlenet"}
    )


@pytest.mark.parametrize(
    ("name", "large", "last_pool"), [("googlenet", 5, 3), ("googlenet_bn", 3, 2)]
)
def test_receptive_fields(name, large, last_pool):
    """Along the way that sees most: the pools and every module's largest filter."""
    steps = [(7, 2), (3, 2), (3, 1), (3, 2), *[(large, 1)] * 2, (3, 2), *[(large, 1)] * 5]
    steps += [(last_pool, 2), *[(large, 1)] * 2]
    fields = {row.path: row.field for row in rows_of(name)}
    assert fields["inception_5b/concat"] == geometry.receptive_field(steps)
    assert fields["inception_3a/concat"].size == 27 + 8 * (large - 1)
    assert fields["inception_5b/concat"].size == {"googlenet": 715, "googlenet_bn": 379}[name]


def test_module_written_out():
    """The four branches in the paper's order; the pool never takes its padding for a value."""
    filters = (2, 3, 4, 5, 6, 7)
    conv = partial(nn.ConvNormReLU, conv=nn.Conv, norm=None)
    module, x = Inception(filters, 5, conv), -jnp.abs(random((1, 4, 5, 3), 0)) - 1
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(shapes)
    variables = jax.tree.unflatten(tree, [random(leaf.shape, i) for i, leaf in enumerate(leaves)])

    def unit(name, y, padding):
        layer = variables["params"][name]["conv"]
        y = ops.conv2d(jnp.asarray(y), layer["kernel"], layer["bias"], padding=padding)
        return np.maximum(np.asarray(y), 0)

    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    largest = np.max([padded[:, i : i + 4, j : j + 5] for i in range(3) for j in range(3)], axis=0)
    expected = [
        unit("conv1x1", x, 0),
        unit("conv3x3", unit("conv3x3_reduce", x, 0), 1),
        unit("conv5x5", unit("conv5x5_reduce", x, 0), 2),
        unit("pool_proj", largest, 0),
    ]
    y = jax.jit(module.apply)(variables, x)
    assert y.shape == (1, 4, 5, 2 + 4 + 6 + 7)
    np.testing.assert_allclose(y, np.concatenate(expected, -1), rtol=1e-4, atol=1e-4)


def test_paths_are_those_that_weights_are_loaded_by():
    def paths(name):
        flat = jax.tree_util.tree_leaves_with_path(init_shapes(name, aux=0.3)["params"])
        return {"/".join(key.key for key in path[:-1]) for path, _ in flat}

    branches = {"conv1x1", "conv3x3_reduce", "conv3x3", "conv5x5_reduce", "conv5x5", "pool_proj"}
    units = {"conv1", "conv2", "conv3", "aux1/conv", "aux2/conv"}
    units |= {f"inception_{module}/{branch}" for module in MODULES for branch in branches}
    dense = {"fc", "aux1/fc1", "aux1/fc2", "aux2/fc1", "aux2/fc2"}
    assert paths("googlenet") == {f"{unit}/conv" for unit in units} | dense
    assert (
        paths("googlenet_bn") == {f"{u}/{part}" for u in units for part in ("conv", "bn")} | dense
    )
    rows = {row.path for row in rows_of("googlenet_bn")}
    assert {"inception_3a/pool", "inception_3a/concat", "conv1/relu", "drop"} <= rows


@pytest.mark.parametrize("name", NAMES)
class TestAuxiliaryHeads:
    def test_training_sows_weight_and_logits_and_returns_the_main_ones(self, name):
        model, variables = (
            models.create(name, aux=0.3, classes=7),
            init_shapes(name, aux=0.3, classes=7),
        )
        weights = []

        def train(variables, x):
            logits, updates = apply_in_training(model, variables, x)
            heads = [updates["aux_logits"][head]["logits"] for head in ("aux1", "aux2")]
            weights.extend(weight for ((weight, _),) in heads)
            return logits, [auxiliary for ((_, auxiliary),) in heads]

        logits, auxiliary = jax.eval_shape(train, variables, IMAGE)
        assert {leaf.shape for leaf in (logits, *auxiliary)} == {(2, 7)}
        assert weights == [0.3, 0.3]

    def test_evaluation_has_none(self, name):
        """No layer of them runs, so that they cost nothing where they are not asked."""
        model, variables = models.create(name, aux=0.3), init_shapes(name, aux=0.3)
        apply = partial(model.apply, mutable=["aux_logits"])
        assert "aux_logits" not in jax.eval_shape(apply, variables, IMAGE)[1]
        assert cnnlab.summarize(model, (224, 224, 3)).rows == rows_of(name)

    @pytest.mark.parametrize("train", [False, True])
    def test_init_makes_parameters_and_sows_nothing(self, name, train):
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        init = partial(models.create(name, aux=0.3).init, train=train)
        made = jax.eval_shape(init, keys, IMAGE)
        assert set(made) - {"batch_stats", "made_for"} == {"params"}
        assert {"aux1", "aux2"} <= set(made["params"])

    def test_without_weight_there_are_none(self, name):
        variables, train = init_shapes(name), partial(apply_in_training, models.create(name))
        assert not {"aux1", "aux2"} & set(variables["params"])
        assert "aux_logits" not in jax.eval_shape(train, variables, IMAGE)[1]

    @pytest.mark.parametrize("aux", [-0.1, float("nan"), float("inf"), "0.3", True, None])
    def test_weights_that_are_none(self, name, aux):
        with pytest.raises(ValueError, match=f"auxiliary loss is a number from 0, not aux={aux!r}"):
            models.create(name, aux=aux)


def test_a_head_written_out():
    """Section 5: 5x5/3 average, 1x1 to 128, FC to 1024, 70% dropout, FC; 14x14 becomes 4x4."""
    conv = partial(nn.ConvNormReLU, conv=nn.Conv, norm=None)
    head, x = AuxiliaryHead(3, 0.25, conv, nn.Dense), random((2, 14, 14, 2), 3)
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(head.init)(rngs, x)
    apply = partial(head.apply, train=True, capture_intermediates=True)
    apply = jax.jit(partial(apply, mutable=["aux_logits", "intermediates"], rngs=rngs))
    _, found = apply(variables, x)
    out = {
        name: value["__call__"][0]
        for name, value in found["intermediates"].items()
        if name[0] != "_"
    }
    params = variables["params"]

    corners = range(0, 10, 3)
    pooled = np.stack([[x[:, i : i + 5, j : j + 5].mean((1, 2)) for j in corners] for i in corners])
    pooled = pooled.transpose(2, 0, 1, 3)
    np.testing.assert_allclose(out["pool"], pooled, rtol=1e-4, atol=1e-5)
    units = np.maximum(pooled @ params["conv"]["conv"]["kernel"][0, 0], 0)
    hidden = np.maximum(units.reshape(2, -1) @ params["fc1"]["kernel"], 0)
    np.testing.assert_allclose(out["relu"], hidden, rtol=1e-3, atol=1e-3)
    positive = hidden > 1e-3
    assert np.mean(out["drop"][positive] == 0) == pytest.approx(0.7, abs=0.06)
    kept = positive & (np.asarray(out["drop"]) != 0)
    np.testing.assert_allclose(out["drop"][kept], hidden[kept] / 0.3, rtol=1e-2)
    ((weight, logits),) = found["aux_logits"]["logits"]
    assert float(weight) == 0.25
    np.testing.assert_allclose(logits, out["drop"] @ params["fc2"]["kernel"], rtol=1e-3, atol=1e-3)


def test_the_norms_epsilon():
    """Constant input through conv1 of zeros but for one number: what is left is epsilon's doing."""
    model, x = models.create("googlenet_bn", classes=2), random((2, 32, 32, 3), 5)

    def first(x):
        variables = model.init(jax.random.key(0), x)
        small = jax.tree.map(lambda leaf: leaf * 1e-3, variables["params"]["conv1"]["conv"])
        variables["params"]["conv1"]["conv"] = small
        only = lambda module, _: module.path in (("conv1", "conv"), ("conv1", "bn"))  # noqa: E731
        _, found = model.apply(
            variables,
            x,
            train=True,
            capture_intermediates=only,
            mutable=["batch_stats", "intermediates"],
            rngs={"dropout": jax.random.key(0)},
        )
        parts = found["intermediates"]["conv1"]
        return parts["conv"]["__call__"][0], parts["bn"]["__call__"][0]

    before, after = map(np.asarray, jax.jit(first)(x))
    mean, var = before.mean((0, 1, 2)), before.var((0, 1, 2))
    np.testing.assert_allclose(after, (before - mean) / np.sqrt(var + 1e-3), rtol=1e-3, atol=1e-6)
