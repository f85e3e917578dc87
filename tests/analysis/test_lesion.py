"""Nets without some of their blocks, against nets that never had them and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import analysis, models, nn
from cnnlab.analysis.lesion import Block, blocks, lesioned, some, without
from cnnlab.models.resnet import ResNet

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 3)), jnp.float32)
ORDERS = ("original", "bn_after_add", "relu_before_add", "relu_preact", "full_preact")


def net(depths=(2, 2), shortcut="A", order="original", block=nn.ResidualBlock):
    return ResNet(
        block, depths, 5, filters=4, stem=(3, 1), pool=False, shortcut=shortcut, order=order
    )


def drawn(model):
    """Variables of which none has the value it starts with."""
    random = np.random.default_rng(1)

    def draw(path, leaf):
        kind, fan_in = path[-1].key, np.prod(leaf.shape[:-1])
        if kind == "kernel":
            values = random.normal(size=leaf.shape) * np.sqrt(2 / fan_in)
        elif kind in ("scale", "var"):
            values = random.uniform(0.5, 1.5, leaf.shape)
        else:
            values = random.normal(size=leaf.shape) / 3
        return jnp.asarray(values, jnp.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), X)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def cut(model, variables, *names):
    return np.asarray(lesioned(model, variables, X, without(names, blocks(model, X.shape[1:]))))


def head(variables, features):
    """Logits of the last feature maps [N, H, W, C], in NumPy."""
    fc = variables["params"]["fc"]
    return np.asarray(features).mean((1, 2)) @ np.asarray(fc["kernel"]) + np.asarray(fc["bias"])


def drop(variables, gone):
    return {kind: {k: v for k, v in tree.items() if k != gone} for kind, tree in variables.items()}


class TestBlocks:
    def test_of_resnet20(self):
        found = blocks(models.create("resnet20"), (32, 32, 3))
        assert [block.name for block in found] == [
            f"stage{stage}_block{i}" for stage in (1, 2, 3) for i in (1, 2, 3)
        ]
        changing = [block.name for block in found if not block.keeps_shape]
        assert changing == ["stage2_block1", "stage3_block1"]
        assert found == blocks(models.create("plain20"), (32, 32, 3))

    def test_a_net_without_any(self):
        with pytest.raises(ValueError, match="residual blocks, and this has none"):
            blocks(models.create("INPUT -> CONV3-4 -> RELU -> FC", classes=3), (8, 8, 3))

    def test_a_loop_of_them(self):
        with pytest.raises(ValueError, match="without it"):
            blocks(models.create("resnet20", scan=True), (32, 32, 3))


class TestLesioned:
    @pytest.mark.parametrize("shortcut", ["none", "A", "B"])
    def test_nothing_cut_out(self, shortcut):
        model = net(shortcut=shortcut)
        variables = drawn(model)
        np.testing.assert_array_equal(cut(model, variables), model.apply(variables, X))

    @pytest.mark.parametrize("shortcut", ["none", "A", "B"])
    def test_a_net_that_never_had_the_block(self, shortcut):
        model, shallow = net(shortcut=shortcut), net((1, 2), shortcut)
        variables = drawn(model)
        expected = shallow.apply(drop(variables, "stage1_block2"), X)
        assert np.abs(expected - model.apply(variables, X)).max() > 0.1
        np.testing.assert_allclose(cut(model, variables, "stage1_block2"), expected, rtol=1e-5)

    @pytest.mark.parametrize("shortcut", ["none", "A"])
    def test_two_that_it_never_had(self, shortcut):
        model, shallow = net(shortcut=shortcut), net((1, 1), shortcut)
        variables = drawn(model)
        expected = shallow.apply(drop(drop(variables, "stage1_block2"), "stage2_block2"), X)
        found = cut(model, variables, "stage2_block2", "stage1_block2")
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("name", ["stage1_block1", "stage2_block1", "stage2_block2"])
    def test_a_residual_block_whose_branch_says_nothing(self, order, name):
        """What F(x) = 0 comes to, whatever follows the sum."""
        model = net(order=order, shortcut="B")
        variables = drawn(model)
        params = variables["params"][name]
        silent = dict(params, conv2={"kernel": jnp.zeros_like(params["conv2"]["kernel"])})
        if order in ("original", "relu_before_add", "relu_preact"):  # a norm before the sum
            silent["bn2"] = jax.tree.map(jnp.zeros_like, params["bn2"])
        expected = model.apply(variables | {"params": variables["params"] | {name: silent}}, X)
        assert np.abs(expected - model.apply(variables, X)).max() > 1e-3
        np.testing.assert_allclose(cut(model, variables, name), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("shortcut", ["none", "A"])
    def test_a_down_sampling_block_leaves_every_other_pixel(self, shortcut):
        model = net((1, 1), shortcut)
        variables = drawn(model)
        before = analysis.activations(model, variables, X)
        last = "stage1_block1/relu2"
        kept = np.pad(before[last][:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, 4)))
        found = cut(model, variables, "stage2_block1")
        np.testing.assert_allclose(found, head(variables, kept), rtol=1e-5)

    def test_a_projection_stays(self):
        model = net((1, 1), "B")
        variables = drawn(model)
        before = analysis.activations(model, variables, X)["stage2_block1/shortcut_bn"]
        found = cut(model, variables, "stage2_block1")
        np.testing.assert_allclose(found, head(variables, np.maximum(before, 0)), rtol=1e-5)

    def test_bottlenecks_too(self):
        model = net((2, 1), "B", "full_preact", nn.Bottleneck)
        variables = drawn(model)
        shallow = net((1, 1), "B", "full_preact", nn.Bottleneck)
        expected = shallow.apply(drop(variables, "stage1_block2"), X)
        np.testing.assert_allclose(
            cut(model, variables, "stage1_block2"), expected, rtol=1e-5, atol=1e-6
        )

    def test_one_program_for_all(self):
        model = net()
        variables, found = drawn(model), blocks(model, X.shape[1:])
        traces = []

        @jax.jit
        def answer(kept):
            traces.append(kept)
            return lesioned(model, variables, X, kept)

        for block in found:
            expected = cut(model, variables, block.name)
            np.testing.assert_allclose(answer(without([block.name], found)), expected, rtol=1e-4)
        assert len(traces) == 1


FOUND = (Block("a", True), Block("b", False), Block("c", True), Block("d", True))


class TestRemovals:
    def test_without(self):
        assert without(["c"], FOUND) == {"a": True, "b": True, "c": False, "d": True}
        with pytest.raises(ValueError, match=r"'stage1_blok1'.*did you mean 'stage1_block1'"):
            without(["stage1_blok1"], blocks(net(), X.shape[1:]))

    def test_every_pair_is_as_likely(self):
        draws = some(FOUND, 2, draws=3000, seed=0)
        pairs = [tuple(sorted(draw)) for draw in draws]
        counts = {pair: pairs.count(pair) for pair in set(pairs)}
        assert set(counts) == {("a", "c"), ("a", "d"), ("c", "d")}
        assert all(abs(count - 1000) < 100 for count in counts.values())  # four deviations

    def test_a_seed_gives_the_same(self):
        assert some(FOUND, 1, draws=9, seed=3) == some(FOUND, 1, draws=9, seed=3)
        assert some(FOUND, 1, draws=9, seed=3) != some(FOUND, 1, draws=9, seed=4)

    def test_more_than_there_are(self):
        with pytest.raises(ValueError, match="4 blocks of the 3 that keep the shape"):
            some(FOUND, 4, draws=1, seed=0)
