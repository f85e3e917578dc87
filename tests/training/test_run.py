"""Whole runs on digits: what they leave behind, what they refuse, what an override changes."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen
from rich.console import Console

from cnnlab import data, models, nn, training
from cnnlab.data import DataMissing, Dataset, Images
from cnnlab.files import BadFile
from cnnlab.geometry import DoesNotFit
from cnnlab.models import PatternError
from cnnlab.training import (
    ForeignRecord,
    NotFinite,
    OutOfMemory,
    RecipeError,
    Record,
    UnusableFolder,
)
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.environment import environment
from cnnlab.training.feed import training_set
from cnnlab.training.loop import Loop
from cnnlab.training.program import Program, compiled
from cnnlab.training.recipe import Recipe, identity
from cnnlab.training.state import State, digest

run_module = sys.modules["cnnlab.training.run"]  # the package's `run` is the function

QUIET = Console(file=io.StringIO())


def journal(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_leaves_behind(finished: Any) -> None:
    assert sorted(path.name for path in finished.folder.iterdir()) == [
        "checkpoints",
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "record.json",
        "tensorboard",
    ]
    assert json.loads((finished.folder / "config.json").read_text()) == identity(finished.recipe)
    facts = json.loads((finished.folder / "environment.json").read_text())
    assert facts == environment() | {"dataset": data.open_dataset("digits").fingerprint}
    assert any(path.stat().st_size > 1000 for path in (finished.folder / "tensorboard").iterdir())
    assert "step 78/78" in finished.printed


class Mixer(nn.Layer):
    """A layer of a user's own, which does not say how often it multiplies."""

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return x * x.mean(axis=(1, 2), keepdims=True)


class OwnNet(linen.Module):
    """A net of a user's own, the last map of which sees the whole image."""

    classes: int

    @linen.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = Mixer(name="mixer")(nn.AvgPool(4, name="pool")(x))
        return nn.Dense(self.classes, name="fc")(x)


