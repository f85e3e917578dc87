import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from left_by_runs import COPY, HERE, OTHER, recipe_of, record_of

from cnnlab.errors import Failure, Mistake
from cnnlab.evidence import ForeignRecord, Ledger
from cnnlab.evidence.sweep import Run
from cnnlab.files import BadFile, BadName
from cnnlab.training import NotFinite, OutOfMemory, Recipe, Record, UnusableFolder

# Another process at work on the same ledger. Its runs are as those of `Runs`, each told in a file.
OTHER_PROCESS = """
import sys, time
from pathlib import Path
from left_by_runs import COPY, OTHER, recipe_of, record_of
from cnnlab import data
from cnnlab.evidence import Ledger

root, log = Path(sys.argv[1]), Path(sys.argv[2])
data.open_dataset = lambda *_, **__: COPY

def execute(recipe, folder):
    with log.open("a") as file:
        file.write(f"other {recipe.arm} {recipe.seed}\\n")
    time.sleep(0.05)
    record = record_of(recipe, OTHER)
    record.write(folder / "record.json")
    return record

log.with_suffix(".ready").touch()
while not log.exists():
    time.sleep(0.002)
Ledger(root).complete([recipe_of(arm, seed) for seed in range(6) for arm in ("a", "b")], execute)
"""

# A process that takes a run's lock, says so, and never lets go of its own accord.
HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


class Runs:
    """Stands for training: notes which runs it was asked for and leaves a record each."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []
        self.before: Callable[[Recipe], None] = lambda recipe: None

    def __call__(self, recipe: Recipe, folder: Path) -> Record:
        self.done.append((recipe.arm, recipe.seed))
        self.before(recipe)
        record = record_of(recipe)
        record.write(folder / "record.json")
        return record


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs")


@pytest.fixture
def recipes() -> list[Recipe]:
    return [recipe_of(arm, seed) for seed in range(2) for arm in ("a", "b")]


@pytest.fixture(autouse=True)
def dataset(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What every name of a data set opens."""
    opened = SimpleNamespace(**vars(COPY))
    monkeypatch.setattr("cnnlab.data.open_dataset", lambda *_, **__: opened)
    return opened


def test_finished_runs_are_not_done_again(
    ledger: Ledger, recipes: list[Recipe], runs: Runs
) -> None:
    assert ledger.records(recipes) == []
    assert ledger.complete(recipes[:3], runs) == []
    assert runs.done == [("a", 0), ("b", 0), ("a", 1)]
    assert [(r.arm, r.seed) for r in ledger.records(recipes)] == runs.done
    assert ledger.complete(recipes, runs) == []
    assert runs.done[3:] == [("b", 1)]
    assert ledger.complete(recipes, runs) == []
    assert len(runs.done) == 4


def test_a_record_that_was_moved_is_refused(
    ledger: Ledger, recipes: list[Recipe], runs: Runs, dataset: SimpleNamespace
) -> None:
    ledger.complete(recipes[:1], runs)
    moved = ledger.folder(recipes[0]) / "record.json"
    longer = recipes[0].override({"train": {"epochs": 3.5, "steps": 0}})
    ledger.folder(longer).mkdir()
    shutil.copy(moved, ledger.folder(longer))
    with pytest.raises(
        ForeignRecord,
        match=r"record\.json was .*: train\.epochs = 0\.0, not 3\.5; train\.steps = 1, not 0$",
    ):
        ledger.records([recipes[0], longer])
    dataset.fingerprint = "cd" * 8
    ledger.folder(recipes[0]).mkdir()
    shutil.copy(moved, ledger.folder(recipes[0]))
    with pytest.raises(ForeignRecord, match=r"other data: fingerprint = 'abab.*', not 'cdcd.*'$"):
        ledger.records(recipes[:1])


def test_a_run_without_its_record_is_taken_up(
    ledger: Ledger, recipes: list[Recipe], runs: Runs
) -> None:
    ledger.folder(recipes[0]).mkdir(parents=True)
    (ledger.folder(recipes[0]) / "config.json").write_text("{}")
    ledger.complete(recipes[:1], runs)
    assert runs.done == [("a", 0)]


