import json
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from cnnlab.training import inspect
from cnnlab.training.recipe import (
    Plan,
    Recipe,
    RecipeError,
    check_recipe,
    completed,
    essence,
    identity,
    plan,
    steps_of,
)


def test_a_misspelt_key_is_an_error_that_names_the_nearest() -> None:
    recipe = Recipe()
    for changes in ({"train.epoch": 3}, {"train": {"epoch": 3}}):
        with pytest.raises(RecipeError, match=r"'train\.epoch'; .*did you mean 'train\.epochs'\?"):
            recipe.override(changes)
    with pytest.raises(RecipeError, match=r"unknown key: 'trian'; .*did you mean 'train'"):
        recipe.override({"trian.epochs": 3})
    with pytest.raises(RecipeError, match=r"train\.steps has no keys of its own, such as 'x'"):
        recipe.override({"train.steps.x": 3})
    with pytest.raises(RecipeError, match="train = 3 must be keys with their values"):
        recipe.override({"train": 3})


def test_a_recipe_is_changed_by_path_or_nested_and_stays_as_it_is() -> None:
    nested = Recipe().override({"train": {"steps": 3}, "model": {"options": {"a": 1}}})
    assert nested == Recipe().override({"train.steps": 3, "model.options.a": 1})
    assert hash(nested) == hash(Recipe().override({"model.options": {"a": 1}, "train.steps": 3}))
    assert nested.override({"model.options": {"b": [1, 2]}}).to_dict()["model"]["options"] == {
        "a": 1,
        "b": (1, 2),
    }
    assert nested.override({"train": {"batch_size": 8}}).train.steps == 3
    with pytest.raises(FrozenInstanceError):
        nested.train.steps = 4  # type: ignore[misc]


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
    make_recipe: Callable[..., Recipe], epochs: float, steps: int, expected: int
) -> None:
    recipe = make_recipe({"train.evaluate_epochs": epochs, "train.evaluate_steps": steps})
    assert steps_of(recipe, "train", "evaluate_", steps_per_epoch=39) == expected


@pytest.mark.parametrize(
    ("section", "prefix"),
    [("train", ""), ("train", "evaluate_"), ("train", "checkpoint_"), ("schedule", "warmup_")],
)
def test_a_duration_in_two_units_names_both_with_their_values(
    make_recipe: Callable[..., Recipe], section: str, prefix: str
) -> None:
    epochs, steps = f"{section}.{prefix}epochs", f"{section}.{prefix}steps"
    recipe = make_recipe({"train.steps": 50} | {epochs: 1.5, steps: 40})
    with pytest.raises(RecipeError, match=f"{epochs} = 1.5 and {steps} = 40"):
        check_recipe(recipe)


def test_a_plan_is_whole_steps(make_recipe: Callable[..., Recipe]) -> None:
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


def test_a_plan_that_cannot_be(make_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"train\.batch_size = 32 .* 31 training images"):
        plan(make_recipe({"train.steps": 9}), 31)
    with pytest.raises(RecipeError, match=r"lookahead = 10 is never reached .* 9 steps"):
        plan(make_recipe({"train.steps": 9, "optimizer.lookahead": 10}), 1257)
    recipe = make_recipe({"train.steps": 9, "schedule.warmup_steps": 9})
    with pytest.raises(RecipeError, match="9 steps of a run of 9"):
        plan(recipe, 1257)


NO_NUMBERS = ("3", None, True, [1], float("nan"), float("inf"), -float("inf"), 10**400, 1e300, -1)


@pytest.mark.parametrize("path", [path for path, *_ in Recipe().described()])
def test_what_a_key_does_not_take(path: str) -> None:
    """Of every key: another type, what is no number, more or less than its range."""
    ((value, kind, key),) = [found for each, *found in Recipe().described() if each == path]
    wrong: tuple[Any, ...] = (None, 3, ["a"], b"x")
    if kind in ("a number", "a whole number"):
        wrong = (*NO_NUMBERS, key.low - 1, key.below if key.high is None else key.high + 1)
        if kind == "a whole number":
            wrong = (*wrong, 0.5, 2.0)
    elif kind == "True or False":
        wrong = (0, 1, "True", None)
    elif kind == "numbers":
        wrong = (0.5, "0.5", [0.5, float("nan")], [0.5, "1"], [-0.1], [1.0], None)
    elif kind == "keys with their values":
        wrong = (3, "a", [1], {1: 2}, {"a": {"b": object}}, {"a": {1, 2}})
    if key.choices:
        wrong = (*wrong, "nonesuch")
    for each in wrong:
        with pytest.raises(RecipeError, match=re.escape(path)):
            Recipe().override({path: each})
    assert identity(Recipe().override({path: value})) == identity(Recipe())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data.name", "cifar", ["'cifar'", "cifar10, cifar100", "did you mean 'cifar10'"]),
        ("data.preprocess", "gcn", ["'gcn'", "gcn_zca"]),
        ("schedule.start", 1.5, ["= 1.5 must be a number in [0, 1)"]),
        ("model.dtype", "bfloat", ["'bfloat'", "bfloat16, float32", "'bfloat16'?"]),
        ("optimizer.name", "sdg", ["'sdg'", "adamw, sgd", "'sgd'?"]),
        ("schedule.name", "cosin", ["'cosin'", "cosine, linear, step", "'cosine'?"]),
        ("train.batch_size", 0, ["= 0 must be a whole number from 1 to 1,048,576"]),
        ("train.eval_batch_size", 10**12, ["= 1000000000000 must be", "1,048,576"]),
        ("train.steps", 3 * 10**9, ["= 3000000000 must be", "from 0 to 2,147,483,647"]),
        ("seed", 2**32, ["= 4294967296 must be a whole number from 0 to 4,294,967,295"]),
        ("seed", -1, ["= -1 must be"]),
        ("optimizer.learning_rate", float("nan"), ["= nan must be a number from 0 to 1e+06"]),
    ],
)
def test_what_is_said_of_a_value(key: str, value: object, words: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        Recipe().override({key: value})
    for word in [key, *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schedule.start", 0.2, ["= 0.2", "would change nothing", "warmup_steps"]),
        ("schedule.warmup_rate", 0.01, ["= 0.01", "would change nothing", "warmup_steps"]),
        ("schedule.milestones", (0.5, 0.25), ["(0.5, 0.25)", "ascending"]),
        ("schedule.milestones", (0.5, 0.5), ["(0.5, 0.5)", "ascending"]),
        ("model.batch_norm_groups", 3, ["= 3", "train.batch_size = 32"]),
        ("train.steps", 0, ["no length", "train.epochs", "train.steps"]),
    ],
)
def test_what_is_wrong_with_a_recipe(
    make_recipe: Callable[..., Recipe], key: str, value: object, words: list[str]
) -> None:
    recipe = make_recipe({"train.steps": 9})
    check_recipe(recipe)
    with pytest.raises(RecipeError) as error:
        check_recipe(recipe.override({key: value}))
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
    make_recipe: Callable[..., Recipe], changes: dict[str, object], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        check_recipe(make_recipe({"train.steps": 9} | changes))


