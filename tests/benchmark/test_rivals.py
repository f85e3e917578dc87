"""The rivals compute what cnnlab does: the same logits from the same weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from flax.traverse_util import flatten_dict, unflatten_dict

from cnnlab import models
from cnnlab.benchmark import ours, plain_linen
from cnnlab.benchmark.structure import structure
from cnnlab.benchmark.suite import IMAGE, LAYERS, REGISTERED, Job, Layer

PATTERN = (
    "INPUT -> DROP0.2 -> CONV5-6 -> RELU -> POOL4/2p1 -> CONV4-8/2p1 -> BN -> RELU"
    " -> CONV1-4 -> POOL8 -> FC-7 -> RELU -> FC"
)
NETS = {"pattern": PATTERN, "resnet20": "resnet20", "cropped": "allcnn_c_all"}


def in_order(name):
    """conv2 before conv10, and a name that is not numbered first."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def paired(variables, rival):
    """cnnlab's numbers in the rival's tree: the n-th of a kind is the n-th of that kind."""
    kinds = {"conv": "Conv", "bn": "BatchNorm", "fc": "Dense", "stage": "Block"}

    def renamed(tree):
        counts, out = dict.fromkeys(kinds.values(), 0), {}
        for name in sorted(tree, key=in_order):
            kind = kinds[re.match("[a-z]+", name)[0]]
            leaves = tree[name]
            inner = any(isinstance(value, dict) for value in leaves.values())
            out[f"{kind}_{counts[kind]}"] = renamed(leaves) if inner else leaves
            counts[kind] += 1
        return out

    moved = {collection: renamed(tree) for collection, tree in variables.items()}
    expected, found = (
        {path: leaf.shape for path, leaf in flatten_dict(tree).items()} for tree in (rival, moved)
    )
    assert found == expected
    return moved


def drawn(model, x):
    """Variables of a network, each number drawn; variances positive."""
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), x))
    numbers = np.random.default_rng(1)
    return unflatten_dict(
        {
            path: jnp.asarray(numbers.uniform(0.5, 1.5, leaf.shape), jnp.float32)
            if path[-1] in ("var", "scale")
            else jnp.asarray(numbers.normal(0, 0.2, leaf.shape), jnp.float32)
            for path, leaf in shapes.items()
        }
    )


@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_plain_linen_gives_the_same_logits(text):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *IMAGE)), jnp.float32)
    model, rival = ours.network(text), plain_linen.network(text)
    variables = drawn(model, x)
    theirs = paired(variables, jax.eval_shape(rival.init, jax.random.key(0), x))
    expected = jax.jit(model.apply)(variables, x)
    found = jax.jit(rival.apply)(theirs, x)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_plain_linen_takes_the_same_step():
    """One step of SGD from the same weights: the loss, its gradient and the norms' statistics."""
    text = "INPUT -> CONV3-4 -> BN -> RELU -> POOL2 -> GAP -> FC"
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, *IMAGE)), jnp.float32)
    y, key, sgd = jnp.arange(4), jax.random.key(0), optax.sgd(0.1, 0.9)
    model, rival = ours.network(text), plain_linen.network(text)
    variables = drawn(model, x)
    states = []
    for side, network in ((ours, model), (plain_linen, rival)):
        create, step = side.training(network, sgd)
        state = jax.jit(create)(key)
        trees = variables
        if side is plain_linen:
            trees = paired(variables, {"params": state.params, "batch_stats": state.batch_stats})
        state = state.replace(params=trees["params"], batch_stats=trees["batch_stats"])
        states.append(jax.jit(step)(state, x, y, key))
    first, second = states
    moved = paired(
        {"params": first.params, "batch_stats": first.batch_stats},
        {"params": second.params, "batch_stats": second.batch_stats},
    )
    assert float(jnp.abs(first.params["fc1"]["bias"] - variables["params"]["fc1"]["bias"]).max())
    for name in ("params", "batch_stats"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            moved[name],
            getattr(second, name),
        )


@pytest.mark.parametrize("name", REGISTERED)
def test_as_many_weights(name):
    counts = []
    for side in (ours, plain_linen):
        model, keys = side.network(name), {"params": jax.random.key(0)}
        shapes = jax.eval_shape(model.init, keys, jnp.zeros((1, *IMAGE)))["params"]
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(shapes)))
    assert counts[0] == counts[1]


LAYER = Layer("x", channels=3, filters=5, kernel=5, size=9, padding=1)


