"""Weights of torchvision's networks, against the logits that torchvision gives with them."""

import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from drawn_weights import draw_features, draw_images, draw_state_dict
from flax import traverse_util

from cnnlab import models, ops
from cnnlab.errors import Mistake

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
FAST = ("alexnet", "googlenet", "resnet18", "resnet50", "vgg11", "vgg16_bn")


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def shapes_of(name):
    written = golden(name)["shapes"]
    return {key: tuple(map(int, filter(None, s.split("x")))) for key, s in written.items()}


@functools.cache
def drawn_once(name):
    return draw_state_dict(shapes_of(name))


def drawn(name, **changes):
    """The drawn entries of torchvision's `name`, for a test to change."""
    return {**drawn_once(name), **changes}


def empty(name):
    """The entries' shapes with next to no numbers behind them."""
    return {key: np.broadcast_to(np.float32(0), s) for key, s in shapes_of(name).items()}


def assert_close(found, expected):
    """To 1e-4 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_all_networks_have_their_golden_file():
    depths = (11, 13, 16, 19)
    vggs = [f"vgg{depth}{suffix}" for depth in depths for suffix in ("", "_bn")]
    resnets = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    assert sorted(["alexnet", "googlenet", *vggs, *resnets]) == NAMES


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES]
)
def test_logits(name):
    model, variables = models.load_torch(name, draw_state_dict(shapes_of(name)))
    file = golden(name)
    expected = np.array(file["logits"])
    assert np.ptp(expected, axis=0).mean() > 0.01 * np.abs(expected).max(), "images look alike"
    assert_close(jax.jit(model.apply)(variables, draw_images(file["size"])), expected)


OTHER_SIZES = [(n, size) for n in NAMES for size in golden(n) if re.fullmatch(r"\d+x\d+", size)]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(*each, marks=() if each == ("alexnet", "160x320") else pytest.mark.slow)
        for each in OTHER_SIZES
    ],
)
def test_logits_of_other_sizes(name, size):
    """Larger maps than the FC's and smaller ones, averaged to its size as torchvision does."""
    assert len(OTHER_SIZES) == 5
    model, variables = models.load_torch(name, drawn(name))
    images = draw_images(*map(int, size.split("x")))
    assert_close(jax.jit(model.apply)(variables, images), np.array(golden(name)[size]))


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_torchvisions(name):
    """Nothing is wrong with torchvision's own entries but the one put in."""
    message = f"not a state dict of torchvision's {name}:\n  extra: auxiliary [5]"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        models.load_torch(name, empty(name) | {"auxiliary": np.zeros(5)})


def test_both_names_of_googlenet():
    """Torchvision's, and the register's; of weights without auxiliary heads."""
    state = {key: value for key, value in empty("googlenet").items() if key[:3] != "aux"}
    state |= {"fc.weight": np.ones((7, 1024)), "fc.bias": np.arange(7)}
    model, variables = models.load_torch("googlenet_bn", state)
    assert model == models.create("googlenet_bn", classes=7)
    assert_same((model, variables), models.load_torch("googlenet", state))
    model, _ = models.load_torch("googlenet_bn", empty("googlenet"))
    assert model == models.create("googlenet_bn", classes=10, aux=0.3)


class TestVariables:
    @pytest.mark.parametrize("name", ["googlenet", "resnet18"])
    def test_are_those_of_init(self, name):
        model, variables = models.load_torch(name, drawn(name))
        image = jnp.zeros((1, 224, 224, 3))
        made = jax.eval_shape(model.init, jax.random.key(0), image)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), variables) == jax.tree.map(
            lambda x: (x.shape, x.dtype), made
        )
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(variables))

    def test_classes(self):
        head = {"fc.weight": np.ones((7, 512)), "fc.bias": np.arange(7)}
        model, variables = models.load_torch("resnet18", drawn("resnet18", **head))
        assert model == models.create("resnet18", classes=7)
        np.testing.assert_array_equal(variables["params"]["fc"]["bias"], np.arange(7))

    @pytest.mark.parametrize("dtype", [np.float64, np.float16, jnp.bfloat16])
    def test_become_float32(self, dtype):
        state = {key: value.astype(dtype) for key, value in drawn("resnet18").items()}
        _, variables = models.load_torch("resnet18", state)
        found = variables["params"]["stage2_block1"]["shortcut_conv"]["kernel"]
        assert found.dtype == jnp.float32
        expected = np.float32(state["layer2.0.downsample.0.weight"]).transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(found, expected)

    def test_counts_of_batches_are_ignored(self):
        state = {k: v for k, v in drawn("resnet18").items() if "num_batches" not in k}
        assert len(state) == len(drawn("resnet18")) - 20
        assert_same(
            models.load_torch("resnet18", state), models.load_torch("resnet18", drawn("resnet18"))
        )


