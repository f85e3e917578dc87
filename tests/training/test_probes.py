from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from cnnlab import training
from cnnlab.training import Recipe, RecipeError, UnusableFolder, probes
from cnnlab.training.probes import PROBES, Probe, Trained, load, metrics_of
from cnnlab.training.record import METRICS

QUIET = Console(quiet=True)


def misses(network: Trained, which: str) -> float:
    """Percent of images given another class, by the model itself on prepared images."""
    split = network.dataset.split(which)
    x = network.prepare(jax.numpy.asarray(split.images))
    logits: Any = network.model.apply(network.variables, x, train=False)
    return 100 * float(np.mean(np.argmax(logits, -1) != split.labels))


@pytest.fixture(scope="module")
def network(finished: Any) -> Trained:
    return load(finished.folder)


def test_a_folder_gives_the_network_back(finished: Any, network: Trained) -> None:
    assert training.state.digest(network.variables) == finished.record.parameters
    assert network.seed == finished.recipe.seed
    assert (
        network.score(network.dataset.split("test")).error == finished.record.metrics["test_error"]
    )
    assert misses(network, "test") == pytest.approx(finished.record.metrics["test_error"])


def test_the_gap_is_between_test_images_and_training_images_as_they_are(
    finished: Any, network: Trained
) -> None:
    clean, test = misses(network, "train"), misses(network, "test")
    found = PROBES["gap"].measure(network)
    assert found == pytest.approx({"clean_train_error": clean, "generalisation_gap": test - clean})
    assert set(found) == set(PROBES["gap"].metrics)
    assert clean != finished.record.metrics["train_error"], "that one is of augmented images"


def test_what_a_probe_finds_joins_the_record(
    two_epochs: Callable[[], Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Trained] = []

    def measure(network: Trained) -> dict[str, float]:
        seen.append(network)
        return {"number": 7.0}

    monkeypatch.setitem(PROBES, "noted", Probe({"number": "a number"}, measure))
    recipe = two_epochs().override(
        {"probe": "noted", "seed": 3, "train": {"epochs": 0, "steps": 25}}
    )
    recipe = recipe.override({"optimizer.ema_decay": 0.9})
    record = training.run(recipe, tmp_path, QUIET)
    assert (record.metrics["number"], len(seen), seen[0].seed) == (7.0, 1, 3)
    assert set(record.metrics) == set(metrics_of(recipe)) == {*METRICS, "number"}
    assert record.parameters == training.state.digest(seen[0].variables), "not of the average"


def test_an_unknown_probe_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    recipe = Recipe()
    recipe = recipe.override({"model.name": "INPUT -> FC", "train.steps": 9, "probe": "gpa"})
    with pytest.raises(RecipeError, match=r"unknown probe: 'gpa'; choices: .*did you mean 'gap'\?"):
        training.inspect(recipe)
    assert probes.probe("") is None


def test_no_probe_of_a_network_that_may_not_be(tmp_path: Path) -> None:
    recipe = Recipe()
    recipe = recipe.override({"model.name": "INPUT -> FC", "train.steps": 9, "probe": "gap"})
    recipe = recipe.override({"train.on_divergence": "chance"})
    with pytest.raises(RecipeError, match=r"probe = 'gap' has no network .*'chance'"):
        training.run(recipe, tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_checkpoint_is_told(finished: Any, tmp_path: Path) -> None:
    with pytest.raises(UnusableFolder, match=r"holds no run.*config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text((finished.folder / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match=f"no checkpoint in {tmp_path}"):
        load(tmp_path)
