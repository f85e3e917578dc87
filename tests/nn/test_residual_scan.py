"""Blocks run as one loop against the same blocks one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models, nn
from cnnlab.models.resnet import ResNet


def unrolled(stacked):
    """The parameters, or the statistics, of the twin that does not scan."""
    flat = {}
    for name, tree in stacked.items():
        if not name.endswith("_blocks"):
            flat[name] = tree
            continue
        times = len(jax.tree.leaves(tree)[0])
        for i in range(times):
            flat[f"{name.removesuffix('s')}{i + 2}"] = jax.tree.map(lambda leaf, i=i: leaf[i], tree)
    return flat


def random_like(tree):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.float32(rng.uniform(0.3, 1.0, leaf.shape)), tree)


@pytest.mark.parametrize(
    ("block", "shortcut", "order", "train"),
    [
        (nn.ResidualBlock, "A", "original", False),
        (nn.ResidualBlock, "none", "original", True),
        (nn.Bottleneck, "B", "full_preact", True),
        (nn.ResidualBlock, "C", "relu_before_add", True),
    ],
)
def test_scanned_is_unrolled(block, shortcut, order, train):
    """Logits, gradients and moved statistics, in stages of three blocks and of one."""
    net = ResNet(block, (3, 1), 3, 2, (3, 1), False, shortcut, order, scan=True)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 6, 6, 3)), jnp.float32)
    variables = random_like(jax.eval_shape(net.init, jax.random.key(0), x))

    def all_of(net):
        @jax.jit
        def compute(variables):
            def loss(params):
                both = variables | {"params": params}
                logits, moved = net.apply(both, x, train=train, mutable=["batch_stats"])
                return jnp.square(logits - 1).sum(), (logits, moved["batch_stats"])

            return jax.grad(loss, has_aux=True)(variables["params"])

        return compute

    gradient, (logits, moved) = all_of(net)(variables)
    twin = {name: unrolled(tree) for name, tree in variables.items()}
    expected = all_of(net.clone(scan=False))(twin)
    found = (unrolled(gradient), (logits, unrolled(moved)))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())
    assert set(variables["params"]) == {
        *("conv1", "bn1", "stage1_block1", "stage1_blocks", "stage2_block1", "fc"),
        *(["bn"] if order == "full_preact" else []),
    }


def test_every_block_of_a_loop_is_drawn_for_itself():
    net = ResNet(nn.ResidualBlock, (3,), 10, 32, (3, 1), False, scan=True)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    first, second = variables["params"]["stage1_blocks"]["conv1"]["kernel"]
    assert np.std(first) == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.05)
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) < 0.05


@pytest.mark.parametrize("names", [("resnet20", "resnet1202"), ("resnet50", "resnet152")])
def test_a_deeper_net_is_no_larger_program_forward_and_backward(names):
    def length(name):
        net = models.create(name, scan=True, classes=10, dtype=jnp.bfloat16)
        x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        variables = jax.eval_shape(net.init, jax.random.key(0), x)

        def loss(params, stats, x):
            both = {"params": params, "batch_stats": stats}
            logits, new = net.apply(both, x, train=True, mutable=["batch_stats"])
            return logits.mean(), new

        slope = jax.jit(jax.grad(loss, has_aux=True))
        return len(slope.lower(variables["params"], variables["batch_stats"], x).as_text())

    shallow, deep = map(length, names)
    assert deep == pytest.approx(shallow, rel=0.02)


def test_summed_up_as_the_twin():
    scanned, twin = (
        cnnlab.summarize(models.create("preact164", scan=scan), (32, 32, 3))
        for scan in (True, False)
    )
    assert scanned.rows == twin.rows
    assert scanned.params == 1_703_258


def test_what_a_scan_cannot_do():
    with pytest.raises(ValueError, match=r"alike; with survival=0\.5 each has its own"):
        models.create("resnet20", scan=True, survival=0.5)
    net = models.create("plain20", scan=True)
    with pytest.raises(NotImplementedError, match="without it"):
        cnnlab.activations(net, {}, jnp.zeros((1, 8, 8, 3)))
