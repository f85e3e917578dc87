"""A run that is cut off, however, and started again is the run that was not: the same record."""

import io
import json
import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from cnnlab import training
from cnnlab.evidence import Ablation
from cnnlab.training import EXIT_INTERRUPTED, Interrupted, Record, SaveFailed, environment
from cnnlab.training.recipe import Recipe

ROOT = Path(__file__).parents[2]


def resume(recipe: Recipe, folder: Path) -> tuple[Record, str]:
    printed = io.StringIO()
    return training.run(recipe, folder, Console(file=printed)), printed.getvalue()


@pytest.mark.parametrize(
    ("step", "goes_on_from"),
    [(1, None), (24, None), (26, 25), (39, 25), (50, 25), (51, 50), (78, 75)],
)
def test_dying_at_any_step(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    crash_at: Callable[[int], type[Exception]],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    goes_on_from: int | None,
) -> None:
    with monkeypatch.context(), pytest.raises(crash_at(step)):
        training.run(two_epochs(), tmp_path, Console(file=io.StringIO()))
    monkeypatch.undo()
    assert not (tmp_path / "record.json").exists()
    record, printed = resume(two_epochs(), tmp_path)
    assert record == finished.record
    assert (f"goes on from step {goes_on_from} of 78" in printed) == (goes_on_from is not None)
    assert_journal_is_that_of(finished.folder, tmp_path)


def assert_journal_is_that_of(whole: Path, taken_up: Path) -> None:
    """The same lines, but for times."""

    def lines(folder: Path) -> list[dict[str, float]]:
        found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        timeless = [{k: v for k, v in line.items() if "_second" not in k} for line in found]
        return [line for line in timeless if line.keys() != {"step"}]

    assert lines(whole) == lines(taken_up)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 33), (signal.SIGINT, 78)])
def test_a_signal_saves_at_that_step_and_stops(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    step: int,
) -> None:
    at_step(step, lambda: signal.raise_signal(number))
    with pytest.raises(Interrupted, match=f"{number.name} at step {step}: saved"):
        training.run(two_epochs(), tmp_path, Console(file=io.StringIO()))
    monkeypatch.undo()
    assert (tmp_path / "checkpoints" / str(step)).is_dir()
    assert not (tmp_path / "record.json").exists()
    record, printed = resume(two_epochs(), tmp_path)
    assert record == finished.record
    assert f"goes on from step {step} of 78" in printed


def cut_off_at_the_end(finished: Any, folder: Path) -> Path:
    """The finished run's folder as if killed before its record; checkpoints at 75 and 78."""
    shutil.copytree(finished.folder, folder)
    (folder / "record.json").unlink()
    return folder


def test_what_another_commit_began_says_so(
    finished: Any, two_epochs: Callable[[], Recipe], tmp_path: Path
) -> None:
    folder = cut_off_at_the_end(finished, tmp_path / "run")
    facts = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(facts | {"commit": "another"}))
    here = finished.record.environment
    for _ in range(2):  # taken up once more, it was still begun there
        record, _ = resume(two_epochs(), folder)
        assert record.environment == here | {"begun": here | {"commit": "another"}}
        assert record.parameters == finished.record.parameters
        (folder / "record.json").unlink()


@pytest.mark.parametrize(("damaged", "goes_on_from"), [([78], 75), ([75, 78], None)])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damaged: list[int],
    goes_on_from: int | None,
) -> None:
    folder = cut_off_at_the_end(finished, tmp_path / "run")
    for step in damaged:
        files = [path for path in (folder / f"checkpoints/{step}").rglob("*") if path.is_file()]
        os.truncate(max(files, key=lambda path: path.stat().st_size), 40)
    with caplog.at_level(logging.WARNING, "cnnlab"):
        record, printed = resume(two_epochs(), folder)
    assert record == finished.record
    assert f"checkpoint at step {damaged[0]} is damaged" in caplog.text
    assert (f"goes on from step {goes_on_from} of 78" in printed) == (goes_on_from is not None)
    assert_journal_is_that_of(finished.folder, folder)


