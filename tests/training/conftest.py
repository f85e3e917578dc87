"""Tiny recipes, tiny data, and one finished run that the tests of this room share."""

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rich.console import Console

from cnnlab import training
from cnnlab.data import Dataset, Images
from cnnlab.training import Recipe, Record
from cnnlab.training.program import Program, compiled
from cnnlab.training.progress import Display

NET = "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> FC"

Change = Callable[..., Recipe]


@pytest.fixture(scope="session")
def make_recipe() -> Change:
    """Makes a recipe on digits, 39 steps an epoch: ``make_recipe({"train.steps": 60})``."""

    def make(changes: dict[str, object] | None = None) -> Recipe:
        tiny = {"model.name": NET, "train.batch_size": 32, "train.log_steps": 1}
        tiny |= {"augment.crop_padding": 2, "augment.flip": False}
        return Recipe().override(tiny).override(changes or {})

    return make


class Finished(NamedTuple):
    """A run that nothing interrupted."""

    recipe: Recipe
    folder: Path
    record: Record
    printed: str


@pytest.fixture(scope="session")
def two_epochs(make_recipe: Change) -> Callable[[], Recipe]:
    """Makes the recipe of `finished`: evaluated at 20, 40, 60; saved at 25, 50, 75 and 78."""
    changes = {
        "train.epochs": 2.0,
        "train.evaluate_steps": 20,
        "train.checkpoint_steps": 25,
        "optimizer.learning_rate": 0.05,
        "schedule.warmup_epochs": 0.5,
    }
    return lambda: make_recipe(changes)


@pytest.fixture(scope="session")
def finished(
    two_epochs: Callable[[], Recipe], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder, printed = tmp_path_factory.mktemp("finished") / "run", io.StringIO()
    record = training.run(two_epochs(), folder, Console(file=printed))
    return Finished(two_epochs(), folder, record, printed.getvalue())


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Three classes of random 4x4 images: 10 to train on, 7 and 5 to evaluate."""
    random = np.random.default_rng(0)
    sizes = {"train": 10, "validation": 7, "test": 5}
    splits = {
        name: Images(
            random.integers(0, 256, (size, 4, 4, 1), dtype=np.uint8),
            random.integers(0, 3, size).astype(np.int32),
        )
        for name, size in sizes.items()
    }
    return Dataset("tiny", "tiny", 3, (4, 4, 1), "1", "0" * 16, splits.__getitem__)


@pytest.fixture(scope="session")
def linear(make_recipe: Change, tiny: Dataset) -> Callable[[dict[str, object]], Program]:
    """Makes a linear classifier's program on `tiny`, three steps an epoch, with some changes.

    All draw their weights by one program, since each would take seconds to compile; an average of
    the weights needs its own.
    """

    def make(changes: dict[str, object]) -> Program:
        plain = {"model.name": "INPUT -> FC", "train.batch_size": 3, "train.steps": 9}
        plain |= {"augment.crop_padding": 0}
        program = compiled(make_recipe(plain | changes), tiny)
        if "optimizer.ema_decay" in changes:
            return program
        return program._replace(create=compiled(make_recipe(plain), tiny).create)

    return make


class Crash(Exception):
    """Stands for whatever ends a process in the middle of a run."""


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Arranges for something to happen when a step has been reported."""

    def arrange(when: int, act: Callable[[], object]) -> None:
        advance = Display.advance

        def advance_and_act(self: Display, step: int, loss: float) -> float:
            rate = advance(self, step, loss)
            if step == when:
                act()
            return rate

        monkeypatch.setattr(Display, "advance", advance_and_act)

    return arrange


@pytest.fixture
def crash_at(at_step: Callable[[int, Callable[[], object]], None]) -> Callable[[int], type[Crash]]:
    """Makes runs die at a step; returns what they die of."""

    def die() -> None:
        raise Crash

    def arrange(step: int) -> type[Crash]:
        at_step(step, die)
        return Crash

    return arrange


@pytest.fixture(scope="session")
def launcher() -> Callable[[str], Any]:
    """Loads a script of experiments/ by its name."""

    def launcher(name: str) -> Any:
        path = Path(__file__).parents[2] / "experiments" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return launcher
