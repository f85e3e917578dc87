"""A recipe's functions, compiled once and shared by all its seeds."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array
from ml_collections import ConfigDict, FrozenConfigDict

from cnnlab import data, models
from cnnlab.data import Dataset
from cnnlab.training.optimizer import optimizer
from cnnlab.training.recipe import Plan, RecipeError, plan
from cnnlab.training.state import State, create_state
from cnnlab.training.step import epoch_order, make_eval_step, make_train_step, make_update


class TrainingSet(NamedTuple):
    """The training split on the device, and the statistics it is normalised by."""

    images: Array
    labels: Array
    mean: Array
    std: Array


class Programs(NamedTuple):
    """What a run calls; see `training.step` for the functions' arguments."""

    plan: Plan
    create: Callable[[Array], State]
    order: Callable[[Array, int], Array]
    train_step: Callable[..., State]
    eval_step: Callable[..., tuple[Array, Array]]


def build_model(recipe: ConfigDict | FrozenConfigDict, classes: int) -> linen.Module:
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


@functools.lru_cache(maxsize=1)
def training_set(dataset: Dataset) -> TrainingSet:
    """The training split, put on the device."""
    split = dataset.split("train")
    mean, std = data.channel_statistics(split.images)
    return TrainingSet(*map(jnp.asarray, (split.images, split.labels, mean, std)))


def compile_programs(recipe: ConfigDict, dataset: Dataset) -> Programs:
    """Compile what a run needs; at once where another seed of the recipe did it before.

    Raises:
        RecipeError: durations that do not go with the size of the training set.
    """
    shared = recipe.to_dict()
    del shared["seed"], shared["arm"]
    return _compile(FrozenConfigDict(shared), dataset)


@functools.lru_cache(maxsize=32)
def _compile(recipe: FrozenConfigDict, dataset: Dataset) -> Programs:
    training, model = training_set(dataset), build_model(recipe, dataset.classes)
    examples, ema = len(training.labels), recipe.optimizer.ema_decay
    durations = plan(recipe, examples)
    adapt = optimizer(recipe, durations)

    def create(key: Array) -> State:
        return create_state(model, adapt, key, dataset.image_shape, averaged=ema > 0)

    update = make_update(
        model, adapt, label_smoothing=recipe.optimizer.label_smoothing, ema_decay=ema
    )
    train_step = make_train_step(
        update, mean=training.mean, std=training.std, augment=dict(recipe.augment)
    )
    eval_step = make_eval_step(model, mean=training.mean, std=training.std)
    key, order = jax.random.key(0), _compile_order(examples, recipe.train.batch_size)
    arguments = (jax.eval_shape(create, key), *training[:2], order(key, 0), key)
    lowered = jax.jit(train_step, donate_argnums=0).lower(*arguments)
    return Programs(durations, jax.jit(create), order, lowered.compile(), jax.jit(eval_step))


@functools.lru_cache(maxsize=32)
def _compile_order(examples: int, batch_size: int) -> Callable[[Array, int], Array]:
    """`epoch_order`, compiled now: the first epoch's images/s would count the compilation."""

    def order(key: Array, epoch: int) -> Array:
        return epoch_order(key, epoch, examples=examples, batch_size=batch_size)

    return jax.jit(order).lower(jax.random.key(0), 0).compile()
