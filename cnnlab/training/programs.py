"""A recipe's functions, compiled once and shared by all its seeds."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab import data, models, ops
from cnnlab.data import Dataset
from cnnlab.training import placement
from cnnlab.training.averaging import averaging
from cnnlab.training.feed import Feed, feed_of
from cnnlab.training.optimizer import optimizer
from cnnlab.training.recipe import Plan, Recipe, RecipeError, plan
from cnnlab.training.state import State, create_state
from cnnlab.training.step import Step, Update, make_eval_step, make_update, repeat


class Functions(NamedTuple):
    """What a recipe comes to, not yet compiled; see `training.step` for the arguments."""

    plan: Plan
    create: Callable[[Array, Array], State]
    feed: Feed
    train_step: Step
    eval_step: Callable[[Any, Array, Array], tuple[Array, Array]]


class Programs(NamedTuple):
    """What a run calls. `train_steps[n]` takes n steps at once, all of them in one epoch.

    `feed` gives what they take between the state and the key; `shapes` is a state without arrays,
    as `jax.eval_shape` would give it of `create`, which cannot be traced.
    """

    plan: Plan
    shapes: State
    create: Callable[[Array], State]
    feed: Feed
    train_steps: Mapping[int, Callable[..., State]]
    eval_step: Callable[..., tuple[Array, Array]]


def build_model(recipe: Recipe, classes: int) -> linen.Module:
    """The network a recipe names.

    Raises:
        RecipeError: no such name, or an option the network does not take.
        PatternError: a pattern that does not parse.
    """
    options = dict(recipe.model.options, classes=classes, dtype=jnp.dtype(recipe.model.dtype))
    try:
        return models.create(recipe.model.name, **options)
    except models.PatternError:
        raise
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model: {error}") from error


def compile_programs(recipe: Recipe, dataset: Dataset) -> Programs:
    """Compile what a run needs; at once where another run of the same training did it before.

    Raises:
        RecipeError: durations that do not go with the size of the training set.
        BackendError: what `$CNNLAB_CONV` asks for does not exist or cannot be used here.
    """
    shared = {"seed": 0, "arm": "", "probe": "", "train.on_divergence": "fail"}
    many = placement.many_at_once()
    return _compile(recipe.override(shared), dataset, many, ops.preferred())


@functools.lru_cache(maxsize=32)
def _compile(recipe: Recipe, dataset: Dataset, many: bool, backend: str) -> Programs:
    found = functions(recipe, dataset)
    key, whole = placement.key_of(0), placement.everywhere()
    fed, sample = found.feed.shapes(), found.feed.sample()
    shapes = jax.eval_shape(found.create, key, sample)
    arguments = (shapes, *fed, key)
    layout = (whole, *[found.feed.layout] * len(fed), whole)
    longest = found.plan.longest_stretch if many and found.feed.lasts else 1
    jit, by = functools.partial(jax.jit, out_shardings=whole), ops.using(backend)
    train_steps = {
        length: jit(by(repeat(found.train_step, length)), in_shardings=layout, donate_argnums=0)
        .lower(*arguments)
        .compile()
        for length in dispatch_lengths(longest)
    }
    create = jit(found.create, compiler_options=placement.compiled_quickly())
    eval_step = jit(by(found.eval_step))
    return Programs(
        plan=found.plan,
        shapes=shapes,
        create=lambda key: create(key, sample),
        feed=found.feed,
        train_steps=train_steps,
        eval_step=eval_step,
    )


def dispatch_lengths(longest: int) -> tuple[int, ...]:
    """How many steps are taken at once, by a program each, in a run whose longest stretch is known.

    All from one report to the next; where the end of an epoch cuts a stretch in two, its parts go
    by eights and ones.
    """
    return tuple(sorted({1, min(8, longest), longest}))


def functions(recipe: Recipe, dataset: Dataset) -> Functions:
    """The pure functions that training on `dataset` is made of.

    Raises:
        RecipeError, PatternError: as `build_model`; durations that do not go with the training set.
    """
    feed, model = feed_of(recipe, dataset), build_model(recipe, dataset.classes)
    durations = plan(recipe, feed.examples)
    begin, update = bare(recipe, model, durations)

    def create(key: Array, images: Array) -> State:
        return begin(key, data.normalise(images, feed.mean, feed.std))

    eval_step = make_eval_step(
        model,
        mean=feed.mean,
        std=feed.std,
        flip=recipe.train.eval_flip,
        shift=recipe.train.eval_shift,
    )
    return Functions(durations, create, feed, feed.make_step(update), eval_step)


def bare(
    recipe: Recipe, model: linen.Module, durations: Plan
) -> tuple[Callable[[Array, Array], State], Update]:
    """What a recipe does with normalised images: make a state of some, and one step on a batch."""
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
