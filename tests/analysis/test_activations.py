"""Activations by name: what each layer puts out, under the paths of the layer table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import cnnlab
from cnnlab import models, nn
from cnnlab.geometry import DoesNotFit

TEXT = "INPUT -> CONV3-4p1 -> BN -> RELU -> POOL2 -> DROP0.5 -> FC-3"


def drawn(model, shape, seed=0):
    """Images, and variables among which no number is 0 or 1."""
    rng = np.random.default_rng(seed)
    x = jnp.array(rng.normal(size=shape), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return x, jax.tree.map(lambda leaf: jnp.float32(rng.uniform(0.1, 0.9, leaf.shape)), shapes)


@pytest.fixture(scope="module")
def net():
    model = models.pattern(TEXT)
    return model, *drawn(model, (2, 4, 4, 2))


def test_against_numpy(net):
    model, x, variables = net
    found = cnnlab.activations(model, variables, x)
    assert list(found) == ["conv1", "bn1", "relu1", "pool1", "drop1", "fc1"]
    params, statistics = variables["params"], variables["batch_stats"]["bn1"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    conv = np.zeros((2, 4, 4, 4))
    for n, i, j, k in np.ndindex(conv.shape):
        conv[n, i, j, k] = np.sum(
            padded[n, i : i + 3, j : j + 3] * params["conv1"]["kernel"][..., k]
        )
    scale, bias = params["bn1"]["scale"], params["bn1"]["bias"]
    norm = (conv - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5) * scale + bias
    relu = np.maximum(norm, 0)
    pool = relu.reshape(2, 2, 2, 2, 2, 4).max(axis=(2, 4))
    fc = pool.reshape(2, -1) @ params["fc1"]["kernel"] + params["fc1"]["bias"]
    expected = {"conv1": conv, "bn1": norm, "relu1": relu, "pool1": pool, "drop1": pool, "fc1": fc}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_jitted_in_the_same_order(net):
    """A dict comes out of jit sorted by its keys; here the order is the computation's."""
    model, x, variables = net
    plain = cnnlab.activations(model, variables, x)
    jitted = jax.jit(partial(cnnlab.activations, model))(variables, x)
    assert list(jitted) == list(plain) != sorted(plain)
    for name in plain:
        np.testing.assert_allclose(jitted[name], plain[name], rtol=1e-5, atol=1e-5)


def test_in_training(net):
    """Statistics of the batch, random zeros by the key; the running statistics stay."""
    model, x, variables = net
    before = jax.tree.map(np.copy, variables)
    one, two, again = (
        cnnlab.activations(model, variables, x, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 2, 1)
    )
    norm = (one["bn1"] - variables["params"]["bn1"]["bias"]) / variables["params"]["bn1"]["scale"]
    np.testing.assert_allclose(norm.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    assert (one["drop1"] != two["drop1"]).any()
    np.testing.assert_array_equal(one["drop1"], again["drop1"])
    np.testing.assert_array_equal(one["pool1"], two["pool1"])
    kept = one["pool1"] > 0
    assert set(np.unique(np.round((one["drop1"] / one["pool1"])[kept], 4))) == {0, 2}
    jax.tree.map(np.testing.assert_array_equal, variables, before)


@pytest.mark.parametrize(
    ("name", "shape", "some"),
    [
        ("resnet20", (32, 32, 3), ["conv1", "stage1_block1/relu2", "stage3_block3/add", "fc"]),
        ("googlenet", (64, 64, 3), ["inception_3a/concat", "inception_5b/pool", "gap", "fc"]),
    ],
)
def test_paths_and_shapes_are_those_of_the_summary(name, shape, some):
    model = models.create(name)
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    found = jax.eval_shape(partial(cnnlab.activations, model), variables, x)
    rows = cnnlab.summarize(model, shape).rows[1:]
    assert {path: y.shape for path, y in found.items()} == {
        row.path: (3, *row.shape) for row in rows
    }
    assert list(found) == [row.path for row in rows]
    assert set(some) <= set(found)
    assert list(found)[-1] == some[-1]


def test_last_are_the_logits(net):
    model, x, variables = net
    found = cnnlab.activations(model, variables, x)
    np.testing.assert_array_equal(list(found.values())[-1], model.apply(variables, x))


def test_as_flax_captures_them(net):
    model, x, variables = net
    _, state = model.apply(variables, x, capture_intermediates=True)
    for name, value in cnnlab.activations(model, variables, x).items():
        np.testing.assert_array_equal(value, state["intermediates"][name]["__call__"][0])


def test_a_layer_called_again():
    class Shared(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            conv = nn.Conv(2, 1, name="conv")
            return conv(conv(x))

    x, variables = drawn(Shared(), (1, 2, 2, 2))
    found = cnnlab.activations(Shared(), variables, x)
    kernel, bias = variables["params"]["conv"]["kernel"][0, 0], variables["params"]["conv"]["bias"]
    np.testing.assert_allclose(found["conv"], x @ kernel + bias, rtol=1e-5)
    np.testing.assert_allclose(found["conv#2"], found["conv"] @ kernel + bias, rtol=1e-5)


def test_a_layer_alone():
    found = cnnlab.activations(nn.ReLU(), {}, jnp.array([[-1.0, 2.0]]))
    assert {name: value.tolist() for name, value in found.items()} == {"relu": [[0, 2]]}


def test_auxiliary_heads_are_there_in_training():
    model = models.create("googlenet", aux=0.3)
    x = jax.ShapeDtypeStruct((2, 80, 80, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)

    in_training = partial(
        cnnlab.activations, model, train=True, rngs={"dropout": jax.random.key(0)}
    )
    trained = jax.eval_shape(in_training, variables, x)
    tested = jax.eval_shape(partial(cnnlab.activations, model), variables, x)
    assert set(trained) - set(tested) == {
        f"aux{i}/{layer}"
        for i in (1, 2)
        for layer in ("pool", "conv/conv", "conv/relu", "fc1", "relu", "drop", "fc2")
    }


def test_without_layers():
    class Flat(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            return linen.Dense(2)(x.reshape(len(x), -1))

    x, variables = drawn(Flat(), (1, 2, 2, 1))
    with pytest.raises(ValueError, match=r"what nn\.Layer puts out, and this has none: Flat\("):
        cnnlab.activations(Flat(), variables, x)


def test_an_image_that_the_variables_are_not_for(net):
    model, _, variables = net
    with pytest.raises(DoesNotFit, match=r"POOL2 does not fit its input \[5x5x4\]"):
        cnnlab.activations(model, variables, jnp.zeros((1, 5, 5, 2)))
    for shape, reason in (((6, 6, 2), "fc1's .* not 3x3x4"), ((4, 4, 3), "conv1's .* kernel is")):
        with pytest.raises(DoesNotFit, match=reason):
            cnnlab.activations(model, variables, jnp.zeros((1, *shape)))
