import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnnlab import models
from cnnlab.training.optimizer import decay_mask, learning_rate, norm_biases, optimizer
from cnnlab.training.recipe import Recipe, plan

PARAMS = {
    "conv1": {"kernel": np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)},
    "bn1": {"scale": np.array([1.0, 3.0], np.float32), "bias": np.array([0.5, -0.5], np.float32)},
}
LEAVES = (("conv1", "kernel"), ("bn1", "scale"), ("bn1", "bias"))


def schedule(recipe: Recipe) -> Callable[[int], float]:
    rate = learning_rate(recipe, plan(recipe, 1257))
    return lambda step: float(rate(step))


@pytest.mark.parametrize("warmup", [0, 20])
def test_step_schedule(make_recipe: Callable[..., Recipe], warmup: int) -> None:
    rate = schedule(
        make_recipe(
            {
                "train.steps": 100,
                "schedule.name": "step",
                "schedule.warmup_steps": warmup,
                "schedule.milestones": (0.5, 0.75),
                "schedule.factor": 0.2,
                "optimizer.learning_rate": 0.4,
            }
        )
    )
    expected = {49: 0.4, 50: 0.08, 51: 0.08, 74: 0.08, 75: 0.016, 99: 0.016, 100: 0.016}
    expected |= {0: 0.0, 5: 0.1, 19: 0.38, 20: 0.4} if warmup else {0: 0.4, 5: 0.4}
    for step, value in expected.items():
        assert rate(step) == pytest.approx(value, rel=1e-5), step


@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_decay_to_zero(make_recipe: Callable[..., Recipe], name: str, warmup: int) -> None:
    recipe = make_recipe(
        {"train.steps": 60, "schedule.name": name, "optimizer.learning_rate": 0.3}
        | {"schedule.warmup_steps": warmup}
    )
    rate = schedule(recipe)
    for step in (0, 1, 9, 10, 11, 30, 35, 59, 60):
        along = (step - warmup) / (60 - warmup)
        left = 1 - along if name == "linear" else (1 + math.cos(math.pi * along)) / 2
        expected = 0.3 * step / warmup if step < warmup else 0.3 * left
        assert rate(step) == pytest.approx(expected, rel=1e-4, abs=1e-8), step
    assert rate(60) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_from_a_fraction_of_the_peak_to_another(
    make_recipe: Callable[..., Recipe], name: str
) -> None:
    rate = schedule(
        make_recipe(
            {"train.steps": 60, "schedule.name": name, "optimizer.learning_rate": 0.3}
            | {"schedule.warmup_steps": 10, "schedule.start": 0.2, "schedule.end": 0.05}
        )
    )
    middle = 0.3 * (1 + 0.05) / 2  # of a line and of half a cosine
    expected = {0: 0.06, 5: 0.18, 10: 0.3, 35: middle, 60: 0.015}
    assert {step: rate(step) for step in expected} == pytest.approx(expected)


def test_constant_warmup_is_that_of_resnet110(make_recipe: Callable[..., Recipe]) -> None:
    """0.01 for 400 steps, then 0.1, divided by 10 at 32,000 and 48,000 of 64,000."""
    rate = schedule(
        make_recipe(
            {"train.steps": 64_000, "schedule.name": "step", "optimizer.learning_rate": 0.1}
            | {"schedule.warmup_steps": 400, "schedule.warmup_rate": 0.01}
        )
    )
    expected = {0: 0.01, 399: 0.01, 400: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01}
    expected |= {48_000: 0.001, 63_999: 0.001}
    assert {step: rate(step) for step in expected} == pytest.approx(expected)


def test_milestones_that_fall_on_one_step_both_count(
    make_recipe: Callable[..., Recipe],
) -> None:
    changes = {"train.steps": 4, "schedule.name": "step", "schedule.milestones": (0.5, 0.51)}
    rate = schedule(make_recipe(changes | {"optimizer.learning_rate": 1.0}))
    assert [rate(1), rate(3)] == pytest.approx([1.0, 0.01])


def test_only_kernels_decay() -> None:
    text = "INPUT -> CONV3-2 -> BN -> RELU -> CONV1-2 -> LOCAL3-2 -> RELU -> FC-3 -> BN -> FC"
    net = models.pattern(text, classes=2)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    assert params["local1"]["bias"].ndim == 3  # LOCAL: one a position
    flat = jax.tree_util.tree_leaves_with_path(decay_mask(params))
    decays = {jax.tree_util.keystr(path, simple=True, separator="."): mask for path, mask in flat}
    assert decays == {
        "conv1.kernel": True,
        "bn1.scale": False,
        "bn1.bias": False,
        "conv2.kernel": True,
        "conv2.bias": False,
        "local1.kernel": True,
        "local1.bias": False,
        "fc1.kernel": True,
        "bn2.scale": False,
        "bn2.bias": False,
        "fc2.kernel": True,
        "fc2.bias": False,
    }


