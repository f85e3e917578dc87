"""What else is measured of a trained network: a recipe's `probe`, by name.

A probe runs once, after the final evaluation, and what it finds joins the record's metrics. It
gives the same numbers for the same variables and seed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import linen
from jax import Array
from ml_collections import ConfigDict

from cnnlab import data, ops
from cnnlab.data import Dataset, Images
from cnnlab.names import unknown
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.evaluate import Score, evaluate
from cnnlab.training.programs import build_model, functions, training_set
from cnnlab.training.recipe import RecipeError, completed
from cnnlab.training.record import METRICS


class Trained(NamedTuple):
    """A trained network, and the data it was trained on, as a probe sees them.

    Attributes:
        model: the network.
        variables: what evaluation uses, `{"params": ..., "batch_stats": ...}`.
        prepare: from images as stored, [N, H, W, C], to what the network takes.
        eval_step: `(variables, images [N, H, W, C] as stored, labels [N])` to loss and wrong, [N].
        dataset: its splits are read when a probe asks for them.
        batch_size: of evaluation.
        seed: the run's.
    """

    model: linen.Module
    variables: Any
    prepare: Callable[[Array], Array]
    eval_step: Callable[[Any, Any, Any], tuple[Array, Array]]
    dataset: Dataset
    batch_size: int
    seed: int

    def score(self, images: Images) -> Score:
        """Error and loss on some images, as in every evaluation."""
        return evaluate(self.eval_step, self.variables, images, self.batch_size)


class Probe(NamedTuple):
    """The names of some metrics, and what measures them; of each less is better.

    A name that ends in `_error` or `_gap` is in percent.
    """

    metrics: tuple[str, ...]
    measure: Callable[[Trained], dict[str, float]]


def trained(recipe: ConfigDict, dataset: Dataset, variables: Any) -> Trained:
    """The network of a recipe with trained variables."""
    training, found = training_set(dataset), functions(recipe, dataset)
    return Trained(
        model=build_model(recipe, dataset.classes),
        variables=variables,
        prepare=lambda images: data.normalise(images, training.mean, training.std),
        eval_step=jax.jit(ops.using(ops.preferred())(found.eval_step)),
        dataset=dataset,
        batch_size=recipe.train.eval_batch_size,
        seed=recipe.seed,
    )


def load(folder: Path, directory: str | None = None) -> Trained:
    """The network that a run left in its folder, from its newest checkpoint.

    Args:
        folder: a run's, as `training.run` made it.
        directory: where the data are; see `data.open_dataset`.

    Raises:
        FileNotFoundError: no run was begun there, or it has no good checkpoint.
        DataMissing: as `data.open_dataset`.
    """
    recipe = ConfigDict(completed(json.loads((folder / "config.json").read_text())))
    dataset = data.open_dataset(
        recipe.data.name, preprocess=recipe.data.preprocess, directory=directory
    )
    like = jax.jit(functions(recipe, dataset).create)(jax.random.key(recipe.seed))
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.newest(like)
    checkpoints.close()
    if state is None:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    return trained(recipe, dataset, state.variables)


def probe(name: str) -> Probe | None:
    """The probe that a recipe names; None for the empty name.

    Raises:
        RecipeError: no such probe; says those there are and the nearest.
    """
    if name and name not in PROBES:
        raise RecipeError(unknown("probe", name, tuple(PROBES)))
    return PROBES.get(name)


def metrics_of(recipe: ConfigDict) -> tuple[str, ...]:
    """The names of all metrics in the records of a recipe.

    Raises:
        RecipeError: as `probe`.
    """
    found = probe(recipe.probe)
    return METRICS + (found.metrics if found else ())


def gap(network: Trained) -> dict[str, float]:
    """Error on the training images as they are, and how much larger that of the test images is."""
    train, test = (network.score(network.dataset.split(name)).error for name in ("train", "test"))
    return {"clean_train_error": train, "generalisation_gap": test - train}


PROBES = {"gap": Probe(("clean_train_error", "generalisation_gap"), gap)}
