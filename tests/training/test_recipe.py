import json
from collections.abc import Callable

import pytest
from ml_collections import ConfigDict

from cnnlab.training import inspect
from cnnlab.training.recipe import (
    Plan,
    RecipeError,
    check_recipe,
    completed,
    default_recipe,
    essence,
    identity,
    plan,
    steps_of,
)

DATASETS = ("cifar10", "digits", "mnist")


def test_a_misspelt_key_is_an_error_that_names_the_nearest(
    make_recipe: Callable[..., ConfigDict],
) -> None:
    recipe = make_recipe()
    with pytest.raises(AttributeError, match=r'Did you mean "epochs"'):
        recipe.train.epoch = 3
    with pytest.raises(KeyError, match="learning_rate"):
        recipe.optimizer.update(learning_rat=0.1)
    with pytest.raises(TypeError, match="steps"):
        recipe.train.steps = "many"


@pytest.mark.parametrize(
    ("epochs", "steps", "expected"),
    [
        (1.5, 0, 58),  # 58.5, to even
        (0.1, 0, 4),  # 3.9
        (0.0, 7, 7),
        (1e-6, 0, 1),  # never nothing by rounding
        (0.0, 0, 0),
    ],
)
def test_durations_in_steps(
    make_recipe: Callable[..., ConfigDict], epochs: float, steps: int, expected: int
) -> None:
    recipe = make_recipe({"train.evaluate_epochs": epochs, "train.evaluate_steps": steps})
    assert steps_of(recipe, "train", "evaluate_", steps_per_epoch=39) == expected


@pytest.mark.parametrize(
    ("section", "prefix"),
    [("train", ""), ("train", "evaluate_"), ("train", "checkpoint_"), ("schedule", "warmup_")],
)
def test_a_duration_in_two_units_names_both_with_their_values(
    make_recipe: Callable[..., ConfigDict], section: str, prefix: str
) -> None:
    epochs, steps = f"{section}.{prefix}epochs", f"{section}.{prefix}steps"
    recipe = make_recipe({"train.steps": 50} | {epochs: 1.5, steps: 40})
    with pytest.raises(RecipeError, match=f"{epochs} = 1.5 and {steps} = 40"):
        check_recipe(recipe, DATASETS)


def test_a_plan_is_whole_steps(make_recipe: Callable[..., ConfigDict]) -> None:
    recipe = make_recipe(
        {
            "train.epochs": 2.0,
            "train.evaluate_epochs": 0.25,
            "train.checkpoint_steps": 7,
            "schedule.warmup_epochs": 0.5,
        }
    )
    assert plan(recipe, 1257) == Plan(
        steps_per_epoch=39, steps=78, evaluate_every=10, checkpoint_every=7, warmup=20, log_every=1
    )