def gradients(steps: int) -> list[dict[str, dict[str, np.ndarray]]]:
    random = np.random.default_rng(3)

    def like(leaf: np.ndarray) -> np.ndarray:
        return random.normal(size=leaf.shape).astype(np.float32)

    return [jax.tree.map(like, PARAMS) for _ in range(steps)]


def train(recipe: Recipe, steps: int) -> dict[str, dict[str, np.ndarray]]:
    adapt, params = optimizer(recipe, plan(recipe, 1257)), PARAMS
    state, update = adapt.init(params), jax.jit(adapt.update)
    for gradient in gradients(steps):
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_against_a_loop(make_recipe: Callable[..., Recipe], nesterov: bool) -> None:
    recipe = make_recipe(
        {
            "train.steps": 8,
            "schedule.name": "linear",
            "optimizer.learning_rate": 0.2,
            "optimizer.momentum": 0.7,
            "optimizer.nesterov": nesterov,
            "optimizer.weight_decay": 0.1,
        }
    )
    trained = train(recipe, steps=5)
    for layer, name in LEAVES:
        p, velocity = PARAMS[layer][name].astype(np.float64), 0.0
        for step, gradient in enumerate(gradients(5)):
            g = gradient[layer][name] + (0.1 * p if name == "kernel" else 0.0)
            velocity = 0.7 * velocity + g
            p = p - 0.2 * (1 - step / 8) * (g + 0.7 * velocity if nesterov else velocity)
        np.testing.assert_allclose(trained[layer][name], p, rtol=1e-5)


def test_adamw_against_a_loop(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(
        {
            "train.steps": 8,
            "schedule.name": "linear",
            "optimizer.name": "adamw",
            "optimizer.learning_rate": 0.2,
            "optimizer.momentum": 0.7,
            "optimizer.weight_decay": 0.1,
        }
    )
    first, trained = train(recipe, steps=1), train(recipe, steps=4)
    for layer, name in LEAVES:
        p, decay = PARAMS[layer][name].astype(np.float64), 0.1 if name == "kernel" else 0.0
        g = gradients(1)[0][layer][name]
        at_once = p - 0.2 * (np.sign(g) + decay * p)  # the two averages cancel but for the sign
        np.testing.assert_allclose(first[layer][name], at_once, rtol=1e-5)
        mean = square = 0.0
        for step, gradient in enumerate(gradients(4)):
            g = gradient[layer][name].astype(np.float64)
            mean, square = 0.7 * mean + 0.3 * g, 0.999 * square + 0.001 * g**2
            unbiased, root = mean / (1 - 0.7 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
            p = p - 0.2 * (1 - step / 8) * (unbiased / (np.sqrt(root) + 1e-8) + decay * p)
        np.testing.assert_allclose(trained[layer][name], p, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_moves_kernels_alone(make_recipe: Callable[..., Recipe], name: str) -> None:
    changes = {"train.steps": 8, "optimizer.name": name}
    without, heavy = (
        train(make_recipe(changes | {"optimizer.weight_decay": decay}), steps=1)
        for decay in (0.0, 0.5)
    )
    for layer, leaf in LEAVES:
        same = np.array_equal(without[layer][leaf], heavy[layer][leaf])
        assert same == (leaf != "kernel"), (layer, leaf)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_biases_of_norms_at_a_rate_of_their_own(
    make_recipe: Callable[..., Recipe], name: str
) -> None:
    changes = {"train.steps": 8, "optimizer.name": name, "optimizer.learning_rate": 0.01}
    plain = train(make_recipe(changes), 3)
    found = train(make_recipe(changes | {"optimizer.norm_bias_factor": 5.0}), 3)
    for layer, leaf in LEAVES:
        moved, before = (tree[layer][leaf] - PARAMS[layer][leaf] for tree in (found, plain))
        factor = 5 if leaf == "bias" else 1
        np.testing.assert_allclose(moved, factor * before, rtol=1e-4, err_msg=leaf)


def test_which_biases_are_those_of_norms() -> None:
    net = models.pattern("INPUT -> CONV3-2 -> RELU -> CONV3-2 -> BN -> FC", classes=2)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    flat = jax.tree_util.tree_leaves_with_path(norm_biases(params))
    chosen = [jax.tree_util.keystr(path, simple=True, separator=".") for path, yes in flat if yes]
    assert chosen == ["bn1.bias"]
