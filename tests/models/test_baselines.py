"""The notes' small nets: counts in closed form, and the pair that shares weights or not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models
from cnnlab.geometry import ReceptiveField


@functools.cache
def summary(name, **options):
    return cnnlab.summarize(models.create(name, **options), models.network(name).input_shape)


def rows(name, **options):
    return [(row.notation, row.shape) for row in summary(name, **options).rows]


def normal(seed, shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("linear", 3073 * 10, 3072 * 10),
        ("mlp", 3073 * 512 + 513 * 512 + 513 * 10, 3072 * 512 + 512 * 512 + 512 * 10),
        ("convnet", 76 * 12 + 3073 * 10, 1024 * 75 * 12 + 3072 * 10),
        ("local", 1024 * 76 * 12 + 3073 * 10, 1024 * 75 * 12 + 3072 * 10),
        ("tiny_vgg", 280 + 5 * 910 + 161 * 10, 1024 * 1170 + 256 * 1800 + 64 * 1800 + 1600),
        (
            "convnetjs_cifar",
            76 * 16 + 401 * 20 + 501 * 20 + 321 * 10,
            1024 * 1200 + 256 * 8000 + 64 * 10_000 + 3200,
        ),
    ],
)
def test_counts(name, params, macs):
    assert (summary(name).params, summary(name).macs) == (params, macs)


def test_tiny_vgg():
    """CS231n's home page counts 17 layers, the softmax among them."""
    stage = ["CONV3-10", "RELU", "CONV3-10", "RELU", "POOL2"]
    assert [kind for kind, _ in rows("tiny_vgg")] == ["INPUT", *stage * 3, "FC-10"]
    assert len(rows("tiny_vgg")) - len(["INPUT"]) + len(["softmax"]) == 17
    pools = [shape for kind, shape in rows("tiny_vgg") if kind == "POOL2"]
    assert pools == [(16, 16, 10), (8, 8, 10), (4, 4, 10)]
    assert summary("tiny_vgg").receptive_field == ReceptiveField(36, 8)


def test_convnetjs_cifar():
    assert rows("convnetjs_cifar") == [
        ("INPUT", (32, 32, 3)),
        ("CONV5-16", (32, 32, 16)),
        ("RELU", (32, 32, 16)),
        ("POOL2", (16, 16, 16)),
        ("CONV5-20", (16, 16, 20)),
        ("RELU", (16, 16, 20)),
        ("POOL2", (8, 8, 20)),
        ("CONV5-20", (8, 8, 20)),
        ("RELU", (8, 8, 20)),
        ("POOL2", (4, 4, 20)),
        ("FC-10", (10,)),
    ]


def test_convnet_is_the_notes_first():
    """N0: [INPUT - CONV - RELU - POOL - FC] gives 32x32x12, 32x32x12, 16x16x12, 10."""
    assert rows("convnet") == [
        ("INPUT", (32, 32, 3)),
        ("CONV5-12", (32, 32, 12)),
        ("RELU", (32, 32, 12)),
        ("POOL2", (16, 16, 12)),
        ("FC-10", (10,)),
    ]


def test_local_with_the_same_filter_everywhere_is_the_convnet():
    assert [kind.replace("LOCAL", "CONV") for kind, _ in rows("local")] == [
        kind for kind, _ in rows("convnet")
    ]
    conv, local = models.create("convnet"), models.create("local")
    kernel, bias = normal(0, (5, 5, 3, 12)), normal(1, 12)
    fc = {"kernel": normal(2, (3072, 10)), "bias": normal(3, 10)}
    everywhere = {
        "kernel": np.broadcast_to(kernel, (32, 32, 5, 5, 3, 12)),
        "bias": np.broadcast_to(bias, (32, 32, 12)),
    }
    x = normal(4, (2, 32, 32, 3))
    shared = {"params": {"conv1": {"kernel": kernel, "bias": bias}, "fc1": fc}}
    unshared = {"params": {"local1": everywhere, "fc1": fc}}
    np.testing.assert_allclose(
        jax.jit(local.apply)(unshared, x), jax.jit(conv.apply)(shared, x), rtol=1e-3, atol=1e-2
    )


class TestMLP:
    def test_hidden_layers(self):
        kinds = [kind for kind, _ in rows("mlp", hidden=(7, 5, 3), classes=2)]
        assert kinds == ["INPUT", "FC-7", "RELU", "FC-5", "RELU", "FC-3", "RELU", "FC-2"]

    def test_a_list_will_do(self):
        assert models.create("mlp", hidden=[7, np.int32(5)]) == models.create("mlp", hidden=(7, 5))

    @pytest.mark.parametrize(
        ("hidden", "words"),
        [
            (100, r"hidden is a tuple of widths, e.g. \(512, 512\); got 100"),
            ("55", "hidden is a tuple of widths, .* got '55'"),
            ((5, 0), "a width in hidden must be a whole number, at least 1; got 0"),
            ((5.0,), "a width in hidden .* got 5.0"),
        ],
    )
    def test_no_widths(self, hidden, words):
        with pytest.raises(ValueError, match=f"^{words}$"):
            models.create("mlp", hidden=hidden)

    def test_none_is_the_linear_classifier(self):
        assert models.create("mlp", hidden=()) == models.create("linear")

    def test_against_numpy(self):
        x, w, v = normal(0, (4, 3, 3, 2)), normal(1, (18, 5)), normal(2, (5, 3))
        b, c = normal(3, 5), normal(4, 3)
        params = {"fc1": {"kernel": w, "bias": b}, "fc2": {"kernel": v, "bias": c}}
        model = models.create("mlp", hidden=(5,), classes=3)
        logits = jax.jit(model.apply)({"params": params}, x)
        expected = np.maximum(x.reshape(4, 18) @ w + b, 0) @ v + c
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["linear", "mlp", "convnet", "local", "tiny_vgg"])
def test_classes_and_dtype(name):
    model = models.create(name, classes=3, dtype=jnp.bfloat16)
    image = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert (logits.shape, logits.dtype) == ((2, 3), jnp.bfloat16)
