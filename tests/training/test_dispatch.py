"""Many steps handed over at once, as on an accelerator: the same run, and nothing passes a date."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from config_files import ablation
from jax import Array
from jax._src.array import ArrayImpl
from rich.console import Console

from cnnlab import training
from cnnlab.data import Dataset
from cnnlab.training import placement
from cnnlab.training.evaluate import Score
from cnnlab.training.feed import training_set
from cnnlab.training.interrupt import Wish
from cnnlab.training.loop import Loop
from cnnlab.training.program import Program, compiled
from cnnlab.training.recipe import Plan, Recipe, plan
from cnnlab.training.record import Record

PLANS = [
    Plan(
        steps_per_epoch=39, steps=78, evaluate_every=20, checkpoint_every=25, warmup=0, log_every=10
    ),
    Plan(
        steps_per_epoch=351,
        steps=1000,
        evaluate_every=0,
        checkpoint_every=0,
        warmup=0,
        log_every=50,
    ),
    Plan(steps_per_epoch=5, steps=3, evaluate_every=0, checkpoint_every=0, warmup=0, log_every=100),
]


@pytest.mark.parametrize(
    ("plan", "reports"),
    [
        (PLANS[0], [10, 20, 25, 35, 40, 50, 60, 70, 75, 78]),
        (PLANS[1], list(range(50, 1001, 50))),
        (PLANS[2], [3]),
    ],
)
def test_where_reports_are(plan: Plan, reports: list[int]) -> None:
    assert [step for step in range(1, plan.steps + 1) if plan.reports(step)] == reports
    for step in range(plan.steps):
        assert step + plan.until_report(step) == min(each for each in reports if each > step)


class Note:
    """Stands in for what a loop writes to, and notes when."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def write(self, step: int, **values: float) -> None:
        self.steps.append(step)

    def advance(self, step: int, loss: float) -> float:
        return 1.0

    def save(self, state: Any) -> None: ...

    def resume(self) -> None: ...


def loop(program: Program, fed: Any, note: Note) -> Loop:
    return Loop(
        program=program,
        fed=fed,
        key=jax.random.key(0),
        checkpoints=note,  # type: ignore[arg-type]
        journal=note,  # type: ignore[arg-type]
        display=note,  # type: ignore[arg-type]
        validate=lambda state: Score(0.0, 0.0),
        wish=Wish(),
    )


DISPATCHES = {"stacked_convs": 1189, "residual_depth": 1280, "speedrun": 10}

PUBLISHED = [
    ("stacked_convs", "three_3x3"),
    ("residual_depth", "resnet20"),
    ("speedrun", "airbench94"),
]


@pytest.mark.parametrize(("name", "arm"), PUBLISHED)
def test_a_dispatch_goes_to_the_next_report(name: str, arm: str) -> None:
    """Of a published run, whose epochs have 351 or 43 steps: no end of an epoch comes between."""
    plan_of_run = plan(ablation(name, "paper").recipe(arm, 0), 45_000)
    taken: list[int] = []

    def train(state: Any, key: Any, count: Any) -> Any:
        taken.append(int(count))
        return SimpleNamespace(step=state.step + taken[-1])

    program = Program(plan_of_run, None, None, None, train, None, many=True)  # type: ignore[arg-type]
    runner = loop(program, lambda step: (), Note())
    runner._report = lambda step, state: None  # type: ignore[method-assign]
    runner._save = lambda state: None  # type: ignore[method-assign]
    runner.run(SimpleNamespace(step=0))  # type: ignore[arg-type]
    assert sum(taken) == plan_of_run.steps
    assert max(taken) == plan_of_run.log_every == 50
    reports = [step for step in range(1, plan_of_run.steps + 1) if plan_of_run.reports(step)]
    assert list(np.cumsum(taken)) == reports
    assert len(taken) == DISPATCHES[name]


@pytest.fixture(scope="module")
def recipe(make_recipe: Callable[..., Recipe]) -> Callable[[], Recipe]:
    changes = {
        "train.epochs": 2.0,
        "train.evaluate_steps": 20,
        "train.checkpoint_steps": 25,
        "train.log_steps": 10,
        "optimizer.learning_rate": 0.05,
        "optimizer.ema_decay": 0.9,
        "model.name": "INPUT -> AVGPOOL4 -> BN -> RELU -> DROP0.5 -> FC",
    }
    return lambda: make_recipe(changes)