class TestAuxiliaryHeads:
    @staticmethod
    @functools.cache
    def loaded():
        return models.load_torch("googlenet", drawn("googlenet"))

    @pytest.mark.parametrize("size", [(4, 4), (14, 14), (3, 9)])
    @pytest.mark.parametrize("aux", ["aux1", "aux2"])
    def test_logits(self, aux, size):
        """By NumPy, behind torchvision's pooling, which is not the paper's."""
        _, variables = self.loaded()
        p, statistics = (variables[kind][aux] for kind in ("params", "batch_stats"))
        norm, running = p["conv"]["bn"], statistics["conv"]["bn"]
        pooled = ops.adaptive_avg_pool(jnp.asarray(draw_features(*size)[aux]), size=4)
        x = pooled @ p["conv"]["conv"]["kernel"][0, 0]
        x = (x - running["mean"]) / np.sqrt(running["var"] + 0.001) * norm["scale"] + norm["bias"]
        x = np.maximum(x, 0).reshape(2, -1)
        x = np.maximum(x @ p["fc1"]["kernel"] + p["fc1"]["bias"], 0)
        key = aux if size == (4, 4) else f"{aux} {size[0]}x{size[1]}"
        assert_close(x @ p["fc2"]["kernel"] + p["fc2"]["bias"], np.array(golden("googlenet")[key]))

    def test_are_there_if_the_weights_have_them(self):
        whole = models.load_torch("googlenet", drawn("googlenet"))
        state = {key: x for key, x in drawn("googlenet").items() if not key.startswith("aux")}
        model, variables = models.load_torch("googlenet", state)
        assert (whole[0].aux, model.aux) == (0.3, 0)
        assert whole[1]["params"].keys() - variables["params"].keys() == {"aux1", "aux2"}

    def test_one_is_not_enough(self):
        state = {key: x for key, x in drawn("googlenet").items() if not key.startswith("aux1")}
        with pytest.raises(
            ValueError, match=r"missing: .*aux1\.conv\.conv\.weight \[128, 512, 1, 1"
        ):
            models.load_torch("googlenet", state)


class TestSources:
    def test_safetensors(self, tmp_path):
        path = tmp_path / "resnet18.safetensors"
        safetensors.numpy.save_file(drawn("resnet18"), path)
        expected = models.load_torch("resnet18", drawn("resnet18"))
        assert_same(models.load_torch("resnet18", path), expected)
        assert_same(models.load_torch("resnet18", str(path)), expected)

    def test_pth(self):
        with pytest.raises(ValueError, match=r"extra: bfloat16 \[2, 3\]; empty \[0, 3\]; float16"):
            models.load_torch("resnet18", GOLDEN / "zip.pth")

    def test_whatever_is_an_array_to_numpy(self):
        class Tensor:
            def __init__(self, array):
                self.array, self.shape = array, array.shape

            def __array__(self, dtype=None, copy=None):
                return self.array

            def __len__(self):
                return len(self.array)

        state = {key: Tensor(value) for key, value in drawn("resnet18").items()}
        assert_same(
            models.load_torch("resnet18", state), models.load_torch("resnet18", drawn("resnet18"))
        )


def assert_same(found, expected):
    assert found[0] == expected[0]
    found, expected = (traverse_util.flatten_dict(variables) for _, variables in (found, expected))
    assert found.keys() == expected.keys()
    for path in expected:
        np.testing.assert_array_equal(found[path], expected[path])


