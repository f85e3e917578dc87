"""Recipes of a step, and the records that their runs would leave, on data of a made-up copy."""

from types import SimpleNamespace

from cnnlab.training import Recipe, Record
from cnnlab.training.recipe import identity
from cnnlab.training.record import METRICS

COPY = SimpleNamespace(fingerprint="ab" * 8, examples=1000)
"""What stands for the data set."""
HERE, OTHER = "a" * 64, "b" * 64
"""Digests of parameters, by which a record tells who made it."""


def recipe_of(arm: str, seed: int) -> Recipe:
    return Recipe(arm=arm, seed=seed).override({"train.steps": 1})


def record_of(recipe: Recipe, parameters: str = HERE) -> Record:
    return Record(
        arm=recipe.arm,
        seed=recipe.seed,
        config=identity(recipe),
        dataset={"name": recipe.data.name, "title": "", "version": "1"}
        | {"fingerprint": COPY.fingerprint},
        network=dict.fromkeys(("weights", "macs", "activations", "receptive_field"), 1),
        environment={"commit": None, "dirty": None, "device": "cpu", "jax": "1"},
        steps=recipe.train.steps,
        metrics=dict.fromkeys(METRICS, 1.0),
        parameters=parameters,
    )
