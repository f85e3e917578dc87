"""Training and evaluation by oneDNN: the same numbers as by XLA, and never half and half."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from cnnlab import training
from cnnlab.data import Dataset
from cnnlab.native import library
from cnnlab.training import UnusableFolder
from cnnlab.training.environment import environment
from cnnlab.training.feed import training_set
from cnnlab.training.program import Program, compiled
from cnnlab.training.recipe import Recipe
from cnnlab.training.state import State

NET = "INPUT -> CONV3-16 -> BN -> RELU -> POOL2 -> FC"


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says who shall compute, as a person would."""
    if reason := library.missing():
        pytest.skip(f"no oneDNN: {reason}")
    return lambda name: monkeypatch.setenv("CNNLAB_CONV", name)


@pytest.mark.parametrize("groups", [1, 2])
def test_as_many_steps_by_either(
    by: Callable[[str], None],
    make_recipe: Callable[..., Recipe],
    tiny: Dataset,
    groups: int,
) -> None:
    changes = {
        "model.name": NET,
        "model.batch_norm_groups": groups,
        "train.batch_size": 4,
        "train.steps": 8,
        "augment.crop_padding": 1,
    }

    def outcome(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        by(name)
        program = compiled(make_recipe(changes), tiny)
        state = train(program, tiny)
        x, y = tiny.split("test")
        scores = program.evaluate(state.variables, x, y)
        return (
            [np.asarray(leaf) for leaf in jax.tree.leaves(state.variables)],
            [np.asarray(score) for score in scores],
        )

    native, xla = outcome("onednn"), outcome("xla")
    leaves = list(zip(*(jax.tree.leaves(found) for found in (native, xla)), strict=True))
    for a, b in leaves:
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert any((a != b).any() for a, b in leaves), "one program computed both"
    again = outcome("onednn")
    for a, b in zip(*(jax.tree.leaves(found) for found in (native, again)), strict=True):
        np.testing.assert_array_equal(a, b)


def train(program: Program, dataset: Dataset) -> State:
    key, images = jax.random.key(0), training_set(dataset)
    state, order = program.begin(key), program.feed.order(key, 0)
    for _ in range(program.plan.steps):
        state = program.train(state, images.images, images.labels, order, key)
    return state


def test_the_record_says_who(by: Callable[[str], None]) -> None:
    by("onednn")
    assert environment()["convolutions"] == f"onednn {library.version()}"
    by("xla")
    assert environment()["convolutions"] == "xla"


@pytest.mark.parametrize("begun", [{"convolutions": "onednn 2023.2.0"}, {}])
def test_a_run_goes_on_with_what_it_was_begun_with(
    by: Callable[[str], None],
    make_recipe: Callable[..., Recipe],
    tmp_path: Path,
    begun: dict[str, str],
) -> None:
    by("xla" if begun else "onednn")
    (tmp_path / "environment.json").write_text(json.dumps(begun))
    name, here = ("onednn", "xla") if begun else ("xla", "onednn")
    message = f"begun with convolutions by {name}.* by {here}.*CNNLAB_CONV={name} goes on"
    with pytest.raises(UnusableFolder, match=message):
        training.run(make_recipe({"train.steps": 1}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["environment.json"]
