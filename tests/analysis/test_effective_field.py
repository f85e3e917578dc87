"""The effective field: kernels convolved with kernels, and never outside of the theoretical one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from cnnlab import models
from cnnlab.analysis.effective_field import effective_field, field_size, theoretical_field
from cnnlab.analysis.maps import last_of_each_size
from cnnlab.analysis.summary import summarize


def drawn(text, shape, seed=0):
    model = models.pattern(text, fit="crop")
    random = np.random.default_rng(seed)
    x = jnp.float32(random.normal(size=shape))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    # A variance of a batch norm is among them, and may not be negative.
    weights = jax.tree.map(lambda leaf: jnp.float32(random.normal(0.1, 0.5, leaf.shape)), shapes)
    weights["batch_stats"] = jax.tree.map(jnp.abs, weights.get("batch_stats", {}))
    return model, weights, x


def test_of_linear_layers_it_is_the_kernels_convolved():
    model, variables, x = drawn("INPUT -> CONV3-1 -> CONV5-1 -> GAP", (2, 15, 17, 1))
    first, second = (np.asarray(variables["params"][n]["kernel"])[..., 0, 0] for n in
                     ("conv1", "conv2"))  # fmt: skip
    expected = np.zeros((15, 17))
    expected[4:11, 5:12] = np.abs(convolve2d(first, second))
    field = effective_field(model, variables, x, "conv2")
    np.testing.assert_allclose(field, expected, atol=1e-6)


def test_the_mean_is_over_images_and_channels():
    model, variables, x = drawn("INPUT -> CONV3-4 -> RELU -> GAP", (5, 9, 9, 2))
    kernel, bias = (np.asarray(variables["params"]["conv1"][n]) for n in ("kernel", "bias"))
    expected = np.zeros((9, 9))
    for image in np.asarray(x):
        seen = image[3:6, 3:6]
        on = np.einsum("uvc,uvck->k", seen, kernel) + bias > 0
        expected[3:6, 3:6] += np.abs(kernel[..., on].sum(-1)).mean(-1) / 5
    np.testing.assert_allclose(effective_field(model, variables, x, "relu1"), expected, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "INPUT -> CONV3-8 -> BN -> RELU -> CONV3-8 -> POOL2 -> CONV5-8/2 -> GAP -> FC-3",
        "INPUT -> AVGPOOL2 -> CONV5-8p0 -> RELU -> POOL3/2 -> GAP -> FC-3",
    ],
)
def test_it_lies_inside_the_theoretical_field(text):
    model, variables, x = drawn(text, (8, 41, 33, 2))
    for layer in last_of_each_size(summarize(model, x.shape[1:])):
        field = effective_field(model, variables, x, layer)
        rows, columns = theoretical_field(model, variables, x, layer)
        seen = np.ix_([i for i in rows if 0 <= i < 41], [i for i in columns if 0 <= i < 33])
        outside = np.ones(field.shape, bool)
        outside[seen] = False
        assert outside.any()
        assert not field[outside].any(), "exactly zero"
        assert (field[seen].sum(axis=0) > 0).all(), "it reaches from edge to edge"
        assert (field[seen].sum(axis=1) > 0).all()


def test_where_the_field_lies():
    model, variables, x = drawn("INPUT -> CONV3-2/2p1 -> CONV3-2 -> GAP", (1, 9, 13, 1))
    # Neurons see rows 2i - 1 .. 2i + 1, then 2i - 3 .. 2i + 3; the centre is i = 2 of 5, 3 of 7.
    rows, columns = theoretical_field(model, variables, x, "conv2")
    assert (rows, columns) == (range(1, 8), range(3, 10))


def test_size():
    field = np.zeros((9, 9))
    field[2:5, 2:5] = 1, 0.5, 0.046
    field[0, 0] = 0.045
    assert field_size(field) == 3
    field[0, 0] = 0.046
    assert field_size(field) == np.sqrt(10)


def test_layers_without_a_map_are_refused():
    model, variables, x = drawn("INPUT -> CONV3-2 -> GAP -> FC-2", (1, 9, 9, 1))
    with pytest.raises(ValueError, match="gap1 has no feature map"):
        theoretical_field(model, variables, x, "gap1")
    with pytest.raises(ValueError, match=r"'conv2'.*did you mean 'conv1'"):
        effective_field(model, variables, x, "conv2")
