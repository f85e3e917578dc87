"""airbench94 and airbench95: their shapes, what they start as, and their scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models


def made(**options):
    model = models.create("airbench94", **options)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 32, 32, 3)), jnp.float32)
    return model, jax.jit(model.init)(jax.random.key(0), x), x


def test_the_maps_of_the_paper():
    summary = cnnlab.summarize(models.create("airbench94"), (32, 32, 3))
    shapes = {row.notation: row.shape for row in summary.rows}
    assert shapes["WHITEN2"] == (31, 31, 24)
    pooled = [row.shape for row in summary.rows if row.notation == "POOL2"]
    assert pooled == [(15, 15, 64), (7, 7, 256), (3, 3, 256)]
    assert shapes["POOL3"] == (1, 1, 256)
    # WHITEN2 2; then 2 more a convolution and 1 more a pooling, times the steps 1, 2, 4, and 2 * 8.
    assert (
        summary.receptive_field.size == 2 + 2 + 1 + 2 * (2 + 2 + 1) + 4 * (2 + 2 + 1) + 8 * 2 + 16
    )
    wider = cnnlab.summarize(models.create("airbench95"), (32, 32, 3))
    pooled = [row.shape for row in wider.rows if row.notation == "POOL2"]
    assert pooled == [(15, 15, 128), (7, 7, 384), (3, 3, 384)]


def test_the_first_filters_of_a_convolution_hand_its_input_on():
    _, variables, _ = made()
    for name, channels, filters in (("conv1", 24, 64), ("conv4", 256, 256), ("conv3", 64, 256)):
        kernel = np.asarray(variables["params"]["body"][name]["kernel"])
        x = np.random.default_rng(1).normal(size=(1, 5, 5, channels)).astype(np.float32)
        y = cnnlab.ops.conv2d(jnp.asarray(x), jnp.asarray(kernel), padding=1)
        np.testing.assert_array_equal(np.asarray(y)[..., :channels], x)
        rest = kernel[..., channels:]
        if filters > channels:
            assert abs(rest.var() * 3 * 9 * channels - 1) < 0.05
            assert abs(rest).max() <= 1 / np.sqrt(9 * channels)


def test_the_logits_are_a_ninth():
    model, variables, x = made(non_linearity="relu")
    whole = model.body.apply(
        {kind: tree["body"] for kind, tree in variables.items()}, x, train=False
    )
    np.testing.assert_allclose(model.apply(variables, x), whole / 9, rtol=1e-6)


def test_an_unknown_non_linearity():
    with pytest.raises(ValueError, match=r"'gelo'.*gelu"):
        models.create("airbench94", non_linearity="gelo")
