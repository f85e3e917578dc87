"""Weights know the input that they were made for, and refuse another: both are named."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import linen, serialization
from flax.traverse_util import flatten_dict

from cnnlab import nn, ops
from cnnlab.geometry import DoesNotFit


def made(layer, *image):
    return jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, *image)))


class Head(linen.Module):
    @linen.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(2, name="fc2")(nn.Dense(3, name="fc1")(x))


class TestMemory:
    def test_is_a_name_and_no_array(self):
        variables = made(Head(), 4, 9, 3)
        assert variables["made_for"] == {"fc1": {"4x9x3": {}}}
        assert nn.MADE_FOR == "made_for"
        kinds = {path[0] for path in flatten_dict(variables)}
        assert kinds == {"params"}
        assert len(jax.tree.leaves(variables)) == 4

    def test_of_the_module_itself(self):
        assert made(nn.Dense(3), 2, 2, 1)["made_for"] == {"2x2x1": {}}

    def test_a_vector_needs_none(self):
        assert set(made(Head(), 7)) == {"params"}

    def test_goes_with_the_variables(self, tmp_path):
        """Through jit, abstract shapes, bytes and a checkpoint."""
        variables = made(Head(), 4, 9, 3)
        copies = [
            jax.jit(lambda x: x)(variables),
            jax.eval_shape(lambda x: x, variables),
            jax.tree.map(jnp.copy, variables),
            serialization.from_bytes(variables, serialization.to_bytes(variables)),
        ]
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "saved", variables)
            checkpointer.wait_until_finished()
            copies.append(checkpointer.restore(tmp_path / "saved"))
        for copy in copies:
            with pytest.raises(nn.OtherSize, match="fc1's weights were made for 4x9x3, not 6x6x3"):
                jax.eval_shape(Head().apply, copy, jnp.zeros((1, 6, 6, 3)))

    def test_is_not_changed_by_use(self):
        variables, x = made(Head(), 4, 9, 3), jnp.zeros((2, 4, 9, 3))
        _, updates = Head().apply(variables, x, train=True, mutable=["batch_stats"])
        assert updates == {}
        _, after = Head().apply({"params": variables["params"]}, x, mutable=True)
        assert set(after) == {"params"}

    def test_is_no_part_of_a_training_state(self):
        """Checkpoints of runs hold arrays, as ever; a run has images of one size."""
        params = {"params": made(Head(), 4, 9, 3)["params"]}
        assert jax.eval_shape(Head().apply, params, jnp.zeros((1, 4, 9, 3))).shape == (1, 2)


class TestRefused:
    @pytest.mark.parametrize(
        "image",
        [(9, 4, 3), (6, 6, 3), (4, 3, 9), (108, 1, 1), (36, 3), (108,), (4, 9, 4), (5, 9, 3)],
    )
    def test_another_volume(self, image):
        """As many numbers or not: those of 4x9x3 lie elsewhere in it."""
        variables = made(nn.Dense(3), 4, 9, 3)
        written = "x".join(map(str, image))
        with pytest.raises(
            nn.OtherSize, match=f"dense's weights were made for 4x9x3, not {written}"
        ):
            jax.eval_shape(nn.Dense(3).apply, variables, jnp.zeros((1, *image)))

    def test_without_the_memory_the_number_is_known(self):
        variables = {"params": made(nn.Dense(3), 6, 6, 2)["params"]}
        message = r"made for 72 numbers, not the 98 of 7x7x2"
        with pytest.raises(nn.OtherSize, match=message) as caught:
            jax.eval_shape(nn.Dense(3).apply, variables, jnp.zeros((1, 7, 7, 2)))
        assert caught.value.map_size == (6, 6)
        with pytest.raises(nn.OtherSize, match="not the 80 of 5x8x2") as caught:
            jax.eval_shape(nn.Dense(3).apply, variables, jnp.zeros((1, 5, 8, 2)))
        assert caught.value.map_size == (6, 6)
        variables = {"params": made(nn.Dense(3), 5, 7, 2)["params"]}
        for image in ((7, 7, 2), (98,)):
            with pytest.raises(nn.OtherSize) as caught:
                jax.eval_shape(nn.Dense(3).apply, variables, jnp.zeros((1, *image)))
            assert caught.value.map_size is None

    @pytest.mark.parametrize(
        ("layer", "image", "other", "held", "wanted"),
        [
            (nn.Conv(4, 3), (5, 5, 3), (5, 5, 1), [3, 3, 3, 4], [3, 3, 1, 4]),
            (nn.LocalConv(4, 3), (5, 5, 1), (5, 6, 1), [5, 5, 3, 3, 1, 4], [5, 6, 3, 3, 1, 4]),
            (nn.BatchNorm(), (5, 5, 3), (5, 5, 2), [3], [2]),
            (nn.Subsample(), (4, 4, 3), (4, 4, 2), [3], [2]),
        ],
    )
    def test_every_layer_with_weights(self, layer, image, other, held, wanted):
        variables = made(layer, *image)
        with pytest.raises(nn.OtherSize) as caught:
            jax.eval_shape(layer.apply, variables, jnp.zeros((1, *other)))
        assert f" is {held}, and this one calls for {wanted}" in str(caught.value)
        local = isinstance(layer, nn.LocalConv)
        assert caught.value.map_size == ((5, 5) if local else None)

    def test_is_a_mistake_of_size(self):
        assert issubclass(nn.OtherSize, DoesNotFit)


class TestPooledTo:
    layer = nn.Dense(3, pooled_to=(2, 3))

    @pytest.mark.parametrize("image", [(2, 3, 4), (7, 3, 4), (5, 9, 4), (1, 1, 4)])
    def test_an_fc_on_the_average(self, image):
        variables = made(self.layer, 8, 8, 4)
        assert variables["made_for"] == {"2x3x4": {}}
        x = jax.random.normal(jax.random.key(0), (2, *image))
        pooled = ops.adaptive_avg_pool(x, size=(2, 3))
        p = variables["params"]
        expected = np.asarray(pooled).reshape(2, -1) @ p["kernel"] + p["bias"]
        np.testing.assert_allclose(self.layer.apply(variables, x), expected, rtol=1e-4, atol=1e-5)

    def test_its_own_size_gives_the_same_bits(self):
        variables, x = made(self.layer, 2, 3, 4), jnp.arange(24.0).reshape(1, 2, 3, 4)
        assert (self.layer.apply(variables, x) == nn.Dense(3).apply(variables, x)).all()

    def test_another_depth(self):
        variables = made(self.layer, 2, 3, 4)
        with pytest.raises(nn.OtherSize, match="made for 2x3x4, not 2x3x5"):
            jax.eval_shape(self.layer.apply, variables, jnp.zeros((1, 9, 9, 5)))
