"""Records for the tests of this room: what a run leaves behind, without running anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cnnlab.evidence.claim import Claim, Comparison, PaperFigure
from cnnlab.evidence.scaling import DATA
from cnnlab.training.probes import metrics_of
from cnnlab.training.recipe import Recipe, identity, plan
from cnnlab.training.record import Record

NETWORKS = {
    "one_7x7": {
        "weights": 118_090,
        "macs": 19_300_000,
        "activations": 120_000,
        "receptive_field": 64,
    },
    "three_3x3": {
        "weights": 50_890,
        "macs": 8_900_000,
        "activations": 350_000,
        "receptive_field": 64,
    },
}


def make_record(arm: str, seed: int, error: float, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "metrics": {"test_error": error, "test_loss": error / 100},
        "network": NETWORKS.get(arm, NETWORKS["three_3x3"]),
        "dataset": {"title": "CIFAR-10 (JPEG q75 copy)", "fingerprint": "0a1b2c3d"},
        "environment": {"commit": "6f1c2a9b8d7e", "dirty": False, "device": "cpu", "jax": "0.10.2"},
        "config": {},
        "steps": 100,
        "parameters": "9f8e7d",
    }
    return Record(arm=arm, seed=seed, **{**fields, **changes})


@pytest.fixture(scope="session")
def records_of() -> Callable[..., list[Record]]:
    """Makes one record a value: ``records_of({"one_7x7": [27.1, 28.0]})``, seeds from 0."""

    def make(errors: Mapping[str, Sequence[float]], **changes: Any) -> list[Record]:
        return [
            make_record(arm, seed, value, **changes)
            for arm, values in errors.items()
            for seed, value in enumerate(values)
        ]

    return make


@pytest.fixture(scope="session")
def run_of() -> Callable[[Record, Recipe], Record]:
    """Makes of a record such a one as a run of a recipe leaves, with the numbers that it has."""

    def make(record: Record, recipe: Recipe) -> Record:
        return replace(
            record,
            arm=recipe.arm,
            seed=recipe.seed,
            config=identity(recipe),
            dataset=record.dataset
            | {
                "name": recipe.data.name,
                "version": "1",
                "fingerprint": record.dataset["fingerprint"].ljust(16, "0"),
            },
            steps=plan(recipe, DATA[recipe.data.name].examples).steps,
            metrics=dict.fromkeys(metrics_of(recipe), 1.0) | record.metrics,
            parameters=record.parameters and record.parameters.ljust(64, "0"),
        )

    return make


@pytest.fixture(scope="session")
def claim() -> Claim:
    paper = PaperFigure("7 points", "Simonyan & Zisserman 2014", "ImageNet top-1")
    return Claim(
        id="E1",
        statement="Three 3x3 beat one 7x7.",
        source="N0",
        comparisons=(
            Comparison("three_3x3", "one_7x7", "better", "Does the stack win?", paper=paper),
            Comparison("linear", "one_7x7", "equivalent", "Without ReLU?", margin=0.5),
        ),
    )


@pytest.fixture(scope="session")
def arms() -> list[str]:
    return ["one_7x7", "three_3x3", "linear", "narrow"]


@pytest.fixture(scope="session")
def records(records_of: Callable[..., list[Record]]) -> list[Record]:
    """Five, three and one runs; the fourth arm was not run."""
    return records_of(
        {
            "one_7x7": [27.0, 28.0, 29.0, 28.0, 28.0],
            "three_3x3": [24.0, 25.0, 26.0],
            "linear": [27.5],
        }
    )
