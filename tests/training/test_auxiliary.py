"""Auxiliary losses: what a model sows in `aux_logits` counts by its weight."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from cnnlab import models, nn
from cnnlab.training.state import create_state
from cnnlab.training.step import make_eval_step, make_update

KEY = jax.random.key(3)
SMOOTHING = 0.1


class Head(linen.Module):
    weight: float

    @linen.compact
    def __call__(self, h):
        logits = nn.Dense(3, name="fc")(h)
        if not self.is_initializing():
            self.sow("aux_logits", "logits", (self.weight, logits))


class Branching(linen.Module):
    """Linear throughout, so that its gradient is three lines of NumPy."""

    first: float
    second: float

    @linen.compact
    def __call__(self, x, *, train=False):
        h = nn.Dense(4, name="trunk")(x)
        if train or self.is_initializing():
            Head(self.first, name="aux1")(h)
            Head(self.second, name="aux2")(h)
        return nn.Dense(3, name="fc")(h)


def one_step(model, x, y):
    """The state before and after a step of gradient descent at rate 1: they differ by it."""
    descent = optax.sgd(1.0)
    start = create_state(model, descent, KEY, x, averaged=False)
    update = make_update(model, descent, label_smoothing=SMOOTHING)
    return start, jax.jit(update)(start, x, y, KEY, jnp.bool_(True))


def by_hand(params, x, y, weights):
    """Loss and gradient of the sum of softmax cross-entropies, each times its weight."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    h = flat @ params["trunk"]["kernel"] + params["trunk"]["bias"]
    targets = (1 - SMOOTHING) * np.eye(3)[y] + SMOOTHING / 3
    loss, back, gradient = 0.0, np.zeros_like(h), {}
    for weight, (name, fc) in zip(weights, params_of_heads(params), strict=True):
        logits = h @ fc["kernel"] + fc["bias"]
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        loss += weight * -(targets * log_p).sum(1).mean()
        error = weight * (np.exp(log_p) - targets) / len(x)
        gradient[name] = {"kernel": h.T @ error, "bias": error.sum(0)}
        back += error @ fc["kernel"].T
    trunk = {"kernel": flat.T @ back, "bias": back.sum(0)}
    heads = {name: {"fc": gradient[name]} for name in ("aux1", "aux2")}
    return loss, {"trunk": trunk, "fc": gradient["fc"], **heads}


def params_of_heads(params):
    return [("fc", params["fc"]), *((name, params[name]["fc"]) for name in ("aux1", "aux2"))]


@pytest.fixture
def batch():
    x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    return jnp.asarray(x), jnp.array([0, 2, 1, 1, 2])


def test_gradient_is_that_of_the_sum_written_out(batch):
    start, end = one_step(Branching(0.3, 0.7), *batch)
    loss, gradient = by_hand(start.params, *batch, weights=(1.0, 0.3, 0.7))
    moved = jax.tree.map(lambda before, after: np.asarray(before - after), start.params, end.params)
    assert jax.tree.structure(moved) == jax.tree.structure(gradient)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), moved, gradient
    )
    assert float(end.tally.loss) == pytest.approx(5 * loss, rel=1e-5)


def test_state_and_evaluation_know_nothing_of_it(batch):
    """What is kept is what evaluation uses, and evaluation's loss is the main logits' alone."""
    x, y = batch
    model = Branching(0.3, 0.7)
    start, end = one_step(model, x, y)
    assert set(end.variables) == {"params", "batch_stats"}
    assert end.batch_stats == {}
    assert jax.tree.structure(start) == jax.tree.structure(end)
    images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (5, 2, 2, 3)), jnp.uint8)
    evaluate = make_eval_step(model, mean=jnp.zeros(3), std=jnp.ones(3))
    loss, _ = evaluate(end.variables, images, y)
    logits = np.asarray(model.apply(end.variables, images / 255.0), np.float64)
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), y]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_the_tally_counts_what_the_main_logits_miss(batch):
    x, y = batch
    start, end = one_step(Branching(0.3, 0.7), x, y)
    logits = Branching(0.3, 0.7).apply(start.variables, x)
    assert int(end.tally.wrong) == int((np.asarray(logits).argmax(1) != y).sum())


def test_googlenet_with_heads_takes_the_step():
    """Traced, not run: its heads have parameters that the step keeps."""
    model = models.create("googlenet", classes=2, aux=0.3)
    x, y = jax.ShapeDtypeStruct((2, 80, 80, 3), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)
    descent = optax.sgd(1.0)

    def create(key):
        return create_state(model, descent, key, jnp.zeros((1, 80, 80, 3)), averaged=False)

    state = jax.eval_shape(create, KEY)
    update = make_update(model, descent, label_smoothing=0.0)
    after = jax.eval_shape(update, state, x, y, KEY, jax.ShapeDtypeStruct((), bool))
    assert {"aux1", "aux2"} <= set(after.params)
    assert jax.tree.structure(after) == jax.tree.structure(state)