def test_a_folder_is_named_by_all_that_makes_the_run(
    ledger: Ledger, dataset: SimpleNamespace
) -> None:
    def changed(**changes: object) -> Path:
        recipe = recipe_of("a", 3)
        recipe = recipe.override({k.replace("__", "."): v for k, v in changes.items()})
        return ledger.folder(recipe)

    plain = changed()
    assert plain.parent == ledger.root / "a"
    assert plain.name.startswith("seed3-")
    assert changed(data__directory="/elsewhere") == plain
    others = [
        changed(optimizer__learning_rate=0.2),
        changed(model__name="resnet20"),
        changed(data__name="mnist"),
        changed(arm="b"),
        changed(seed=4),
    ]
    dataset.fingerprint = "cd"
    others.append(changed())
    assert len({plain, *others}) == len(others) + 1


def test_the_data_set_is_looked_for_where_the_recipe_says(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(name: str, *, preprocess: str, **where: object) -> SimpleNamespace:
        asked.append((name, preprocess, where["directory"], where["image_size"]))
        return SimpleNamespace(fingerprint="ab")

    monkeypatch.setattr("cnnlab.data.open_dataset", opened)
    recipe = recipe_of("a", 0)
    ledger.folder(recipe)
    recipe = recipe.override({"data": dict(name="imagenet2012", directory="/there", image_size=64)})
    ledger.folder(recipe)
    recipe = recipe.override({"data.preprocess": "gcn_zca"})
    ledger.folder(recipe)
    assert asked == [
        ("digits", "", None, 0),
        ("imagenet2012", "", "/there", 64),
        ("imagenet2012", "gcn_zca", "/there", 64),
    ]


@pytest.mark.parametrize("error", [NotFinite, OutOfMemory])
def test_a_loss_that_is_no_number_or_too_large_a_batch_stops_its_run_alone(
    ledger: Ledger, recipes: list[Recipe], runs: Runs, error: type[Exception]
) -> None:
    def fail(recipe: Recipe) -> None:
        if (recipe.arm, recipe.seed) == ("b", 0):
            raise error("b seed 0: why")

    runs.before = fail
    assert ledger.complete(recipes, runs) == ["b seed 0: why"]
    assert len(runs.done) == 4
    assert [(r.arm, r.seed) for r in ledger.records(recipes)] == [("a", 0), ("a", 1), ("b", 1)]
    runs.before = lambda recipe: None
    assert ledger.complete(recipes, runs) == []
    assert runs.done[4:] == [("b", 0)]


def test_one_of_several_joined_processes_does_not_go_on_without_memory(
    ledger: Ledger, recipes: list[Recipe], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(recipe: Recipe) -> None:
        monkeypatch.setattr("jax.process_count", lambda: 2)
        raise OutOfMemory("a seed 0: why")

    runs.before = fail
    with pytest.raises(OutOfMemory, match="why"):
        ledger.complete(recipes, runs)
    assert runs.done == [("a", 0)]


def test_any_other_error_goes_up_and_frees_the_lock(
    ledger: Ledger, recipes: list[Recipe], runs: Runs
) -> None:
    def fail(recipe: Recipe) -> None:
        raise OSError("the disk is full")

    runs.before = fail
    with pytest.raises(OSError, match="the disk is full") as caught:
        ledger.complete(recipes, runs)
    assert not isinstance(caught.value, UnusableFolder)
    assert runs.done == [("a", 0)]
    runs.before = lambda recipe: None
    ledger.complete(recipes, runs)
    assert len(ledger.records(recipes)) == 4


def test_where_nothing_can_be_written_it_says_so(
    tmp_path: Path, recipes: list[Recipe], runs: Runs
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableFolder, match=r"cannot write to .*file/a/seed0-"):
        Ledger(tmp_path / "file").complete(recipes, runs)
    unlockable = Ledger(tmp_path / "runs")
    (unlockable.folder(recipes[0]) / ".lock").mkdir(parents=True)
    with pytest.raises(UnusableFolder, match=r"cannot write to .*runs/a/seed0-"):
        unlockable.complete(recipes, runs)
    assert runs.done == []


def test_two_processes_share_the_runs(ledger: Ledger, runs: Runs, tmp_path: Path) -> None:
    log = tmp_path / "done"
    recipes = [recipe_of(arm, seed) for seed in range(6) for arm in ("a", "b")]
    runs.before = lambda recipe: time.sleep(0.05)
    command = [sys.executable, "-c", OTHER_PROCESS, str(ledger.root), str(log)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, env=here) as other:
        while not log.with_suffix(".ready").exists():
            assert other.poll() is None
            time.sleep(0.01)
        log.touch()
        while not log.read_text():  # until it is at its first run: then there is something to share
            assert other.poll() is None
            time.sleep(0.002)
        ledger.complete(recipes, runs)
        finished_here = ledger.records(recipes)
        assert other.wait(timeout=120) == 0
    everything = sorted((arm, seed) for seed in range(6) for arm in ("a", "b"))
    theirs = [line.split() for line in log.read_text().splitlines()]
    assert sorted(runs.done + [(arm, int(seed)) for _, arm, seed in theirs]) == everything
    assert runs.done, "this process did nothing: nothing was shared"
    assert sorted((r.arm, r.seed) for r in finished_here) == everything
    makers = {(r.arm, r.seed): r.parameters for r in finished_here}
    assert all((makers[run] == HERE) == (run in runs.done) for run in everything)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has this run's lock."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", HOLDER, str(folder / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_killed_process_leaves_its_run_to_the_others(
    ledger: Ledger, recipes: list[Recipe], runs: Runs
) -> None:
    with held(ledger.folder(recipes[1])) as holder:
        worker = threading.Thread(target=ledger.complete, args=(recipes, runs), daemon=True)
        worker.start()
        while len(runs.done) < 3:
            assert worker.is_alive()
            time.sleep(0.01)
        time.sleep(0.2)
        assert runs.done == [("a", 0), ("a", 1), ("b", 1)], "the run held elsewhere comes last"
        os.kill(holder.pid, signal.SIGKILL)
        worker.join(timeout=60)
    assert not worker.is_alive()
    assert runs.done[3:] == [("b", 0)]
    assert len(ledger.records(recipes)) == 4


def test_a_run_that_another_process_finished_is_not_done_again(
    ledger: Ledger, recipes: list[Recipe], runs: Runs
) -> None:
    folder = ledger.folder(recipes[0])
    with held(folder) as holder:
        worker = threading.Thread(target=ledger.complete, args=(recipes[:1], runs), daemon=True)
        worker.start()
        time.sleep(0.2)
        record_of(recipes[0], OTHER).write(folder / "record.json")
        holder.kill()
        worker.join(timeout=60)
    assert not worker.is_alive()
    assert runs.done == []
    assert ledger.records(recipes[:1])[0].parameters == OTHER


def test_a_ledger_that_moves_keeps_its_runs(
    ledger: Ledger, recipes: list[Recipe], runs: Runs, tmp_path: Path
) -> None:
    ledger.complete(recipes, runs)
    shutil.move(ledger.root, tmp_path / "elsewhere")
    assert Ledger(tmp_path / "elsewhere").complete(recipes, runs) == []
    assert len(runs.done) == 4


def changed(recipe: Recipe, place: str, value: object) -> str:
    """The record of a run with one thing changed, as a file holds it."""
    found = dataclasses.asdict(record_of(recipe))
    *parents, last = place.split(".")
    inner: Any = found
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return json.dumps(found)


# What a record may be edited to, and what is said of it.
NOT_ITS_RUN: dict[str, tuple[str, object, str]] = {
    "another seed": ("seed", 1, r"does not agree with its config: seed = 1, not 0$"),
    "another arm": ("arm", "b", r"does not agree with its config: arm = 'b', not 'a'$"),
    "a seed in its recipe": ("config.seed", 1, r"another recipe than .*: seed = 1, not 0$"),
    "another recipe": ("config.train.steps", 2, r"another recipe .*: train\.steps = 2, not 1$"),
    "no recipe": ("config.train", 5, r"config: train must be object, not 5$"),
    "an unknown key": ("config.trian", 5, r"config: unknown key: 'trian'; .*'train'\?$"),
    "other data": ("dataset.fingerprint", "cd" * 8, r"other data: fingerprint = 'cdcd"),
    "other data by name": ("dataset.name", "mnist", r"config: data = 'mnist', not 'digits'$"),
    "too few steps": ("steps", 0, r"steps = 0, not 1$"),
    "too many steps": ("steps", 2, r"steps = 2, not 1$"),
    "no number": ("metrics.test_error", float("nan"), "NaN is no finite number$"),
    "a word": ("metrics.test_error", "x", r"metrics\.test_error must be number, not 'x'$"),
    "less than nothing": ("metrics.test_error", -50, r"test_error must be .* 0, not -50$"),
    "more than all": ("metrics.validation_error", 100.5, r"validation_error must be smaller"),
    "a loss below zero": ("metrics.test_loss", -1, r"test_loss must be bigger"),
    "a metric too many": ("metrics.gap", 1, r"has other metrics: gap = True, not None$"),
    "diverged where it must not": ("parameters", "", r"a run that diverged, and the recipe"),
    "no digest": ("parameters", "here", r"parameters must match pattern"),
}


@pytest.mark.parametrize("case", NOT_ITS_RUN.values(), ids=NOT_ITS_RUN)
def test_a_record_that_is_not_its_runs_is_told_and_stays(
    ledger: Ledger, runs: Runs, case: tuple[str, object, str]
) -> None:
    """Nor does it count as finished, nor is the run done again over it."""
    recipe = recipe_of("a", 0)
    path = ledger.folder(recipe) / "record.json"
    path.parent.mkdir(parents=True)
    content = changed(recipe, *case[:2])
    path.write_text(content)
    for read in (
        lambda: ledger.records([recipe]),
        lambda: ledger.complete([recipe], runs),
        lambda: ledger.attempt(recipe, runs),
        lambda: Run(ledger, recipe).finished,
    ):
        with pytest.raises((BadFile, ForeignRecord), match=case[2]) as caught:
            read()
        assert str(caught.value).startswith(str(path))
    assert runs.done == []
    assert path.read_text() == content
    assert [each.name for each in path.parent.iterdir()] == ["record.json"]


def test_a_run_that_diverged_took_no_more_than_its_steps(ledger: Ledger, runs: Runs) -> None:
    recipe = recipe_of("a", 0)
    recipe = recipe.override({"train": {"on_divergence": "chance", "steps": 9}})
    path = ledger.folder(recipe) / "record.json"
    path.parent.mkdir(parents=True)
    guessing = dataclasses.replace(record_of(recipe), parameters="")
    for steps in (0, 5, 9):
        dataclasses.replace(guessing, steps=steps).write(path)
        assert [record.steps for record in ledger.records([recipe])] == [steps]
    dataclasses.replace(guessing, steps=10).write(path)
    with pytest.raises(ForeignRecord, match="steps = 10, not 9"):
        ledger.records([recipe])


@pytest.mark.parametrize("arm", ["..", "../../x", "/tmp/x", "a/b", "a\0b", "", "nul", "x" * 201])
def test_no_arm_leads_out_of_the_ledger(
    ledger: Ledger, runs: Runs, arm: str, tmp_path: Path
) -> None:
    with pytest.raises(BadName, match="cannot be the name of a folder"):
        ledger.complete([recipe_of(arm, 0)], runs)
    assert runs.done == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [Mistake("no"), Failure("no"), OSError("no"), NotFinite("no")])
