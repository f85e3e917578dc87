"""A recipe's functions, compiled once and shared by all its seeds."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array
from ml_collections import ConfigDict, FrozenConfigDict

from cnnlab import data, models, ops
from cnnlab.data import Dataset
from cnnlab.training import placement
from cnnlab.training.optimizer import optimizer
from cnnlab.training.recipe import Plan, RecipeError, plan
from cnnlab.training.state import State, create_state
from cnnlab.training.step import epoch_order, make_eval_step, make_train_step, make_update, repeat


class TrainingSet(NamedTuple):
    """The training split on every device, and the statistics it is normalised by, if it is."""

    images: Array
    labels: Array
    mean: np.ndarray | None
    std: np.ndarray | None


class Functions(NamedTuple):
    """What a recipe comes to, not yet compiled; see `training.step` for the arguments."""

    plan: Plan
    create: Callable[[Array], State]
    train_step: Callable[[State, Array, Array, Array, Array], State]
    eval_step: Callable[[Any, Array, Array], tuple[Array, Array]]


class Programs(NamedTuple):
    """What a run calls. `train_steps[n]` takes n steps at once, all of them in one epoch."""

    plan: Plan
    create: Callable[[Array], State]
    order: Callable[[Array, int], Array]
    train_steps: Mapping[int, Callable[..., State]]
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
    """The training split, put on every device."""
    split = dataset.split("train")
    images, labels = (placement.place(array, placement.everywhere()) for array in split)
    prepared = dataset.preprocess != ""
    statistics = (None, None) if prepared else data.channel_statistics(split.images)
    return TrainingSet(images, labels, *statistics)


def compile_programs(recipe: ConfigDict, dataset: Dataset) -> Programs:
    """Compile what a run needs; at once where another run of the same training did it before.

    Raises:
        RecipeError: durations that do not go with the size of the training set.
        BackendError: what `$CNNLAB_CONV` asks for does not exist or cannot be used here.
    """
    shared = recipe.to_dict()
    del shared["seed"], shared["arm"], shared["probe"], shared["train"]["on_divergence"]
    lengths = placement.dispatch_lengths()
    return _compile(FrozenConfigDict(shared), dataset, lengths, ops.preferred())


@functools.lru_cache(maxsize=32)
def _compile(
    recipe: FrozenConfigDict, dataset: Dataset, lengths: tuple[int, ...], backend: str
) -> Programs:
    training, found = training_set(dataset), functions(recipe, dataset)
    order = _compile_order(len(training.labels), recipe.train.batch_size)
    key, whole = placement.key_of(0), placement.everywhere()
    arguments = (jax.eval_shape(found.create, key), *training[:2], order(key, 0), key)
    jit, by = functools.partial(jax.jit, out_shardings=whole), ops.using(backend)
    train_steps = {
        length: jit(by(repeat(found.train_step, length)), in_shardings=whole, donate_argnums=0)
        .lower(*arguments)
        .compile()
        for length in lengths
        if length <= found.plan.longest_stretch
    }
    return Programs(found.plan, jit(found.create), order, train_steps, jit(by(found.eval_step)))


def functions(recipe: ConfigDict | FrozenConfigDict, dataset: Dataset) -> Functions:
    """The pure functions that training on `dataset` is made of.

    Raises:
        RecipeError, PatternError: as `build_model`; durations that do not go with the training set.
    """
    training, model = training_set(dataset), build_model(recipe, dataset.classes)
    ema, durations = recipe.optimizer.ema_decay, plan(recipe, len(training.labels))
    adapt = optimizer(recipe, durations)

    def create(key: Array) -> State:
        return create_state(model, adapt, key, dataset.image_shape, averaged=ema > 0)

    update = make_update(
        model,
        adapt,
        label_smoothing=recipe.optimizer.label_smoothing,
        ema_decay=ema,
        groups=recipe.model.batch_norm_groups,
    )
    statistics = {"mean": training.mean, "std": training.std}
    train_step = make_train_step(
        update, **statistics, augment=dict(recipe.augment), shares=placement.in_shares()
    )
    return Functions(durations, create, train_step, make_eval_step(model, **statistics))


@functools.lru_cache(maxsize=32)
def _compile_order(examples: int, batch_size: int) -> Callable[[Array, int], Array]:
    """`epoch_order`, compiled now: the first epoch's images/s would count the compilation."""

    def order(key: Array, epoch: int) -> Array:
        return epoch_order(key, epoch, examples=examples, batch_size=batch_size)

    jitted = jax.jit(order, out_shardings=placement.everywhere())
    return jitted.lower(placement.key_of(0), 0).compile()
