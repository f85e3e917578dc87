"""Many steps handed over at once, as on an accelerator: the same run, and nothing passes a date."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
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
from cnnlab.training.programs import Programs, compile_programs, dispatch_lengths
from cnnlab.training.recipe import Plan, Recipe
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


@pytest.mark.parametrize("plan", PLANS)
def test_nothing_due_is_passed(plan: Plan) -> None:
    for step in range(plan.steps):
        until = plan.until_due(step)
        assert 1 <= until <= plan.longest_stretch

        def due(at: int) -> bool:
            every = (plan.log_every, plan.evaluate_every, plan.checkpoint_every)
            at_end = at % plan.steps_per_epoch == 0 or at == plan.steps
            return at_end or any(at % each == 0 for each in every if each)

        assert due(step + until)
        assert not any(due(at) for at in range(step + 1, step + until))


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


def loop(programs: Programs, fed: Any, note: Note) -> Loop:
    return Loop(
        programs=programs,
        fed=fed,
        key=jax.random.key(0),
        checkpoints=note,  # type: ignore[arg-type]
        journal=note,  # type: ignore[arg-type]
        display=note,  # type: ignore[arg-type]
        validate=lambda state: Score(0.0, 0.0),
        wish=Wish(),
    )


def test_dispatches_are_few() -> None:
    plan, taken = PLANS[1], []
    lengths = dispatch_lengths(plan.longest_stretch)
    steps = dict.fromkeys(lengths)
    programs = Programs(plan, None, None, None, steps, None)  # type: ignore[arg-type]
    runner, step = loop(programs, None, Note()), 0
    while step < plan.steps:
        taken.append(runner._stride(step))
        step += taken[-1]
    assert set(taken) == {1, 8, 50}
    # 18 reports of 50 steps, and at the ends of epochs 1 + (6 * 8 + 1) and (1 + 1) + 6 * 8.
    assert len(taken) == 18 + 8 + 8


def test_there_are_few_programs() -> None:
    assert [dispatch_lengths(longest) for longest in (1, 5, 8, 43)] == [
        (1,),
        (1, 5),
        (1, 8),
        (1, 8, 43),
    ]


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
        programs = compile_programs(make_recipe(changes), tiny)
        assert max(programs.train_steps) == (per_epoch if many else 1)
        state, note = programs.create(jax.random.key(1)), Note()
        with programs.feed.open(0, range(3 * per_epoch)) as given:

            def fed(step: int) -> tuple[Array, ...]:
                begins = step % per_epoch == 0
                with jax.transfer_guard("allow" if begins else "disallow_explicit"):
                    return given(step)

            runner = loop(programs, fed, note)
            fetched.clear()
            with jax.transfer_guard("disallow_explicit"):
                runner.run(state)
        assert note.steps == [per_epoch, 2 * per_epoch, 3 * per_epoch]
        return len(fetched)

    assert fetches(1) == fetches(2) > 0


def test_each_program_takes_the_place_of_the_state_it_is_given(
    make_recipe: Callable[..., Recipe], tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"model.name": "INPUT -> FC", "train.batch_size": 1, "train.steps": 20}
    changes |= {"augment.crop_padding": 1, "train.log_steps": 100}
    monkeypatch.setattr(placement, "many_at_once", lambda: True)
    programs, images = compile_programs(make_recipe(changes), tiny), training_set(tiny)
    key = placement.key_of(0)
    for length, train in programs.train_steps.items():
        state = programs.create(key)
        after = train(state, images.images, images.labels, programs.feed.order(key, 0), key)
        assert int(after.step) == length
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
        assert not any(leaf.is_deleted() for leaf in (*images[:2], key))