def test_a_run_that_is_refused_leaves_nothing(
    ledger: Ledger, recipes: list[Recipe], runs: Runs, error: Exception, tmp_path: Path
) -> None:
    def refuse(recipe: Recipe) -> None:
        raise error

    runs.before = refuse
    with contextlib.suppress(type(error)):
        ledger.complete(recipes[:1], runs)
    assert runs.done == [("a", 0)]
    assert list(tmp_path.iterdir()) == []
    # What was there before stays, and so does what the run wrote.
    ledger.root.mkdir()
    with contextlib.suppress(type(error)):
        ledger.complete(recipes[:1], runs)
    assert list(tmp_path.rglob("*")) == [ledger.root]
    runs.before = lambda recipe: write_and_refuse(ledger.folder(recipe), error)
    with contextlib.suppress(type(error)):
        ledger.complete(recipes[:1], runs)
    assert (ledger.folder(recipes[0]) / "config.json").exists()


def write_and_refuse(folder: Path, error: Exception) -> None:
    (folder / "config.json").write_text("{}")
    raise error


def test_one_who_waits_for_a_run_that_is_refused_does_it(
    ledger: Ledger, recipes: list[Recipe], runs: Runs
) -> None:
    """The folder it waits at goes away with the lock."""
    refused, waiting = threading.Event(), threading.Event()

    def refuse(recipe: Recipe, folder: Path) -> Record:
        waiting.wait(60)
        time.sleep(0.2)
        refused.set()
        raise Mistake("no")

    def first() -> None:
        with pytest.raises(Mistake):
            ledger.attempt(recipes[0], refuse)

    holder = threading.Thread(target=first)
    holder.start()
    folder = ledger.folder(recipes[0])
    while not (folder / ".lock").exists():
        time.sleep(0.01)
    waiting.set()
    assert ledger.attempt(recipes[0], runs, wait=True) == []
    holder.join(60)
    assert refused.is_set()
    assert len(ledger.records(recipes[:1])) == 1