def test_no_hint_where_nothing_is_near() -> None:
    with pytest.raises(RecipeError) as error:
        Recipe().override({"data.name": "zzz"})
    assert "did you mean" not in str(error.value)


def test_identity_is_the_recipe_wherever_the_data_lie(
    make_recipe: Callable[..., Recipe],
) -> None:
    here, there = make_recipe({"data.directory": "/here"}), make_recipe()
    assert identity(here) == identity(there)
    assert identity(here) == json.loads(json.dumps(identity(here)))
    assert here.data.directory == "/here"
    for key, value in {"seed": 1, "arm": "a", "optimizer.weight_decay": 0.0}.items():
        assert identity(make_recipe({key: value})) != identity(there)


def test_identity_holds_every_other_key() -> None:
    recipe = Recipe()
    whole = recipe.to_dict()
    del whole["data"]["directory"]
    whole["schedule"]["milestones"] = list(whole["schedule"]["milestones"])
    assert identity(recipe) == whole


def test_a_record_older_than_a_key_is_read_with_its_default(
    make_recipe: Callable[..., Recipe],
) -> None:
    recipe = make_recipe({"model.options": {"scan": True}, "train.steps": 9})
    old = identity(recipe)
    del old["optimizer"]["ema_decay"], old["augment"]
    assert completed(old) == identity(Recipe()) | {
        section: identity(recipe)[section] for section in ("model", "train")
    }
    assert completed(identity(recipe)) == identity(recipe)
    recipe = recipe.override({"optimizer.ema_decay": 0.5})
    assert completed(old) != identity(recipe)
    assert completed(old | {"gone_since": 1}) != completed(old)


def test_the_essence_tells_recipes_apart_and_knows_no_defaults() -> None:
    recipe = Recipe()
    assert essence(recipe) == {}
    recipe = recipe.override({"optimizer.learning_rate": 0.3, "arm": "wide"})
    recipe = recipe.override({"model.options": {"width": 4}})
    recipe = recipe.override({"data.directory": "/elsewhere"})
    assert essence(recipe) == {
        "arm": "wide",
        "optimizer": {"learning_rate": 0.3},
        "model": {"options": {"width": 4}},
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"augment.reflect": True, "augment.crop_padding": 32},
            "32x32 have no 32 pixels to mirror",
        ),
        ({"augment.crop_padding": 100}, "crop_padding = 100 may leave nothing .* at most 31"),
        ({"augment.cutout": 500}, "cutout = 500 may leave nothing of images of 32x32; at most 31"),
    ],
)
def test_nothing_may_be_left_of_an_image(
    make_recipe: Callable[..., Recipe], changes: dict[str, object], words: str
) -> None:
    short = {"train.steps": 9, "model.name": "INPUT -> FC", "augment.cutout": 31}
    inspect(make_recipe(short | {"augment.reflect": True, "augment.crop_padding": 31}))
    with pytest.raises(RecipeError, match=words):
        inspect(make_recipe(short | changes))


@pytest.mark.parametrize(
    ("name", "batch", "groups", "path"),
    [("INPUT -> GAP -> BN -> FC", 1, 1, "bn1"), ("INPUT -> FC-4 -> BN -> FC", 4, 4, "bn1")],
)
def test_batch_norm_over_one_value_is_refused(
    make_recipe: Callable[..., Recipe], name: str, batch: int, groups: int, path: str
) -> None:
    changes = {"train.steps": 9, "model.name": name, "train.batch_size": 2 * batch}
    changes |= {"model.batch_norm_groups": groups}
    inspect(make_recipe(changes))
    with pytest.raises(
        RecipeError, match=f"{path} has one value a channel .*batch_size = {batch} "
    ):
        inspect(make_recipe(changes | {"train.batch_size": batch}))
