"""A batch in groups is what its groups are by themselves, on average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from cnnlab import nn
from cnnlab.training.state import State, create_state
from cnnlab.training.step import make_update

KEY = jax.random.key(4)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 2, 3)), jnp.float32)
Y = jnp.array([0, 2, 1, 1, 2, 0])


class Net(linen.Module):
    """With a norm, and a head that is only there in training."""

    @linen.compact
    def __call__(self, x, *, train=False):
        h = nn.BatchNorm(name="bn")(nn.Dense(4, name="trunk")(x), train=train)
        if train or self.is_initializing():
            head = nn.Dense(3, name="head")(h)
            if not self.is_initializing():
                self.sow("aux_logits", "logits", (0.3, head))
        return nn.Dense(3, name="fc")(h)


def one_step(model: linen.Module, x: jax.Array, y: jax.Array, groups: int) -> State:
    """A step of gradient descent at rate 1, which is linear in the gradient."""
    descent = optax.sgd(1.0)
    start = create_state(model, descent, KEY, X, averaged=False)
    update = make_update(model, descent, label_smoothing=0.1, groups=groups)
    return jax.jit(update)(start, x, y, KEY, jnp.bool_(True))


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_are_batches_of_their_own(groups: int) -> None:
    found = one_step(Net(), X, Y, groups)
    parts = zip(jnp.split(X, groups), jnp.split(Y, groups), strict=True)
    alone = [one_step(Net(), x, y, 1) for x, y in parts]
    for tree in ("params", "batch_stats"):
        mean = jax.tree.map(
            lambda *leaves: sum(leaves) / groups, *(getattr(s, tree) for s in alone)
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            getattr(found, tree),
            mean,
        )
    assert float(found.tally.loss) == pytest.approx(sum(float(s.tally.loss) for s in alone))
    assert int(found.tally.wrong) == sum(int(s.tally.wrong) for s in alone)
    assert int(found.tally.examples) == 6
    whole = one_step(Net(), X, Y, 1)
    assert float(found.tally.loss) != pytest.approx(float(whole.tally.loss), rel=1e-3)


def test_each_group_drops_out_others() -> None:
    """Twice the same images, in two groups: with one mask for both the loss would be one's."""

    class Dropping(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            return nn.Dense(3, name="fc")(nn.Dropout(0.5, name="drop")(x, train=train))

    x, y = jnp.concatenate([X[:3], X[:3]]), jnp.concatenate([Y[:3], Y[:3]])
    found = one_step(Dropping(), x, y, 2)
    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(KEY, 3), 0), 2)
    start = create_state(Dropping(), optax.sgd(1.0), KEY, X, averaged=False)
    losses = []
    for key in keys:
        logits = Dropping().apply(
            {"params": start.params}, X[:3], train=True, rngs={"dropout": key}
        )
        targets = 0.9 * np.eye(3)[Y[:3]] + 0.1 / 3
        losses.append(-(targets * np.asarray(jax.nn.log_softmax(logits))).sum(1).mean())
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert float(found.tally.loss) == pytest.approx(6 * np.mean(losses), rel=1e-4)
