"""The compiled step against the same arithmetic written out by hand."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import models, ops
from cnnlab.data import Dataset
from cnnlab.training import placement
from cnnlab.training import program as program_module
from cnnlab.training import step as steps_module
from cnnlab.training.averaging import moving_average
from cnnlab.training.feed import training_set
from cnnlab.training.optimizer import optimizer
from cnnlab.training.program import Program, build_model, compiled
from cnnlab.training.recipe import Recipe, plan
from cnnlab.training.state import State, create_state, digest
from cnnlab.training.step import cross_entropy, epoch_order, turned, wrong

KEY = jax.random.key(5)
PLAIN = {
    "model.name": "INPUT -> CONV3-2 -> BN -> RELU -> FC",
    "train.batch_size": 3,
    "train.steps": 9,
    "schedule.name": "linear",
    "optimizer.learning_rate": 0.5,
    "optimizer.momentum": 0.8,
    "optimizer.weight_decay": 0.01,
    "optimizer.label_smoothing": 0.2,
    "optimizer.ema_decay": 0.75,
    "augment.crop_padding": 0,
}


def advance(program: Program, tiny: Dataset, state: State, steps: int) -> State:
    training = training_set(tiny)
    for _ in range(steps):
        order = program.feed.order(KEY, int(state.step) // program.plan.steps_per_epoch)
        state = program.train(state, training.images, training.labels, order, KEY)
    return state


def by_hand(recipe: Recipe, tiny: Dataset, state: State, orders: list[np.ndarray]) -> dict:
    """Training step by step; SGD and averages in NumPy, the gradient of a loss spelt out."""
    model, (images, labels) = build_model(recipe.model, 3), tiny.split("train")
    pixels = images.astype(np.float32) / 255
    x = (pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
    variables = jax.tree.map(np.asarray, {"params": state.params, "batch_stats": state.batch_stats})
    params, stats, average = variables["params"], variables["batch_stats"], variables
    velocity = jax.tree.map(np.zeros_like, params)
    losses, wrongs = [], []

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def slope(params: dict, stats: dict, x: jax.Array, targets: jax.Array) -> tuple:
        both = {"params": params, "batch_stats": stats}
        logits, moved = model.apply(both, x, train=True, mutable=["batch_stats"])
        log_p = logits - jnp.log(jnp.exp(logits).sum(-1, keepdims=True))
        return -(targets * log_p).sum() / 3, (logits, moved["batch_stats"])

    for step, batch in enumerate(np.concatenate(orders)):
        targets = 0.8 * np.eye(3)[labels[batch]] + 0.2 / 3

        (loss, (logits, stats)), gradient = slope(params, stats, x[batch], targets)
        gradient = jax.tree_util.tree_map_with_path(
            lambda path, g, p: g + 0.01 * p if "kernel" in str(path[-1]) else g, gradient, params
        )
        velocity = jax.tree.map(lambda v, g: 0.8 * v + g, velocity, gradient)
        rate = 0.5 * (1 - step / 9)
        params = jax.tree.map(
            lambda p, g, v, rate=rate: p - rate * (g + 0.8 * v), params, gradient, velocity
        )
        fresh = {"params": params, "batch_stats": stats}
        kept = 0.75
        if recipe.optimizer.lookahead:
            kept = 0.95**2 * ((step + 1) / 9) ** 3 if step % 2 else 1.0
        average = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, fresh)  # noqa: B023
        if recipe.optimizer.lookahead and step % 2:
            fresh = average
            params, stats = fresh["params"], fresh["batch_stats"]
        losses.append(float(loss))
        wrongs.append(int((np.asarray(logits).argmax(-1) != labels[batch]).sum()))
    return fresh | {"average": average, "losses": losses, "wrongs": wrongs}


@pytest.mark.parametrize("lookahead", [0, 2])
def test_five_steps_are_those_written_by_hand(
    make_recipe: Callable[..., Recipe], tiny: Dataset, lookahead: int
) -> None:
    changes = {"optimizer.lookahead": lookahead, "optimizer.ema_decay": 0.0} if lookahead else {}
    recipe = make_recipe(PLAIN | changes)
    program = compiled(recipe, tiny)
    start = program.begin(KEY)
    orders = [np.asarray(program.feed.order(KEY, epoch)) for epoch in (0, 1)]
    expected = by_hand(recipe, tiny, start, [orders[0], orders[1][:2]])
    state = advance(program, tiny, start, 5)
    assert int(state.step) == 5
    found = {"params": state.params, "batch_stats": state.batch_stats, "average": state.average}
    for name, tree in found.items():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5),
            tree,
            expected[name],
        )
    assert state.variables is state.average
    # The tally is of the second epoch's two batches.
    assert int(state.tally.examples) == 6
    assert float(state.tally.loss) == pytest.approx(3 * sum(expected["losses"][3:]), rel=1e-3)
    assert int(state.tally.wrong) == sum(expected["wrongs"][3:])
    assert int(state.tally.bad_step) == -1


def test_an_epochs_first_batch_begins_the_tally_anew(
    make_recipe: Callable[..., Recipe], tiny: Dataset
) -> None:
    program = compiled(make_recipe(PLAIN), tiny)
    state, counted = program.begin(KEY), []
    for _ in range(7):
        state = advance(program, tiny, state, 1)
        counted.append(int(state.tally.examples))
    assert counted == [3, 6, 9, 3, 6, 9, 3]


def test_the_first_bad_step_is_the_one_noted(
    make_recipe: Callable[..., Recipe], tiny: Dataset
) -> None:
    program = compiled(make_recipe(PLAIN), tiny)
    state = advance(program, tiny, program.begin(KEY), 2)
    spoilt = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state.params)
    state = advance(program, tiny, state.replace(params=spoilt), 3)
    assert int(state.tally.bad_step) == 2


@pytest.mark.parametrize(
    ("changes", "random"),
    [
        ({}, False),
        ({"model.name": "INPUT -> FC -> DROP0.5"}, True),
        ({"augment.crop_padding": 1}, True),
    ],
)
def test_what_is_random_differs_between_steps_and_never_at_a_step(
    linear: Callable[[dict[str, object]], Program],
    tiny: Dataset,
    changes: dict[str, object],
    random: bool,
) -> None:
    program, training = linear(changes), training_set(tiny)
    order = program.feed.order(KEY, 0)

    def loss_at(step: int) -> float:  # 0 and 3 take the same batch of `order`
        state = program.begin(KEY).replace(step=jnp.int32(step))
        tally = program.train(state, training.images, training.labels, order, KEY).tally
        return float(tally.loss)

    assert loss_at(0) == loss_at(0)
    assert (loss_at(0) != loss_at(3)) == random


def test_an_epochs_order(linear: Callable[[dict[str, object]], Program]) -> None:
    def order(seed: int, epoch: int) -> np.ndarray:
        return np.asarray(linear({}).feed.order(jax.random.key(seed), epoch))

    first = order(0, 0)
    assert first.shape == (3, 3)
    assert np.array_equal(first, order(0, 0))
    assert not np.array_equal(first, order(0, 1))
    assert not np.array_equal(first, order(1, 0))
    left_out = []
    for epoch in range(100):
        shown = order(0, epoch).ravel()
        assert len(set(shown)) == 9
        left_out += set(range(10)) - set(shown)
    assert len(left_out) == 100
    assert set(left_out) == set(range(10))  # every image has its turn to sit out


def test_every_image_is_seen_from_both_sides_in_two_epochs() -> None:
    first, second, third = (turned(KEY, epoch, examples=400) for epoch in (0, 1, 2))
    assert (first != second).all()
    assert (first == third).all()
    assert abs(int(first.sum()) - 200) < 5 * 10  # five deviations of 400 coins
    assert (first != turned(jax.random.key(6), 0, examples=400)).any()


def test_an_epochs_batches_are_mirrored_as_it_has_turned_them(
    linear: Callable[[dict[str, object]], Program], tiny: Dataset
) -> None:
    still = {"augment.flip": True, "augment.alternate": True, "optimizer.learning_rate": 0.0}
    program, training = linear(still), training_set(tiny)
    state = program.begin(KEY)
    layer = jax.tree.map(np.asarray, state.params["fc1"])
    sides = [np.asarray(training.images), np.asarray(training.images)[:, :, ::-1]]
    for epoch in range(2):
        batches = np.asarray(program.feed.order(KEY, epoch)).ravel()
        mirrored = np.asarray(turned(KEY, epoch, examples=10))[batches]
        shown = np.where(mirrored[:, None, None, None], sides[1][batches], sides[0][batches])
        x = (shown / 255.0 - training.mean) / training.std
        logits = x.reshape(9, -1) @ layer["kernel"] + layer["bias"]
        labels = training.labels[batches]
        state = advance(program, tiny, state, 3)
        expected = cross_entropy(jnp.asarray(logits, jnp.float32), labels, 0.0)
        assert float(state.tally.loss) == pytest.approx(float(expected.sum()), rel=1e-4)


def test_whitening_filters_are_those_of_the_training_images_and_stay(
    make_recipe: Callable[..., Recipe], tiny: Dataset
) -> None:
    recipe = make_recipe(PLAIN | {"model.name": "INPUT -> WHITEN2 -> RELU -> FC"})
    program, training = compiled(recipe, tiny), training_set(tiny)
    state = program.begin(KEY)
    x = (np.asarray(training.images) / 255.0 - training.mean) / training.std
    half = np.asarray(ops.whitening_filters(jnp.asarray(x, jnp.float32), 2))
    expected = np.concatenate([half, -half], axis=-1)
    assert "whiten1" not in state.params
    for _ in range(2):
        found = np.asarray(state.batch_stats["whiten1"]["kernel"])
        signs = np.sign((found * expected).sum((0, 1, 2)))
        np.testing.assert_allclose(found * signs, expected, rtol=1e-3, atol=1e-4)
        state = advance(program, tiny, state, 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_against_numpy(smoothing: float) -> None:
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(6, 4)) * 5, random.integers(0, 4, 6)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    found = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(found, -(targets * log_p).sum(1), rtol=1e-5)


def test_cross_entropy_of_bfloat16_is_computed_in_float32() -> None:
    logits = jnp.array([[300.0, 299.0, 0.0]], jnp.bfloat16)
    loss = cross_entropy(logits, jnp.array([1]), 0.0)
    assert loss.dtype == jnp.float32
    gap = float(logits[0, 0]) - float(logits[0, 1])
    assert float(loss[0]) == pytest.approx(gap + np.log1p(np.exp(-gap)), rel=1e-6)


def test_wrong_is_where_another_class_is_largest() -> None:
    logits = jnp.array([[0.1, 0.9], [0.9, 0.1], [-2.0, -1.0]])
    assert wrong(logits, jnp.array([1, 1, 0])).tolist() == [0, 1, 1]


def test_bfloat16_computes_low_and_keeps_float32(
    make_recipe: Callable[..., Recipe],
    linear: Callable[[dict[str, object]], Program],
    tiny: Dataset,
) -> None:
    low = {"model.dtype": "bfloat16"}
    program, model = linear(low), build_model(make_recipe(PLAIN | low).model, classes=3)
    variables = jax.eval_shape(model.init, KEY, jnp.zeros((2, 4, 4, 1)))
    assert jax.eval_shape(model.apply, variables, jnp.zeros((2, 4, 4, 1))).dtype == jnp.bfloat16
    start = program.begin(KEY)
    assert start.average is None
    assert start.variables == {"params": start.params, "batch_stats": start.batch_stats}
    before, full = digest(start.params), advance(linear({}), tiny, program.begin(KEY), 3)
    state = advance(program, tiny, start, 3)
    floats = (variables, state.params, state.opt_state[1][0].trace, state.tally.loss)
    assert {leaf.dtype for leaf in jax.tree.leaves(floats)} == {jnp.dtype("float32")}
    assert len({before, digest(state.params), digest(full.params)}) == 3
    assert float(state.tally.loss) == pytest.approx(float(full.tally.loss), rel=0.05)


def test_digest_is_of_bits() -> None:
    tree = {"a": jnp.zeros(2), "b": jnp.ones(3)}
    others = [
        {"a": jnp.array([0.0, -0.0]), "b": tree["b"]},
        {"a": jnp.zeros(2, jnp.int32), "b": tree["b"]},
        {"a": jnp.zeros((2, 1)), "b": tree["b"]},
        {"c": jnp.zeros(2), "b": tree["b"]},
    ]
    assert digest(tree) == digest(jax.tree.map(np.array, tree))
    assert len({digest(tree), *map(digest, others)}) == 5


def test_the_step_lowers_for_every_platform_and_donates_its_state(
    make_recipe: Callable[..., Recipe],
) -> None:
    recipe = make_recipe(PLAIN | {"augment.crop_padding": 1, "augment.flip": True})
    model = models.pattern("INPUT -> CONV3-2 -> BN -> RELU -> DROP0.5 -> FC", classes=3)
    adapt = optimizer(recipe, plan(recipe, 10))
    update = steps_module.make_update(
        model, adapt, label_smoothing=0.2, averaging=moving_average(0.75)
    )
    train_step = steps_module.make_train_step(
        update,
        mean=jnp.zeros(1),
        std=jnp.ones(1),
        augment={"crop_padding": 1, "flip": True},
        shares=placement.in_shares(),
    )

    def create(key: jax.Array) -> State:
        return create_state(model, adapt, key, jnp.zeros((1, 4, 4, 1)), averaged=True)

    state = jax.eval_shape(create, KEY)
    order = jax.eval_shape(lambda key: epoch_order(key, 0, examples=10, batch_size=3), KEY)
    images = jax.ShapeDtypeStruct((10, 4, 4, 1), jnp.uint8)
    labels = jax.ShapeDtypeStruct((10,), jnp.int32)
    platforms = ["cpu", "cuda", "tpu"]
    jitted = jax.jit(train_step, donate_argnums=0)
    exported = jax.export.export(jitted, platforms=platforms)(state, images, labels, order, KEY)
    assert list(exported.platforms) == platforms
    assert [leaf.shape for leaf in exported.out_avals] == [
        leaf.shape for leaf in jax.tree.leaves(state)
    ]
    text = exported.mlir_module()
    donated = text.count("jax.buffer_donor = true") + text.count("tf.aliasing_output")
    assert donated == len(jax.tree.leaves(state))


def test_a_state_has_the_bits_of_a_thoroughly_optimised_initialisation(
    make_recipe: Callable[..., Recipe], tiny: Dataset
) -> None:
    name = "INPUT -> WHITEN3 -> CONV3-5 -> BN -> RELU -> FC-7 -> RELU -> FC"
    recipe = make_recipe(PLAIN | {"model.name": name})
    program, pure = compiled(recipe, tiny), program_module.program(recipe, tiny)
    thorough = jax.jit(pure.create)(KEY, pure.feed.sample())
    assert digest(program.begin(KEY).variables) == digest(thorough.variables)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), thorough)
    assert program.shapes == shapes
