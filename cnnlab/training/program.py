"""A recipe's pure functions, and the same compiled once for all its seeds."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import data, models, ops
from cnnlab.data import Dataset
from cnnlab.training import placement
from cnnlab.training.averaging import averaging
from cnnlab.training.feed import Feed, Resident, feed_of
from cnnlab.training.optimizer import optimizer
from cnnlab.training.recipe import Model, Plan, Recipe, RecipeError, plan
from cnnlab.training.state import State, create_state
from cnnlab.training.step import (
    Step,
    Update,
    make_eval_step,
    make_many_steps,
    make_streamed_step,
    make_train_step,
    make_update,
)


class Program(NamedTuple):
    """What training is made of.

    Attributes:
        plan: its durations in steps.
        feed: what gives the training images.
        shapes: a state without arrays.
        create: `(key, images as stored [N, H, W, C]) -> state` at step 0.
        train: `(state, *what the feed gives, key) -> state`, one step; with `many` one argument
            more, the number of steps to take.
        evaluate: `(variables, images as stored, labels [N]) -> (loss, wrong)`, each [N].
        many: whether `train` takes many steps at once.
    """

    plan: Plan
    feed: Feed
    shapes: State
    create: Callable[[Array, Array], State]
    train: Step
    evaluate: Callable[[Any, Array, Array], tuple[Array, Array]]
    many: bool

    def begin(self, key: Array) -> State:
        """The state of a run at step 0."""
        return self.create(key, self.feed.sample())


def program(recipe: Recipe, dataset: Dataset, *, many: bool = False) -> Program:
    """The pure functions of training by a recipe on a data set.

    Args:
        recipe: one that `check_recipe` has nothing against.
        dataset: what it is trained on.
        many: whether the training set's steps are to be many at once.

    Raises:
        RecipeError, PatternError: as `build_model`; durations that do not go with the training set.
    """
    feed, model = feed_of(recipe, dataset), build_model(recipe.model, dataset.classes)
    durations = plan(recipe, feed.examples)
    begin, update = state_and_update(recipe, model, durations)
    many = many and isinstance(feed, Resident)

    def create(key: Array, images: Array) -> State:
        return begin(key, data.normalise(images, feed.mean, feed.std))

    shapes: State = jax.eval_shape(create, jax.random.key(0), feed.sample())
    step = _step(recipe, feed, update, durations)
    evaluate = make_eval_step(
        model,
        mean=feed.mean,
        std=feed.std,
        flip=recipe.train.eval_flip,
        shift=recipe.train.eval_shift,
    )
    train = make_many_steps(step) if many else step
    return Program(durations, feed, shapes, create, train, evaluate, many)


def _step(recipe: Recipe, feed: Feed, update: Update, durations: Plan) -> Step:
    if isinstance(feed, Resident):
        augment = recipe.augment.to_dict()
        del augment["resized_crop"]  # for what is streamed
        shares = placement.in_shares()
        return make_train_step(update, mean=feed.mean, std=feed.std, augment=augment, shares=shares)
    return make_streamed_step(
        update, mean=feed.mean, std=feed.std, steps_per_epoch=durations.steps_per_epoch
    )


def state_and_update(
    recipe: Recipe, model: linen.Module, durations: Plan
) -> tuple[Callable[[Array, Array], State], Update]:
    """On normalised images: what makes a state of some, and the update by a batch."""
    adapt, average = optimizer(recipe, durations), averaging(recipe, durations)
    update = make_update(
        model,
        adapt,
        label_smoothing=recipe.optimizer.label_smoothing,
        averaging=average,
        groups=recipe.model.batch_norm_groups,
    )

    def create(key: Array, examples: Array) -> State:
        return create_state(model, adapt, key, examples, averaged=average is not None)

    return create, update


@functools.lru_cache(maxsize=32)
def build_model(model: Model, classes: int) -> linen.Module:
    """The network that a recipe names.

    Raises:
        RecipeError: no such name, or an option the network does not take.
        PatternError: a pattern that does not parse.
    """
    options = dict(model.options, classes=classes, dtype=jnp.dtype(model.dtype))
    try:
        return models.create(model.name, **options)
    except models.PatternError:
        raise
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model: {error}") from error


def compiled(recipe: Recipe, dataset: Dataset) -> Program:
    """The program of a run, compiled; at once where one that differs in its seed was.

    Raises:
        RecipeError: durations that do not go with the size of the training set.
        BackendError: what `$CNNLAB_CONV` asks for does not exist or cannot be used here.
    """
    shared = {"seed": 0, "arm": "", "probe": "", "train.on_divergence": "fail"}
    many = placement.many_at_once()
    return _compiled(recipe.override(shared), dataset, many, ops.preferred())


@functools.lru_cache(maxsize=32)
def _compiled(recipe: Recipe, dataset: Dataset, many: bool, backend: str) -> Program:
    pure = program(recipe, dataset, many=many)
    whole = placement.everywhere()
    jit, by = functools.partial(jax.jit, out_shardings=whole), ops.using(backend)
    create = jit(pure.create, compiler_options=placement.compiled_quickly())
    fed, count = pure.feed.shapes(), (placement.scalar(1),) * pure.many
    arguments = (pure.shapes, *fed, placement.key_of(0), *count)
    layout = (whole, *[pure.feed.layout] * len(fed), whole, *[whole] * len(count))
    train = jit(by(pure.train), in_shardings=layout, donate_argnums=0).lower(*arguments).compile()
    return pure._replace(create=create, train=train, evaluate=jit(by(pure.evaluate)))
