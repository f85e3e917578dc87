"""Blocks left out at random in training (Huang et al. 2016, eq. 2 and 5)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from residual_numpy import block, image, relu, variables_of

from cnnlab import nn


class TestStochasticDepth:
    """Huang et al. 2016, eq. 2 and 5."""

    def test_all_or_nothing_by_one_draw(self):
        """Never a part of a batch; as often as the probability says (within 4 sigma)."""
        x = jnp.asarray(image())
        layer = nn.StochasticDepth(0.7)
        draw = lambda key: layer.apply({}, x, train=True, rngs={"dropout": key})  # noqa: E731
        keys = jax.random.split(jax.random.key(0), 1000)
        outcomes = np.asarray(jax.jit(jax.vmap(draw))(keys))
        kept = (outcomes == x).all(axis=(1, 2, 3, 4))
        assert (kept | (outcomes == 0).all(axis=(1, 2, 3, 4))).all()
        assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 1000)

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
    def test_expectation_at_test_time(self, dtype):
        x = jnp.asarray(image(), dtype)
        y = nn.StochasticDepth(0.25).apply({}, x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, x / 4)

    def test_block_at_test_time(self):
        """x + p F(x)."""
        x = image()
        module = block(3, 1, order="full_preact")
        variables = variables_of(module, x)
        branch = jax.jit(module.apply)(variables, x) - x
        halved = block(3, 1, order="full_preact", survival=0.5)
        np.testing.assert_allclose(
            jax.jit(halved.apply)(variables, x), x + 0.5 * branch, rtol=1e-4, atol=1e-4
        )

    def test_block_in_training(self):
        """relu(x) or relu(x + F(x)), and a gradient for F in the second case only."""
        x = jnp.asarray(image())
        module, sure = block(3, 1, survival=0.5), block(3, 1)
        variables = variables_of(module, x)

        @jax.jit
        def step(params, key):
            def loss(params):
                y, _ = module.apply(
                    {**variables, "params": params},
                    x,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": key},
                )
                return jnp.sum(y * image(seed=2)), y

            return jax.grad(loss, has_aux=True)(params)

        apply = jax.jit(partial(sure.apply, train=True, mutable=["batch_stats"]))
        there, _ = apply(variables, x)
        seen = set()
        for key in jax.random.split(jax.random.key(0), 8):
            gradient, y = step(variables["params"], key)
            kept = bool(np.abs(y - relu(x)).max() > 1e-3)
            np.testing.assert_allclose(y, there if kept else relu(x), rtol=1e-5, atol=1e-5)
            assert bool(np.any(gradient["conv1"]["kernel"])) == kept
            seen.add(kept)
        assert seen == {False, True}