def test_a_plan_that_cannot_be(make_recipe: Callable[..., ConfigDict]) -> None:
    with pytest.raises(RecipeError, match=r"train\.batch_size = 32 .* 31 training images"):
        plan(make_recipe({"train.steps": 9}), 31)
    with pytest.raises(RecipeError, match=r"lookahead = 10 is never reached .* 9 steps"):
        plan(make_recipe({"train.steps": 9, "optimizer.lookahead": 10}), 1257)
    recipe = make_recipe({"train.steps": 9, "schedule.warmup_steps": 9})
    with pytest.raises(RecipeError, match="9 steps of a run of 9"):
        plan(recipe, 1257)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data.name", "cifar", ["'cifar'", "cifar10, digits, mnist", "did you mean 'cifar10'"]),
        ("data.preprocess", "gcn", ["'gcn'", "gcn_zca"]),
        ("schedule.warmup_rate", -0.1, ["= -0.1", "at least 0"]),
        ("schedule.start", 0.2, ["= 0.2", "would change nothing", "warmup_steps"]),
        ("schedule.start", 1.5, ["= 1.5", "fraction of the peak", "in [0, 1)"]),
        ("schedule.end", -0.5, ["= -0.5", "fraction of the peak", "in [0, 1)"]),
        ("schedule.warmup_rate", 0.01, ["= 0.01", "would change nothing", "warmup_steps"]),
        ("model.dtype", "bfloat", ["'bfloat'", "bfloat16, float32", "'bfloat16'?"]),
        ("optimizer.name", "sdg", ["'sdg'", "adamw, sgd", "'sgd'?"]),
        ("schedule.name", "cosin", ["'cosin'", "cosine, linear, step", "'cosine'?"]),
        ("train.batch_size", 0, ["= 0", "at least 1"]),
        ("model.batch_norm_groups", 0, ["= 0", "at least 1"]),
        ("model.batch_norm_groups", 3, ["= 3", "train.batch_size = 32"]),
        ("train.eval_batch_size", -2, ["= -2", "at least 1"]),
        ("train.log_steps", 0, ["= 0", "at least 1"]),
        ("optimizer.momentum", 1.0, ["= 1", "in [0, 1)"]),
        ("optimizer.label_smoothing", -0.1, ["= -0.1", "in [0, 1)"]),
        ("optimizer.ema_decay", 1.5, ["= 1.5", "in [0, 1)"]),
        ("optimizer.lookahead", -1, ["= -1", "at least 0"]),
        ("optimizer.learning_rate", -0.1, ["= -0.1", "at least 0"]),
        ("optimizer.learning_rate", float("nan"), ["= nan", "at least 0"]),
        ("optimizer.weight_decay", -5e-4, ["= -0.0005", "at least 0"]),
        ("augment.crop_padding", -1, ["= -1", "at least 0"]),
        ("augment.cutout", -1, ["= -1", "at least 0"]),
        ("train.checkpoint_steps", -5, ["negative", "train.checkpoint_steps = -5"]),
        ("schedule.warmup_epochs", -0.5, ["negative", "schedule.warmup_epochs = -0.5"]),
        ("train.steps", 0, ["no length", "train.epochs", "train.steps"]),
    ],
)
def test_what_is_wrong_with_a_recipe(
    make_recipe: Callable[..., ConfigDict], key: str, value: object, words: list[str]
) -> None:
    recipe = make_recipe({"train.steps": 9})
    check_recipe(recipe, DATASETS)
    recipe.update_from_flattened_dict({key: value})
    with pytest.raises(RecipeError) as error:
        check_recipe(recipe, DATASETS)
    for word in [key, *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"schedule.start": 0.2, "schedule.warmup_rate": 0.01, "schedule.warmup_steps": 2},
            "start = 0.2 .*warmup_rate = 0.01 keeps it constant",
        ),
        ({"optimizer.lookahead": 5, "optimizer.ema_decay": 0.9}, "lookahead = 5 .*decay = 0.9"),
        ({"schedule.end": 0.1, "schedule.name": "step"}, "end = 0.1 .*name = 'step'"),
        ({"augment.reflect": True, "augment.crop_padding": 0}, "reflect = True .*padding is 0"),
    ],
)
def test_what_does_not_go_together(
    make_recipe: Callable[..., ConfigDict], changes: dict[str, object], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        check_recipe(make_recipe({"train.steps": 9} | changes), DATASETS)


def test_no_hint_where_nothing_is_near(make_recipe: Callable[..., ConfigDict]) -> None:
    with pytest.raises(RecipeError) as error:
        check_recipe(make_recipe({"data.name": "zzz"}), DATASETS)
    assert "did you mean" not in str(error.value)


def test_identity_is_the_recipe_wherever_the_data_lie(
    make_recipe: Callable[..., ConfigDict],
) -> None:
    here, there = make_recipe({"data.directory": "/here"}), make_recipe()
    assert identity(here) == identity(there)
    assert identity(here) == json.loads(json.dumps(identity(here)))
    assert here.data.directory == "/here"
    for key, value in {"seed": 1, "arm": "a", "optimizer.weight_decay": 0.0}.items():
        assert identity(make_recipe({key: value})) != identity(there)


def test_identity_holds_every_other_key() -> None:
    recipe = default_recipe()
    whole = recipe.to_dict()
    del whole["data"]["directory"]
    whole["schedule"]["milestones"] = list(whole["schedule"]["milestones"])
    assert identity(recipe) == whole


def test_a_record_older_than_a_key_is_read_with_its_default(
    make_recipe: Callable[..., ConfigDict],
) -> None:
    recipe = make_recipe({"model.options": {"scan": True}, "train.steps": 9})
    old = identity(recipe)
    del old["optimizer"]["ema_decay"], old["augment"]
    assert completed(old) == identity(default_recipe()) | {
        section: identity(recipe)[section] for section in ("model", "train")
    }
    assert completed(identity(recipe)) == identity(recipe)
    recipe.optimizer.ema_decay = 0.5
    assert completed(old) != identity(recipe)
    assert completed(old | {"gone_since": 1}) != completed(old)


def test_the_essence_tells_recipes_apart_and_knows_no_defaults() -> None:
    recipe = default_recipe()
    assert essence(recipe) == {}
    recipe.optimizer.learning_rate, recipe.arm = 0.3, "wide"
    recipe.model.options = {"width": 4}
    recipe.data.directory = "/elsewhere"
    assert essence(recipe) == {
        "arm": "wide",
        "optimizer": {"learning_rate": 0.3},
        "model": {"options": {"width": 4}},
    }


def test_a_border_wider_than_the_image_cannot_be_mirrored(
    make_recipe: Callable[..., ConfigDict],
) -> None:
    changes = {"train.steps": 9, "model.name": "INPUT -> FC", "augment.reflect": True}
    inspect(make_recipe(changes | {"augment.crop_padding": 31}))
    with pytest.raises(RecipeError, match="32x32 have no 32 pixels to mirror"):
        inspect(make_recipe(changes | {"augment.crop_padding": 32}))
