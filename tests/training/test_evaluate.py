import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from cnnlab.data import Dataset, Images
from cnnlab.training.evaluate import evaluate
from cnnlab.training.feed import training_set
from cnnlab.training.program import Program, compiled
from cnnlab.training.recipe import Recipe


@pytest.mark.parametrize("batch_size", [1, 3, 6, 7, 20])
def test_every_image_counts_once(batch_size: int) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (7, 2, 2, 1), dtype=np.uint8)
    split, traced = Images(images, np.arange(7, dtype=np.int32)), []

    @jax.jit
    def loss_is_first_pixel(variables: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        traced.append(images.shape)
        return images[:, 0, 0, 0] / 255 + variables, labels % 3 == 0

    score = evaluate(loss_is_first_pixel, 2.0, split, batch_size)
    assert score.error == pytest.approx(100 * 3 / 7)
    assert score.loss == pytest.approx(2 + images[:, 0, 0, 0].mean() / 255, rel=1e-6)
    assert traced == [(batch_size, 2, 2, 1)]


def test_batches_give_what_the_whole_split_at_once_gives(
    linear: Callable[[dict[str, object]], Program], tiny: Dataset
) -> None:
    program, split = linear({}), tiny.split("validation")
    variables = program.begin(jax.random.key(0)).variables
    score = evaluate(program.evaluate, variables, split, batch_size=3)
    pixels = tiny.split("train").images / 255
    x = (split.images / 255 - pixels.mean()) / pixels.std()
    layer = variables["params"]["fc1"]
    kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    logits = x.reshape(7, 16) @ kernel + bias
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert score.loss == pytest.approx(-log_p[np.arange(7), split.labels].mean(), rel=1e-5)
    assert score.error == pytest.approx(100 * np.mean(logits.argmax(1) != split.labels))


@pytest.mark.parametrize(("flip", "shift"), [(True, False), (False, True), (True, True)])
def test_the_mean_of_several_views_logits_is_scored(
    linear: Callable[[dict[str, object]], Program], tiny: Dataset, flip: bool, shift: bool
) -> None:
    program, split = (
        linear({"train.eval_flip": flip, "train.eval_shift": shift}),
        tiny.split("test"),
    )
    variables = program.begin(jax.random.key(0)).variables
    pixels = tiny.split("train").images / 255
    x = (split.images / 255 - pixels.mean()) / pixels.std()
    kernel, bias = (np.asarray(variables["params"]["fc1"][name]) for name in ("kernel", "bias"))

    def of_its_sides(x: np.ndarray) -> np.ndarray:
        one, other = (side.reshape(len(x), 16) @ kernel + bias for side in (x, x[:, :, ::-1]))
        return (one + other) / 2 if flip else one

    logits = of_its_sides(x)
    if shift:
        around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        moved = [of_its_sides(around[:, i : i + 4, i : i + 4]) for i in (0, 2)]
        logits = logits / 2 + sum(moved) / 4
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    score = evaluate(program.evaluate, variables, split, batch_size=5)
    assert score.loss == pytest.approx(-log_p[np.arange(len(x)), split.labels].mean(), rel=1e-5)
    assert score.error == pytest.approx(100 * np.mean(logits.argmax(1) != split.labels))


def test_images_prepared_before_are_taken_as_they_are(
    make_recipe: Callable[..., Recipe], tiny: Dataset
) -> None:
    """In training and in evaluation: a linear net's own losses on the numbers given."""

    def split(name: str) -> Images:
        images, labels = tiny.split(name)
        return Images((images / 7 - 20).astype(np.float32), labels)

    dataset = dataclasses.replace(tiny, _load=split, preprocess="gcn_zca")
    changes = {"model.name": "INPUT -> FC", "train.batch_size": 3, "train.steps": 9}
    recipe = make_recipe(changes | {"augment.crop_padding": 0})
    program, training = compiled(recipe, dataset), training_set(dataset)
    key = jax.random.key(0)
    state = program.begin(key)
    kernel, bias = (np.asarray(state.params["fc1"][name]) for name in ("kernel", "bias"))

    def losses(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        logits = images.reshape(len(images), 16) @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]

    score = evaluate(program.evaluate, state.variables, dataset.split("test"), batch_size=5)
    assert score.loss == pytest.approx(losses(*dataset.split("test")).mean(), rel=1e-4)
    order = program.feed.order(key, 0)
    batch = np.asarray(order[0])
    images, labels = dataset.split("train")
    state = program.train(state, training.images, training.labels, order, key)
    assert state.tally.loss / 3 == pytest.approx(
        losses(images[batch], labels[batch]).mean(), rel=1e-4
    )