def test_the_record_of_a_net_of_ones_own(
    make_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its layers do not say is null in the record, and not 0."""

    def build(*, classes: int = 10, dtype: Any = None) -> Any:
        return OwnNet(classes)

    monkeypatch.setitem(models._REGISTER, "own", models.Network(build, (32, 32, 1), "a user"))
    record = training.run(make_recipe({"model.name": "own", "train.steps": 2}), tmp_path, QUIET)
    assert record == Record.read(tmp_path / "record.json")
    assert record.network == {
        "weights": 650,
        "macs": None,
        "activations": 32 * 32 + 2 * 8 * 8 + 10,
        "receptive_field": "all",
    }


def test_the_record(finished: Any) -> None:
    record = finished.record
    assert record == Record.read(finished.folder / "record.json")
    assert (record.arm, record.seed, record.steps) == ("", 0, 78)
    assert record.config == identity(finished.recipe)
    assert record.dataset["title"].startswith("digits (scikit-learn")
    # AVGPOOL4 leaves 8x8; CONV3-4 without bias, BN, FC on 8x8x4.
    assert record.network["weights"] == 9 * 4 + 2 * 4 + 256 * 10 + 10
    assert record.environment["jax"] == jax.__version__
    assert set(record.metrics) == {
        f"{split}_{metric}"
        for split in ("train", "validation", "test")
        for metric in ("error", "loss")
    }
    test_errors = record.metrics["test_error"] * 360 / 100
    assert test_errors == pytest.approx(round(test_errors))


def test_training_learns(finished: Any) -> None:
    metrics = finished.record.metrics
    assert metrics["test_error"] < 15  # chance: 90
    assert metrics["validation_error"] < 15
    assert metrics["test_loss"] < 0.6
    losses = [line["train_loss"] for line in journal(finished.folder) if "train_loss" in line]
    assert losses[-1] < losses[0] / 3


def test_the_journal_of_a_run(finished: Any) -> None:
    lines = journal(finished.folder)
    assert lines[0].keys() == {"step", "compile_seconds"}
    trained = [line for line in lines if "train_loss" in line]
    assert [line["step"] for line in trained] == list(range(1, 79))
    assert trained[-1]["epoch"] == 2
    assert trained[-1]["train_loss"] == finished.record.metrics["train_loss"]
    assert [line["step"] for line in lines if "validation_error" in line] == [20, 40, 60]


def test_a_finished_run_is_read_and_not_run_again(
    finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished.folder / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(Dataset, "split", lambda self, name: pytest.fail("reads data"))
    monkeypatch.setattr(Loop, "run", lambda self, state: pytest.fail("trains"))
    assert training.run(finished.recipe, finished.folder, QUIET) == finished.record
    assert (finished.folder / "metrics.jsonl").read_bytes() == before


def test_same_seed_same_record_other_seed_other_parameters_and_nothing_compiled(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    saved, save = [], Checkpoints.save

    def note(self: Checkpoints, state: State) -> None:
        saved.append(int(state.step))
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", note)
    other = two_epochs()
    other = other.override({"seed": 1})
    with jax.log_compiles():
        assert training.run(two_epochs(), tmp_path / "0", QUIET) == finished.record
        different = training.run(other, tmp_path / "1", QUIET)
    assert different.parameters != finished.record.parameters
    assert different.seed == 1
    # Two epochs and their ends, evaluation and saving: all had been compiled by the first run.
    assert [line for line in caplog.messages if "XLA compilation" in line] == []
    assert saved == [25, 50, 75, 78] * 2
    kept = sorted(path.name for path in (tmp_path / "1" / "checkpoints").iterdir())
    assert kept == ["75", "78"]


def test_the_test_split_is_read_when_all_training_is_over(
    two_epochs: Callable[[], Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, split = [], Dataset.split

    def note(self: Dataset, name: str) -> Images:
        read.append((name, (tmp_path / "run/checkpoints/78").exists()))
        return split(self, name)

    monkeypatch.setattr(Dataset, "split", note)
    training_set.cache_clear()
    run_module._held_out.cache_clear()
    training.run(two_epochs(), tmp_path / "run", QUIET)
    assert read == [("train", False), ("validation", False), ("test", True)]


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.weight_decay", 5e-4),  # what it is anyway
        ("optimizer.weight_decay", 0.1),
        ("optimizer.label_smoothing", 0.1),
        ("optimizer.ema_decay", 0.9),
        ("augment.flip", True),
        pytest.param("augment.crop_padding", 1, marks=slow),
        pytest.param("augment.cutout", 2, marks=slow),
        pytest.param("optimizer.learning_rate", 0.2, marks=slow),
        pytest.param("optimizer.momentum", 0.5, marks=slow),
        pytest.param("optimizer.nesterov", False, marks=slow),
        pytest.param("schedule.name", "linear", marks=slow),
        pytest.param("schedule.warmup_steps", 2, marks=slow),
        pytest.param("train.steps", 6, marks=slow),
    ],
)
def test_every_override_changes_what_is_learnt(
    linear: Callable[[dict[str, object]], Program], tiny: Dataset, key: str, value: object
) -> None:
    def learnt(changes: dict[str, object]) -> str:
        program, training, seed = linear(changes), training_set(tiny), jax.random.key(0)
        state, order = program.begin(seed), program.feed.order(seed, 0)
        for _ in range(3):
            state = program.train(state, training.images, training.labels, order, seed)
        return digest(state.variables)

    assert (learnt({key: value}) == learnt({})) == (value == 5e-4)


@pytest.mark.slow
def test_a_loss_that_explodes_leaves_the_last_good_checkpoint(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = make_recipe(
        {
            "model.name": "INPUT -> AVGPOOL4 -> FC",
            "train.steps": 60,
            "train.checkpoint_steps": 1,
            "schedule.warmup_steps": 50,
            "optimizer.learning_rate": 1e9,
            "augment.crop_padding": 0,
        }
    )
    with pytest.raises(NotFinite) as error:
        training.run(recipe, tmp_path, QUIET)
    program = compiled(recipe, data.open_dataset("digits"))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    last = checkpoints.newest(program.begin(jax.random.key(0)))
    checkpoints.close()
    assert last is not None
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))
    assert f"the loss is not finite since step {int(last.step)}" in str(error.value)
    assert f"the checkpoint at step {int(last.step)} in {tmp_path}" in str(error.value)
    assert not (tmp_path / "record.json").exists()


@pytest.mark.parametrize(
    ("step", "reason", "kept"),
    [
        (60, "the loss is not finite since step 60", 50),
        # The step's own loss is still finite: it is the next one's that would not be.
        (50, "the parameters are not finite at step 50", 25),
        (78, "the parameters are not finite at step 78", 75),
    ],
)
def test_parameters_spoilt_by_a_step_are_not_saved(
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    reason: str,
    kept: int,
) -> None:
    def compile_spoilt(recipe: Recipe, dataset: Dataset) -> Program:
        program = compiled(recipe, dataset)

        def train_step(*arguments: Any) -> State:
            state = program.train(*arguments)
            if int(state.step) != step:
                return state
            return state.replace(params=jax.tree.map(lambda p: p * np.inf, state.params))

        return program._replace(train=train_step)

    monkeypatch.setattr(run_module, "compiled", compile_spoilt)
    with pytest.raises(NotFinite, match=f"{reason}; the checkpoint at step {kept} in"):
        training.run(two_epochs(), tmp_path / "fails", QUIET)
    checkpoints = tmp_path / "fails" / "checkpoints"
    assert max(int(path.name) for path in checkpoints.iterdir()) == kept
    assert not (tmp_path / "fails" / "record.json").exists()

    recipe = two_epochs()
    recipe = recipe.override({"train.on_divergence": "chance"})
    record = training.run(recipe, tmp_path / "guesses", QUIET)
    assert record.diverged
    assert (record.steps, record.parameters) == (step, "")
    for split in ("train", "validation", "test"):
        assert record.metrics[f"{split}_error"] == 90
        assert record.metrics[f"{split}_loss"] == pytest.approx(np.log(10))
    assert training.run(recipe, tmp_path / "guesses", QUIET) == record


def test_too_little_memory_is_told_in_a_line(
    make_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_large(recipe: Recipe, dataset: Dataset) -> Program:
        jax.jit(lambda: jax.numpy.zeros(2**50, jax.numpy.int8))()
        raise AssertionError("there was enough")

    monkeypatch.setattr(run_module, "compiled", compile_large)
    recipe = make_recipe({"train.steps": 1, "arm": "a", "seed": 3})
    said = (
        r"^a seed 3: too little memory on cpu for train\.batch_size = 32 and "
        r"train\.eval_batch_size = 500; smaller ones, .* help$"
    )
    with pytest.raises(OutOfMemory, match=said):
        training.run(recipe, tmp_path / "run", QUIET)


def test_another_error_of_xlas_is_left_as_it_is(
    make_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(recipe: Recipe, dataset: Dataset) -> Program:
        raise jax.errors.JaxRuntimeError("INTERNAL: why")

    monkeypatch.setattr(run_module, "compiled", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: why"):
        training.run(make_recipe({"train.steps": 1}), tmp_path / "run", QUIET)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"optimizer.name": "sdg"}, RecipeError, "'sgd'"),
        ({"data.name": "digit"}, RecipeError, "'digits'"),
        ({"model.name": "resnt20"}, RecipeError, "'resnet20'"),
        ({"model.name": "INPUT -> CONF3-4 -> FC"}, PatternError, "column 10"),
        ({"model.name": "INPUT -> POOL5 -> FC"}, DoesNotFit, "POOL5"),
        ({"model.options": {"depth": 3}}, RecipeError, "depth"),
        ({"model.name": "INPUT -> CONV3-4 -> GAP"}, RecipeError, "a number for each class"),
        ({"model.name": "INPUT -> FC-64"}, RecipeError, r"\(64,\) where digits"),
        ({"schedule.milestones": (80, 120)}, RecipeError, r"in \[0, 1\)"),
    ],
)
def test_a_mistake_is_found_before_anything_is_written_or_loaded(
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.setattr(Dataset, "split", lambda self, name: pytest.fail("reads data"))
    with pytest.raises(kind, match=words):
        training.run(two_epochs().override(change), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_missing_data_are_said_before_anything_is_written(
    two_epochs: Callable[[], Recipe], tmp_path: Path
) -> None:
    recipe = two_epochs()
    recipe = recipe.override({"data": dict(name="cifar10", directory=str(tmp_path / "nowhere"))})
    with pytest.raises(DataMissing, match="nowhere") as error:
        training.run(recipe, tmp_path / "run", QUIET)
    assert "prepare_data.py" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_recipe(
    finished: Any, two_epochs: Callable[[], Recipe], tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    recipe = two_epochs()
    recipe = recipe.override({"optimizer.weight_decay": 0.25})
    with pytest.raises(UnusableFolder, match="another recipe"):
        training.run(recipe, folder, QUIET)
    assert Record.read(folder / "record.json") == finished.record
    assert json.loads((folder / "config.json").read_text()) == identity(finished.recipe)


def test_a_folder_that_is_older_than_a_key(
    finished: Any, two_epochs: Callable[[], Recipe], tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    old = identity(finished.recipe)
    del old["optimizer"]["ema_decay"]
    (folder / "config.json").write_text(json.dumps(old))
    assert training.run(two_epochs(), folder, QUIET) == finished.record
    recipe = two_epochs()
    recipe = recipe.override({"optimizer.ema_decay": 0.5})
    with pytest.raises(UnusableFolder, match="another recipe"):
        training.run(recipe, folder, QUIET)


def test_a_folder_that_cannot_be_written(two_epochs: Callable[[], Recipe], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UnusableFolder, match=r"cannot write to .*file"):
            training.run(two_epochs(), folder, QUIET)


def test_a_disk_without_room(
    two_epochs: Callable[[], Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1234))
    with pytest.raises(UnusableFolder, match=r"1,234 bytes free; the run needs 16,9\d\d,\d\d\d"):
        training.run(two_epochs(), tmp_path, QUIET)
    assert list(tmp_path.iterdir()) == []


def edited(path: Path, place: str, value: object) -> None:
    found = inner = json.loads(path.read_text())
    *parents, last = place.split(".")
    for key in parents:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("name", "place", "value", "kind", "words"),
    [
        ("record.json", "seed", 1, ForeignRecord, r"record\.json does not .*: seed = 1, not 0"),
        ("record.json", "steps", 77, ForeignRecord, r"record\.json: steps = 77, not 78"),
        (
            "record.json",
            "metrics.test_error",
            -50,
            BadFile,
            r"record\.json: metrics\.test_error must",
        ),
        ("record.json", "dataset.fingerprint", "0" * 16, ForeignRecord, "is of other data"),
        ("config.json", "train.steps", "x", BadFile, r"config\.json: train\.steps must be integer"),
        ("config.json", "train.steps", 5, UnusableFolder, "holds a run of another recipe"),
    ],
)
def test_what_stands_in_the_folder_is_its_runs_or_told(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    name: str,
    place: str,
    value: object,
    kind: type[Exception],
    words: str,
) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    edited(folder / name, place, value)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(kind, match=words):
        training.run(two_epochs(), folder, QUIET)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "line"),
    [("environment.json", '{"convolutions": 5}'), ("metrics.jsonl", '{"step": "x"}')],
)
def test_a_run_does_not_go_on_over_files_that_are_none(
    finished: Any, two_epochs: Callable[[], Recipe], tmp_path: Path, name: str, line: str
) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (folder / "record.json").unlink()
    before = (folder / name).read_text()
    (folder / name).write_text(f"{line}\n{before}" if name.endswith("l") else line)
    where = f"{folder / name}, line 1: " if name.endswith("l") else f"{folder / name}: "
    with pytest.raises(BadFile, match=re.escape(where)):
        training.run(two_epochs(), folder, QUIET)
    assert not (folder / "record.json").exists()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["75", "78"]
    (folder / name).write_text(before)
    assert training.run(two_epochs(), folder, QUIET) == finished.record


def test_a_plan_that_does_not_go_with_the_data_is_told_before_anything_is_written(
    two_epochs: Callable[[], Recipe], tmp_path: Path
) -> None:
    recipe = two_epochs().override({"train.batch_size": 1258})
    with pytest.raises(
        RecipeError, match="batch_size = 1258 is more than the 1257 training images"
    ):
        training.run(recipe, tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()
