"""Saliency against the score's differences when a pixel is changed a little."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import models
from cnnlab.analysis.saliency import saliency

STEP = 1e-2


@pytest.fixture(scope="module")
def net():
    model = models.pattern("INPUT -> CONV3-6 -> TANH -> AVGPOOL2 -> FC-3")
    random = np.random.default_rng(0)
    x = jnp.float32(random.normal(size=(2, 6, 6, 3)))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return (
        model,
        jax.tree.map(lambda leaf: jnp.float32(random.normal(0, 0.3, leaf.shape)), shapes),
        x,
    )


def differences(net, classes):
    """max over channels of |S(x + h) - S(x - h)| / 2h, pixel by pixel."""
    model, variables, x = net
    pixels = np.eye(x[0].size).reshape(-1, *x.shape[1:]).astype(np.float32)
    apply, found = jax.jit(model.apply), []
    for image, each in zip(x, classes, strict=True):
        up, down = (apply(variables, image + sign * STEP * pixels)[:, each] for sign in (1, -1))
        found.append(np.abs(np.asarray(up - down)).reshape(x.shape[1:]).max(-1) / (2 * STEP))
    return np.stack(found)


def test_of_given_classes(net):
    np.testing.assert_allclose(
        saliency(*net, np.array([2, 0])), differences(net, [2, 0]), atol=2e-4
    )


def test_of_the_highest_score(net):
    model, variables, x = net
    best = np.asarray(model.apply(variables, x)).argmax(-1)
    np.testing.assert_allclose(saliency(*net), differences(net, best), atol=2e-4)