def trained(recipe: Recipe, folder: Path) -> tuple[Record, list[dict[str, float]]]:
    record = training.run(recipe, folder, Console(file=io.StringIO()))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in line.items() if "_second" not in k} for line in lines]
    return record, [line for line in timeless if line.keys() != {"step"}]


def test_scanned_is_the_run_that_goes_step_by_step(
    recipe: Callable[[], Recipe],
    tmp_path: Path,
    crash_at: Callable[[int], type[Exception]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one cut off between is, to the bit, the scanned one that was not."""
    singly, its_lines = trained(recipe(), tmp_path / "singly")
    monkeypatch.setattr(placement, "many_at_once", lambda: True)
    scanned, lines = trained(recipe(), tmp_path / "scanned")
    assert [line.keys() for line in lines] == [line.keys() for line in its_lines]
    for line, other in zip(lines, its_lines, strict=True):
        assert line == pytest.approx(other, rel=1e-4)
    assert scanned.metrics == pytest.approx(singly.metrics, rel=1e-4)
    with monkeypatch.context(), pytest.raises(crash_at(60)):
        trained(recipe(), tmp_path / "cut")
    monkeypatch.undo()
    monkeypatch.setattr(placement, "many_at_once", lambda: True)
    assert (tmp_path / "cut/checkpoints/50").exists()
    assert trained(recipe(), tmp_path / "cut") == (scanned, lines)


@pytest.mark.parametrize("many", [False, True])
def test_between_reports_nothing_goes_to_the_device_or_comes_back(
    make_recipe: Callable[..., Recipe],
    tiny: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    many: bool,
) -> None:
    """Half the batch, twice the steps between reports, and not a number more comes back.

    Only the beginning of an epoch sends something, its number.
    """
    fetch = ArrayImpl._value.fget  # the guard does not see what comes back from a CPU
    fetched: list[ArrayImpl] = []
    monkeypatch.setattr(
        ArrayImpl, "_value", property(lambda self: fetched.append(self) or fetch(self))
    )
    monkeypatch.setattr(placement, "many_at_once", lambda: many)

    def fetches(batch_size: int) -> int:
        per_epoch = 10 // batch_size
        changes = {"model.name": "INPUT -> FC", "train.batch_size": batch_size}
        changes |= {"augment.crop_padding": 1, "train.log_steps": 100, "train.epochs": 3.0}
        program = compiled(make_recipe(changes), tiny)
        assert program.many == many
        state, note = program.begin(jax.random.key(1)), Note()
        with program.feed.open(0, range(3 * per_epoch)) as given:

            def fed(step: int) -> tuple[Array, ...]:
                begins = step % per_epoch == 0
                with jax.transfer_guard("allow" if begins else "disallow_explicit"):
                    return given(step)

            runner = loop(program, fed, note)
            for count in (1, per_epoch, 3 * per_epoch):
                placement.scalar(count)  # sent once a process
            fetched.clear()
            with jax.transfer_guard("disallow_explicit"):
                runner.run(state)
        assert note.steps == [3 * per_epoch]
        return len(fetched)

    assert fetches(1) == fetches(2) > 0


@pytest.mark.parametrize("many", [False, True])
def test_the_program_takes_the_place_of_the_state_it_is_given(
    make_recipe: Callable[..., Recipe], tiny: Dataset, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """One program, whatever number of steps it is asked for, across the ends of epochs."""
    changes = {"model.name": "INPUT -> FC", "train.batch_size": 3, "train.steps": 20}
    changes |= {"augment.crop_padding": 1, "train.log_steps": 100}
    monkeypatch.setattr(placement, "many_at_once", lambda: many)
    program, images = compiled(make_recipe(changes), tiny), training_set(tiny)
    key = placement.key_of(0)
    for count in (1, 2, 8) if many else (1,):
        state = program.begin(key)
        order, counts = program.feed.order(key, 0), (placement.scalar(count),) * many
        after = program.train(state, images.images, images.labels, order, key, *counts)
        assert int(after.step) == count
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
        assert not any(leaf.is_deleted() for leaf in (*images[:2], key))