class FailingArray:
    """As a tensor of PyTorch that takes gradients."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


class TestRefused:
    def test_all_that_is_wrong_is_listed(self):
        state = empty("resnet18")
        del state["layer1.0.bn2.running_var"], state["fc.bias"]
        state |= {"fc.scale": np.zeros(10), "layer5.0.conv1.weight": np.zeros((1, 2, 3, 3))}
        state |= {"conv1.weight": np.zeros((64, 3, 3, 3)), "bn1.bias": np.zeros(32)}
        with pytest.raises(ValueError, match="state dict") as caught:
            models.load_torch("resnet18", state)
        assert str(caught.value).split("\n") == [
            "not a state dict of torchvision's resnet18:",
            "  missing: fc.bias [10]; layer1.0.bn2.running_var [64]",
            "  extra: fc.scale [10]; layer5.0.conv1.weight [1, 2, 3, 3]",
            "  misshapen: bn1.bias [32], not [64]; conv1.weight [64, 3, 3, 3], not [64, 3, 7, 7]",
        ]

    def test_shapes_are_compared_before_anything_is_converted(self):
        """As many numbers, and our own layout: neither passes."""
        state = empty("resnet18") | {"conv1.weight": np.zeros((7, 7, 3, 64))}
        with pytest.raises(ValueError, match=r"conv1\.weight \[7, 7, 3, 64\], not \[64, 3, 7, 7\]"):
            models.load_torch("resnet18", state)
        state = empty("alexnet") | {"classifier.1.weight": np.zeros((9216, 4096), np.float16)}
        message = r"classifier\.1\.weight \[9216, 4096\], not \[4096, 9216\]"
        with pytest.raises(ValueError, match=message):
            models.load_torch("alexnet", state)

    @pytest.mark.parametrize("last", [(), (0,)])
    def test_last_layer_that_gives_no_classes(self, last):
        state = empty("resnet18") | {"fc.weight": np.zeros(last)}
        with pytest.raises(ValueError, match=r"misshapen: .*fc\.weight \[0?\], not \["):
            models.load_torch("resnet18", state)

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("fc.bias", np.zeros(10, np.complex64), "not real: fc.bias complex64"),
            ("fc.bias", np.zeros(10, bool), "not real: fc.bias bool"),
            ("fc.bias", np.array(["0.5"] * 10), "not real: fc.bias <U3"),
            ("fc.bias", np.array([None] * 10), "not real: fc.bias object"),
            ("fc.bias", np.zeros(10, "datetime64[s]"), r"not real: fc.bias datetime64\[s\]"),
            ("fc.bias", [*[0.5] * 8, np.nan, np.inf], "not finite: fc.bias 2 of 10"),
            ("fc.bias", np.full(10, np.nan, jnp.bfloat16), "not finite: fc.bias 10 of 10"),
            ("fc.bias", [*[0.5] * 9, -1e300], r"out of range: fc.bias of float32: -1e\+300"),
            ("fc.bias", [10**400] * 10, "not real: fc.bias object"),
            ("bn1.running_var", -np.ones(64), r"negative: bn1.running_var -1\.0"),
        ],
    )
    def test_numbers_that_float32_does_not_keep(self, key, value, said):
        with pytest.raises(Mistake, match=rf"resnet18:\n  {said}$"):
            models.load_torch("resnet18", empty("resnet18") | {key: value})

    def test_the_largest_and_the_least_that_it_keeps(self):
        numbers = np.array([3.4e38, -3.4e38, 1e-300, 0, 1, 2, 3, 4, 5, 2**40])
        _, variables = models.load_torch("resnet18", empty("resnet18") | {"fc.bias": numbers})
        np.testing.assert_array_equal(variables["params"]["fc"]["bias"], np.float32(numbers))

    def test_a_sum_out_of_range(self):
        """A bias that is taken off a running mean."""
        huge = {"features.0.bias": np.full(64, -3e38), "features.1.running_mean": np.full(64, 3e38)}
        message = r"features\.0\.bias: taken off the running mean it is out of float32's range"
        with pytest.raises(Mistake, match=message):
            models.load_torch("vgg11_bn", empty("vgg11_bn") | huge)

    @pytest.mark.parametrize("value", [[[1, 2], [3]], FailingArray()])
    def test_no_array_at_all(self, value):
        with pytest.raises(Mistake, match=r"no arrays:\n  fc\.bias: "):
            models.load_torch("resnet18", empty("resnet18") | {"fc.bias": value})

    def test_names_that_are_none(self):
        state = empty("resnet18") | {7: np.zeros(3), ("a", 1): np.zeros(2)}
        with pytest.raises(Mistake, match=r"extra: \('a', 1\) \[2\]; 7 \[3\]"):
            models.load_torch("resnet18", state)

    @pytest.mark.parametrize("source", [None, 3, [1, 2], b"resnet18.pth"])
    def test_no_source(self, source):
        with pytest.raises(Mistake, match="weights come from a file, or are arrays by name; got "):
            models.load_torch("resnet18", source)

    def test_weights_of_another_network(self):
        with pytest.raises(ValueError, match=r"missing: .*features\.0\.bias .*\n  extra: .*bn1\.b"):
            models.load_torch("vgg11", empty("resnet18"))

    @pytest.mark.parametrize(
        ("name", "near"), [("resnet1O1", "resnet101"), ("vgg16bn", "vgg16_bn")]
    )
    def test_unknown_network(self, name, near):
        message = rf"torchvision's weights: '{name}'; choices: .*did you mean '{near}'\?"
        with pytest.raises(ValueError, match=message):
            models.load_torch(name, {})
