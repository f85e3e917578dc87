"""f(T x) = T f(x): on a circle, away from a border of zeros, and nowhere without shared filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from cnnlab import models, nn
from cnnlab.analysis.equivariance import equivariance_errors, interior

SIDE = 24


class Circular(linen.Module):
    """Convolutions whose images have no border: what leaves on the right comes in on the left."""

    @linen.compact
    def __call__(self, x, *, train=False):
        for i in (1, 2):
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
            x = nn.Conv(4, 3, padding=0, name=f"conv{i}")(x)
            x = nn.ReLU(name=f"relu{i}")(x)
            x = nn.MaxPool(2, name=f"pool{i}")(x)
        return x


def drawn(model, side=SIDE):
    random = np.random.default_rng(0)
    x = jnp.float32(random.normal(size=(3, side, side, 2)))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: jnp.float32(random.normal(0, 0.3, leaf.shape)), shapes), x


def test_no_error_on_a_circle():
    model = Circular()
    variables, x = drawn(model)
    layers = ["conv1", "pool1", "relu2", "pool2"]
    errors = equivariance_errors(model, variables, x, layers)
    assert [errors[layer].shape for layer in layers] == [(24, 24), (12, 12), (12, 12), (6, 6)]
    for layer in layers:
        np.testing.assert_allclose(errors[layer], 0, atol=1e-6, err_msg=layer)


@pytest.fixture(scope="module")
def padded():
    model = models.pattern("INPUT -> CONV3-4 -> RELU -> POOL2 -> CONV3-4 -> RELU -> GAP -> FC-3")
    return model, *drawn(model)


def test_zero_padding_is_felt_near_the_border_alone(padded):
    model, variables, x = padded
    errors = equivariance_errors(model, variables, x, ["conv1", "relu2"])
    # conv1 sees 1 pixel around it: no border 1 away from it, and 1 more for the shift.
    inner = {"conv1": 2, "relu2": 3}
    for layer, away in inner.items():
        error, inside = errors[layer], interior(model, variables, x, layer)
        expected = np.zeros(error.shape, bool)
        expected[away:-away, away:-away] = True
        np.testing.assert_array_equal(inside, expected)
        np.testing.assert_allclose(error[inside], 0, atol=1e-6)
        assert error[~inside].min() > 0.01, f"{layer}: the border breaks it everywhere"


def test_against_numpy(padded):
    """The error of one convolution, each shift by hand."""
    model, variables, x = padded
    params = variables["params"]["conv1"]
    kernel, bias = np.asarray(params["kernel"], float), np.asarray(params["bias"], float)

    def convolved(images):
        taps = np.lib.stride_tricks.sliding_window_view(
            np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
        )
        return np.einsum("nhwcuv,uvck->nhwk", taps, kernel) + bias

    image, squares = np.asarray(x, float), 0
    for by in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        moved = convolved(np.roll(image, by, (1, 2))) - np.roll(convolved(image), by, (1, 2))
        squares = squares + (moved**2).mean(axis=(0, 3)) / 8
    expected = np.sqrt(squares / (convolved(image) ** 2).mean())
    found = equivariance_errors(model, variables, x, ["conv1"])["conv1"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_filters_of_their_own_for_each_place_are_not_equivariant():
    model = models.pattern("INPUT -> LOCAL3-4p1 -> GAP -> FC-3")
    variables, x = drawn(model, side=8)
    (error,) = equivariance_errors(model, variables, x, ["local1"]).values()
    assert error.min() > 0.5


def test_dead_maps_have_no_error(padded):
    model, variables, x = padded
    dead = jax.tree.map(jnp.zeros_like, variables)
    np.testing.assert_array_equal(equivariance_errors(model, dead, x, ["relu1"])["relu1"], 0)


def test_layers_without_a_map_are_refused(padded):
    model, variables, x = padded
    with pytest.raises(ValueError, match="gap1 has no feature map"):
        equivariance_errors(model, variables, x, ["gap1"])
    with pytest.raises(ValueError, match=r"'conv3'; choices: conv1, .*did you mean 'conv"):
        interior(model, variables, x, "conv3")


def test_half_precision_gives_the_errors_of_half_precision_maps_and_no_more():
    text = "INPUT -> CONV3-8 -> RELU -> POOL2 -> CONV3-8 -> RELU -> GAP -> FC-3"
    whole, half = (models.pattern(text, dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    variables, x = drawn(whole, side=32)
    errors = [
        equivariance_errors(model, variables, jnp.tile(x, (4, 1, 1, 1)), ["relu1", "relu2"])
        for model in (whole, half)
    ]
    for layer in ("relu1", "relu2"):
        np.testing.assert_allclose(errors[1][layer], errors[0][layer], atol=0.03)
