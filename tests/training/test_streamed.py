"""Training on what is streamed: as on a training set that fits, and the same run when cut off."""

import io
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from rich.console import Console

from cnnlab import data, training
from cnnlab.data import Dataset
from cnnlab.evidence import Ablation
from cnnlab.training import placement
from cnnlab.training.evaluate import evaluate
from cnnlab.training.optimizer import optimizer
from cnnlab.training.program import build_model, compiled
from cnnlab.training.recipe import Model, Recipe, RecipeError, check_recipe
from cnnlab.training.record import METRICS
from cnnlab.training.step import make_update

NET = "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> FC"
CONFIG = Path(__file__).parents[2] / "configs" / "imagenet_resnet50.py"
QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread decodes: other processes take seconds to start."""
    monkeypatch.setattr(placement, "decoders", lambda: 0)


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe], imagenet: Path) -> Callable[..., Recipe]:
    """Six steps an epoch of 54 images, two epochs."""
    plain = {
        "data.name": "imagenet2012",
        "data.directory": str(imagenet),
        "data.image_size": 16,
        "augment.crop_padding": 0,
        "augment.resized_crop": 0.08,
        "augment.flip": True,
        "train.batch_size": 8,
        "train.eval_batch_size": 5,
        "train.epochs": 2.0,
        "train.evaluate_steps": 4,
        "train.checkpoint_steps": 4,
        "optimizer.learning_rate": 0.05,
    }
    return lambda changes=(): make_recipe(plain | dict(changes))


def open_(recipe: Recipe) -> Dataset:
    return data.open_dataset("imagenet2012", directory=recipe.data.directory, image_size=16)


def test_a_run_cut_off_is_the_run_that_was_not(
    recipe: Callable[..., Recipe],
    tmp_path: Path,
    crash_at: Callable[[int], type[Exception]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(crash_at(7)):
        training.run(recipe(), tmp_path / "cut", QUIET)
    assert (tmp_path / "cut/checkpoints/4").exists()
    monkeypatch.undo()
    monkeypatch.setattr(placement, "decoders", lambda: 0)
    cut = training.run(recipe(), tmp_path / "cut", QUIET)
    whole = training.run(recipe(), tmp_path / "whole", QUIET)
    assert cut == whole
    assert whole.steps == 12
    assert whole.dataset["title"].startswith("ImageNet 2012, tested on its validation images")
    assert set(whole.metrics) == set(METRICS)
    other = training.run(recipe({"seed": 1}), tmp_path / "other", QUIET)
    assert other.parameters != whole.parameters


def test_a_step_is_the_update_on_its_batch(recipe: Callable[..., Recipe]) -> None:
    """Normalised by ImageNet's statistics, and the tally begins anew with the epoch."""
    streamed, key = recipe(), placement.key_of(0)
    dataset = open_(streamed)
    program, records = compiled(streamed, dataset), dataset.split("train")
    assert not program.many
    options = {"batch_size": 8, "rows": np.arange(8), "smallest": 0.08, "flip": True}
    batches = list(records.training_batches(range(4, 8), seed=5, **options))
    model = build_model(streamed.model, 1000)
    update = jax.jit(make_update(model, optimizer(streamed, program.plan), label_smoothing=0.0))
    fresh = program.begin(key)
    state = fresh.replace(step=jnp.int32(4))
    expected = jax.tree.map(jnp.copy, state)
    with program.feed.open(5, range(4, 8)) as fed:
        for step, (images, labels) in enumerate(batches, start=4):
            state = program.train(state, *fed(step), key)
            x = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            expected = update(expected, jnp.float32(x), labels, key, jnp.bool_(step == 6))
    assert int(state.tally.examples) == 16
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), state, expected)


def test_several_steps_at_once_are_for_what_lies_on_the_device(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "many_at_once", lambda: True)
    changes = {"model.name": "INPUT -> FC", "train.log_steps": 10}
    assert not compiled(recipe(changes), open_(recipe())).many


@pytest.mark.parametrize("batch_size", [4, 13, 20])
def test_every_image_is_evaluated_once(recipe: Callable[..., Recipe], batch_size: int) -> None:
    """The test images' labels are 60 to 72."""

    def label_is_loss(variables: float, images: Array, labels: Array) -> tuple[Array, Array]:
        assert images.shape == (batch_size, 16, 16, 3)
        return labels + variables, labels % 4 == 0

    score = evaluate(label_is_loss, 0.5, open_(recipe()).split("test"), batch_size)
    assert score.loss == pytest.approx(66.5)
    assert score.error == pytest.approx(100 * 4 / 13)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.image_size": 0}, "image_size = 0, but the images of imagenet2012 differ in size"),
        ({"augment.crop_padding": 4}, "crop_padding = 4, but imagenet2012 is streamed: set it to"),
        ({"augment.cutout": 8}, "augment.cutout = 8, but imagenet2012 is streamed"),
        ({"augment.alternate": True}, "alternate = True, but .* streamed: set it to False"),
        ({"probe": "shift"}, "probe = 'shift' reads a whole split, but imagenet2012 is streamed"),
        ({"augment.resized_crop": 1.0}, r"resized_crop = 1\.0 must be a number in \[0, 1\)"),
        (
            {"data.name": "digits", "data.image_size": 0},
            "resized_crop = 0.08, but digits is of one",
        ),
        ({"data.name": "digits", "augment.resized_crop": 0.0}, "image_size = 16, but digits is of"),
    ],
)
def test_what_is_not_for_these_data(
    recipe: Callable[..., Recipe], changes: dict[str, object], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        check_recipe(recipe(changes))


def test_a_batch_in_shares_is_the_batch() -> None:
    batch = np.arange(8 * 3).reshape(8, 3)
    rows = placement.own_rows(8)
    np.testing.assert_array_equal(rows, np.arange(8))
    shared = placement.share_out(batch[rows], 8)
    assert shared.sharding.is_equivalent_to(placement.in_shares(), 2)
    np.testing.assert_array_equal(shared, batch)


@pytest.mark.parametrize("network", [NET, pytest.param("", marks=pytest.mark.slow)])
def test_the_published_recipe_runs(imagenet: Path, tmp_path: Path, network: str) -> None:
    """`configs/imagenet_resnet50.py:paper`, two steps of it, on few and small images.

    With a smaller network in minutes less.
    """
    config = runpy.run_path(str(CONFIG))["get_config"]("paper")
    config.update_from_flattened_dict(
        {
            "data.directory": str(imagenet),
            "data.image_size": 32,
            "train.batch_size": 8,
            "train.eval_batch_size": 20,
            "train.epochs": 0.0,
            "train.steps": 2,
            "schedule.warmup_epochs": 0.0,
            "schedule.warmup_steps": 1,
        }
    )
    published = Ablation.from_config(config).recipe("stride_in_3x3", 0)
    if network:
        published = replace(published, model=Model(name=network))
    record = training.run(published, tmp_path, QUIET)
    assert record.steps == 2
    assert record.config["augment"]["resized_crop"] == 0.08
    assert np.isfinite(record.metrics["test_loss"])
    if not network:
        assert record.network["weights"] == 25_557_032