def test_a_save_that_fails_stops_the_run_with_its_last_checkpoint_whole(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = ocp.Checkpointer.save

    def full_at_50(self: ocp.Checkpointer, path: Path, **options: Any) -> None:
        if path.name == "50.partial":
            raise OSError(28, "No space left on device")
        save(self, path, **options)

    monkeypatch.setattr(ocp.Checkpointer, "save", full_at_50)
    with pytest.raises(SaveFailed, match=r"step 50 .*No space left.* checkpoint: step 25"):
        training.run(two_epochs(), tmp_path, Console(file=io.StringIO()))
    monkeypatch.undo()
    record, printed = resume(two_epochs(), tmp_path)
    assert record == finished.record
    assert "goes on from step 25 of 78" in printed


# From here on real processes, through the launcher.

# Those of `two_epochs`, as far as the preset is not: what is compiled for one serves the other.
OVERRIDES: dict[str, object] = {
    "arms.three_3x3.model.name": "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> FC",
    "train.epochs": 2.0,
    "train.evaluate_epochs": 0.0,
    "train.evaluate_steps": 20,
    "train.checkpoint_epochs": 0.0,
    "train.checkpoint_steps": 25,
    "train.log_steps": 1,
}
COMMAND = [
    "experiments/train.py",
    "--config=configs/stacked_convs.py:digits",
    "--arm=three_3x3",
    *(f"--config.{key}={value}" for key, value in OVERRIDES.items()),
]

SABOTAGE = """
import os, runpy, signal, sys
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.progress import Display

def end(number): os.kill(os.getpid(), number)

def after(method, act):
    def both(self, *arguments):
        result = method(self, *arguments)
        act(*arguments)
        return result
    return both

def at_step(number, at):
    Display.advance = after(Display.advance, lambda step, loss: step == at and end(number))

def after_save(number, at):
    Checkpoints.save = after(Checkpoints.save, lambda state: int(state.step) == at and end(number))

def during_save(number, at):
    def watch(event, arguments):
        # All is written, and about to be given its name.
        if event == "os.rename" and os.path.basename(os.fspath(arguments[1])) == str(at):
            end(number)
    sys.addaudithook(watch)

{act}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recipe, bytes]]:
    """What the command runs, and the record it gives where nothing interrupts it."""
    with pytest.MonkeyPatch.context() as patch:
        # A commit made while these tests run shall not make the records differ.
        patch.setenv("GIT_DIR", os.devnull)
        environment._git.cache_clear()
        config = runpy.run_path(str(ROOT / "configs/stacked_convs.py"))["get_config"]("digits")
        config.update_from_flattened_dict(OVERRIDES)
        recipe = Ablation.from_config(config).recipe("three_3x3", 0)
        folder = tmp_path_factory.mktemp("uninterrupted")
        resume(recipe, folder)
        yield recipe, (folder / "record.json").read_bytes()
    environment._git.cache_clear()


def launch(workdir: Path, act: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end, or to what `act` does to it."""
    start = ["-c", SABOTAGE.format(act=act)] if act else []
    return subprocess.run(
        [sys.executable, *start, *COMMAND, f"--workdir={workdir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def only_run(workdir: Path) -> Path:
    (folder,) = workdir.glob("stacked_convs/digits/three_3x3/seed0-*")
    return folder


def checkpoints(workdir: Path) -> list[str]:
    return sorted(path.name for path in (only_run(workdir) / "checkpoints").iterdir())


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("act", "left"),
    [
        pytest.param("at_step(signal.SIGKILL, 33)", ["25"], marks=slow),
        pytest.param("after_save(signal.SIGKILL, 50)", ["25", "50"], marks=slow),
        ("during_save(signal.SIGKILL, 50)", ["25", "50.partial"]),
    ],
)
def test_a_killed_process(
    uninterrupted: tuple[Recipe, bytes], tmp_path: Path, act: str, left: list[str]
) -> None:
    recipe, expected = uninterrupted
    assert launch(tmp_path, act).returncode == -signal.SIGKILL
    assert checkpoints(tmp_path) == left
    resume(recipe, only_run(tmp_path))
    assert (only_run(tmp_path) / "record.json").read_bytes() == expected


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=slow)])
def test_a_process_asked_to_stop(
    uninterrupted: tuple[Recipe, bytes], tmp_path: Path, name: str
) -> None:
    recipe, expected = uninterrupted
    done = launch(tmp_path, f"at_step(signal.{name}, 33)")
    assert done.returncode == EXIT_INTERRUPTED == 75
    assert f"{name} at step 33: saved" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoints(tmp_path) == ["25", "33"]
    resume(recipe, only_run(tmp_path))
    assert (only_run(tmp_path) / "record.json").read_bytes() == expected


@pytest.mark.slow
def test_cut_off_again_and_again(uninterrupted: tuple[Recipe, bytes], tmp_path: Path) -> None:
    _, expected = uninterrupted
    for act in (
        "at_step(signal.SIGKILL, 5)",
        "during_save(signal.SIGKILL, 25)",
        "after_save(signal.SIGKILL, 25)",
        "at_step(signal.SIGINT, 39)",
        "during_save(signal.SIGKILL, 78)",
    ):
        assert launch(tmp_path, act).returncode in (-signal.SIGKILL, EXIT_INTERRUPTED)
    done = launch(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (only_run(tmp_path) / "record.json").read_bytes() == expected
    assert json.loads(expected)["metrics"] == json.loads(done.stdout[done.stdout.index("{") :])