@pytest.mark.parametrize("what", ["forward", "input gradient", "weight gradient"])
@pytest.mark.parametrize("side", [ours, plain_linen])
def test_a_pass_is_the_right_one(side, what):
    """Against NumPy's loop, on the numbers that the benchmark draws."""
    task = side.CONTENDER.prepare(Job("layer", LAYER, 2, what))
    found = np.asarray(task.call())
    assert task.weights == 5 * 5 * 3 * 5
    rng = np.random.default_rng
    x, w, g = (
        rng(0).standard_normal(shape, dtype=np.float32)
        for shape in ((2, 9, 9, 3), (5, 5, 3, 5), (2, 7, 7, 5))
    )
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y, dx, dw = np.zeros_like(g), np.zeros_like(padded), np.zeros_like(w)
    for i in range(7):
        for j in range(7):
            window = padded[:, i : i + 5, j : j + 5]
            y[:, i, j] = np.einsum("nuvc,uvck->nk", window, w)
            dw += np.einsum("nuvc,nk->uvck", window, g[:, i, j])
            dx[:, i : i + 5, j : j + 5] += np.einsum("uvck,nk->nuvc", w, g[:, i, j])
    expected = {"forward": y, "input gradient": dx[:, 1:-1, 1:-1], "weight gradient": dw}[what]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_what_the_rivals_cannot_build_is_refused():
    with pytest.raises(ValueError, match="LRN"):
        structure(ours.network("INPUT -> CONV3-4 -> LRN -> FC"))
    with pytest.raises(ValueError, match="option A"):
        structure(ours.network("preact110"))
    with pytest.raises(ValueError, match='POOL3/2 with fit="pad"'):
        structure(models.pattern("INPUT -> POOL3/2 -> GAP", fit="pad"))
    with pytest.raises(ValueError, match="Lonely"):
        structure(Lonely())


class Lonely(linen.Module):
    """A module that is no network of ours."""


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_layer_is_the_same_program_by_xla(monkeypatch, layer):
    """So that what the table tells between the two is the processes' own."""
    monkeypatch.setenv("CNNLAB_CONV", "xla")
    programs = (rival.CONTENDER.program(layer, 1) for rival in (ours, plain_linen))
    one, other = (re.sub(r"@\w+", "", program) for program in programs)
    assert one.count("stablehlo.convolution") == 3
    assert one == other


def test_pytorch_gives_the_same_logits():
    torch = pytest.importorskip("torch")
    from cnnlab.benchmark import torch_eager

    for text in NETS.values():
        x = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype(np.float32)
        model = ours.network(text)
        variables = drawn(model, jnp.asarray(x))
        rival = torch_eager.network(structure(model)).eval()
        state = torch_weights(variables, model)
        own = [name for name in rival.state_dict() if not name.endswith("num_batches_tracked")]
        assert len(own) == len(state)
        rival.load_state_dict(
            {n: torch.from_numpy(a) for n, a in zip(own, state, strict=True)}, strict=False
        )
        expected = jax.jit(model.apply)(variables, x)
        with torch.inference_mode():
            found = rival(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def torch_weights(variables, model):
    """The arrays in PyTorch's order and layout; a pattern's layers are in the order it names."""
    names = [step.name for step in getattr(model, "steps", ())] or blocks(variables["params"])
    out = []
    for name in names:
        params, stats = variables["params"], variables.get("batch_stats", {})
        for part in name.split("/"):
            params, stats = params.get(part, {}), stats.get(part, {})
        if "kernel" in params:
            kernel = np.asarray(params["kernel"])
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            out.append(kernel.transpose(axes))
        keys = [params.get("scale"), params.get("bias"), stats.get("mean"), stats.get("var")]
        out += [np.asarray(value) for value in keys if value is not None]
    return [array.copy() for array in out]


def blocks(params):
    inside = ["conv1", "bn1", "conv2", "bn2"]
    stages = sorted(name for name in params if name.startswith("stage"))
    return ["conv1", "bn1", *(f"{s}/{name}" for s in stages for name in inside), "fc"]


def test_the_layers_of_a_pattern_are_all_there():
    steps = structure(ours.network(PATTERN))
    assert steps[:4] == (
        ("dropout", 0.2),
        ("conv", 6, 5, 1, 2, True),
        ("relu",),
        ("max_pool", 4, 2, 1),
    )
    assert steps[4:6] == (("conv", 8, 4, 2, 1, False), ("bn",))
