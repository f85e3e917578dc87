"""A run that is killed at any point, again and again, ends with the bytes of one that was not.

At start, while it compiles, trains, saves, evaluates, or writes its record: at a time that is
drawn, or at a call of the disk.
"""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from faulty_disk import KILL
from trials import Answer, Trials

OVERRIDES: dict[str, object] = {
    "arms.three_3x3.model.name": "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> FC",
    "train.epochs": 2.0,
    "train.evaluate_epochs": 0.0,
    "train.evaluate_steps": 13,
    "train.checkpoint_epochs": 0.0,
    "train.checkpoint_steps": 10,
    "train.log_steps": 3,
}
COMMAND = [
    "experiments/train.py",
    "--config=configs/stacked_convs.py:digits",
    "--arm=three_3x3",
    *(f"--config.{key}={value}" for key, value in OVERRIDES.items()),
]


class Whole(NamedTuple):
    """A run that nothing interrupted: its record, how long it took, how often it asked the disk."""

    record: bytes
    seconds: float
    calls: int


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    made = Trials()
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(trials: Trials, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    home, start = tmp_path_factory.mktemp("whole"), time.monotonic()
    answer = train(trials, home)
    assert answer.status == 0, answer
    return Whole(record_in(home), time.monotonic() - start, answer.calls)


def train(trials: Trials, workdir: Path, **how: float) -> Answer:
    return trials([*COMMAND, f"--workdir={workdir}"], workdir, **how)  # type: ignore[arg-type]


def record_in(workdir: Path) -> bytes:
    (path,) = workdir.glob("stacked_convs/digits/three_3x3/seed0-*/record.json")
    return path.read_bytes()


def killed_and_taken_up(
    trials: Trials, whole: Whole, workdir: Path, drawn: random.Random, kills: int
) -> int:
    """How many of the kills met the run; none does that is over."""
    met = 0
    for _ in range(kills):
        if drawn.random() < 0.5:
            answer = train(trials, workdir, kill=drawn.uniform(0.05, whole.seconds))
        else:
            answer = train(trials, workdir, fail=drawn.randint(1, whole.calls // 3), code=KILL)
        assert answer.status in (0, -signal.SIGKILL), answer
        met += answer.status == -signal.SIGKILL
    answer = train(trials, workdir)
    assert (answer.status, answer.said) == (0, "")
    assert record_in(workdir) == whole.record
    assert not list(workdir.rglob("*.partial*"))
    assert not list(workdir.rglob("damaged"))
    return met


def test_twice(trials: Trials, whole: Whole, tmp_path: Path) -> None:
    assert killed_and_taken_up(trials, whole, tmp_path, random.Random(0), kills=2) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_times(trials: Trials, whole: Whole, tmp_path: Path, seed: int) -> None:
    """Twenty times here, in as many runs as that takes, each killed up to five times."""
    drawn, met, runs = random.Random(seed), 0, 0
    while met < 20:
        runs += 1
        met += killed_and_taken_up(trials, whole, tmp_path / str(runs), drawn, min(5, 20 - met))
    print(f"{met} kills of {runs} runs")
