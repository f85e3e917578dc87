"""A disk that fails at any call stops a run in a line, costs no checkpoint, and is gone again.

Started again, where nothing fails, the run ends with the same bytes.
"""

import errno
import io
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import Disk
from rich.console import Console
from trials import Answer, Trials

from cnnlab import training
from cnnlab.errors import Failure
from cnnlab.training import Recipe

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)
QUIET = Console(file=io.StringIO())


def steps(folder: Path) -> list[int]:
    """Of the checkpoints in a run's folder."""
    return sorted(int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit())


def began(finished: Any, folder: Path) -> Path:
    """The finished run's folder as if killed on the way: of its checkpoints, that at 75 is left."""
    shutil.copytree(finished.folder, folder)
    (folder / "record.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "78")
    return folder


def count(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls there are in what is left of a run."""
    disk = Disk(str(folder), 0, 0)
    with monkeypatch.context() as patch:
        disk.install(patch.setattr)
        training.run(recipe, folder, QUIET)
    return disk.calls


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_failing_anywhere_it_raises_moves_nothing_and_is_taken_up(
    finished: Any,
    two_epochs: Callable[[], Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Restoring, training to the end, saving, evaluating and writing the record, in one process."""
    calls, drawn = (
        count(two_epochs(), began(finished, tmp_path / "w"), monkeypatch),
        random.Random(0),
    )
    expected = (finished.folder / "record.json").read_bytes()
    failed = 0
    for number in sorted(drawn.sample(range(1, calls + 1), 12)):
        folder, code = began(finished, tmp_path / str(number)), drawn.choice(ERRORS)
        with monkeypatch.context() as patch:
            Disk(str(folder), number, code).install(patch.setattr)
            try:
                training.run(two_epochs(), folder, QUIET)
            except (OSError, Failure):
                failed += 1
        assert steps(folder)[0] == 75
        assert not (folder / "damaged").exists()
        training.run(two_epochs(), folder, QUIET)
        assert (folder / "record.json").read_bytes() == expected
        assert not list(folder.rglob("*.partial*"))
    assert failed > 8, "the disk did not fail"


OVERRIDES: dict[str, object] = {
    "arms.three_3x3.model.name": "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> FC",
    "train.epochs": 2.0,
    "train.evaluate_epochs": 0.0,
    "train.evaluate_steps": 20,
    "train.checkpoint_epochs": 0.0,
    "train.checkpoint_steps": 25,
    "train.log_steps": 20,
}
COMMAND = [
    "experiments/train.py",
    "--config=configs/stacked_convs.py:digits",
    "--arm=three_3x3",
    *(f"--config.{key}={value}" for key, value in OVERRIDES.items()),
]


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    made = Trials()
    yield made
    made.close()


def train(trials: Trials, workdir: Path, **fault: int) -> Answer:
    return trials([*COMMAND, f"--workdir={workdir}"], workdir, **fault)


def only_run(workdir: Path) -> Path:
    (folder,) = workdir.glob("stacked_convs/digits/three_3x3/seed0-*")
    return folder


def faulty(trials: Trials, workdir: Path, before: list[int], expected: bytes, **fault: int) -> int:
    """A run at which the disk fails, and what is left of it taken up; gives its exit status."""
    answer = train(trials, workdir, **fault)
    assert answer.status in (0, 1), answer
    assert answer.said.count("\n") == answer.status, answer
    assert answer.said.startswith("error: " * answer.status), answer
    folders = list(workdir.glob("stacked_convs/digits/three_3x3/seed0-*"))
    for folder in folders:
        assert not (folder / "damaged").exists()
        assert max(steps(folder), default=0) >= max(before, default=0)
    again = train(trials, workdir)
    assert again.status == 0, again
    assert (only_run(workdir) / "record.json").read_bytes() == expected
    assert not list(workdir.rglob("*.partial*"))
    return answer.status


def test_a_launcher_says_it_in_a_line_and_exits_with_1(trials: Trials, tmp_path: Path) -> None:
    answer = train(trials, tmp_path, fail=300, code=errno.EIO)
    assert (answer.status, answer.said.count("\n"), answer.calls > 300) == (1, 1, True), answer
    assert answer.said.startswith("error: ")
    assert "Input/output error" in answer.said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_fifty_failures(
    trials: Trials, whole: tuple[Path, Path, int, int], tmp_path: Path, seed: int
) -> None:
    """Every other one of a run that was begun before, which is restored first."""
    home, half, all_calls, calls_left = whole
    drawn, workdir = random.Random(seed), tmp_path / "w"
    expected = (only_run(home) / "record.json").read_bytes()
    if resumed := seed % 2:
        shutil.copytree(half, workdir)
    before = steps(only_run(workdir)) if resumed else []
    # Some calls may fail: what is asked for nothing but a look. Then the next.
    for _ in range(5):
        number = drawn.randint(1, calls_left if resumed else all_calls)
        fault = {"fail": number, "code": drawn.choice(ERRORS)}
        if faulty(trials, workdir, before, expected, **fault):
            return
        shutil.rmtree(workdir)
        if resumed:
            shutil.copytree(half, workdir)
    raise AssertionError("nothing failed")


@pytest.fixture(scope="module")
def whole(trials: Trials, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int, int]:
    """A run that nothing interrupted, one with a checkpoint at 75, and the calls of each."""
    home = tmp_path_factory.mktemp("whole")
    whole = train(trials, home / "whole")
    assert whole.status == 0, whole
    shutil.copytree(home / "whole", home / "half")
    (only_run(home / "half") / "record.json").unlink()
    shutil.rmtree(only_run(home / "half") / "checkpoints" / "78")
    shutil.copytree(home / "half", home / "left")
    return home / "whole", home / "half", whole.calls, train(trials, home / "left").calls
