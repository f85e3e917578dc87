import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from left_by_runs import record_of
from rich.console import Console
from sweep_runs import StandIn, recipe_of

from cnnlab.evidence import Ledger
from cnnlab.evidence.sweep import Run, TimeLeft, one_by_one, time_left
from cnnlab.training.recipe import dataset_of

QUIET = Console(quiet=True)


def finish(run: Run, *, rates: list[float]) -> None:
    """What a finished run leaves, with what its journal said of images/s."""
    run.folder.mkdir(parents=True)
    left = record_of(run.recipe)
    data = left.dataset | {"fingerprint": dataset_of(run.recipe).fingerprint}
    replace(left, dataset=data).write(run.folder / "record.json")
    lines = [{"step": 0, "compile_seconds": 3.0}]
    lines += [{"step": step + 1, "images_per_second": rate} for step, rate in enumerate(rates)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Arms a and b of one ledger, and c of another, with seeds 0 to 2."""
    one, other = Ledger(tmp_path / "one"), Ledger(tmp_path / "other")
    where = {"a": one, "b": one, "c": other}
    return [Run(where[arm], recipe_of(arm, seed)) for seed in range(3) for arm in "abc"]


def test_time_left_is_told_by_the_arm_then_by_the_work(runs: list[Run]) -> None:
    assert time_left(runs, 1) == TimeLeft(0, unknown=9)
    # 640 images each: 10 and 20 seconds of arm a, by the last rate. One b is half-finished.
    finish(runs[0], rates=[1.0, 64.0])
    finish(runs[3], rates=[32.0])
    runs[1].folder.mkdir(parents=True)
    (runs[1].folder / "metrics.jsonl").write_text('{"step": 1, "images_per_second": 1.0}\n')
    assert [runs[i].seconds() for i in (0, 1, 3, 6)] == [10, None, 20, None]
    assert time_left(runs, 1) == TimeLeft(7 * 15, unknown=0)  # all are of one network and length
    finish(runs[4], rates=[64.0])  # arm b: 10 seconds
    finish(runs[2], rates=[])  # arm c: too short to report
    left = 15 + 2 * 10 + 2 * 40 / 3  # c goes by all that are finished
    assert time_left(runs, 1) == TimeLeft(pytest.approx(left), unknown=0)
    assert time_left(runs, 2) == TimeLeft(pytest.approx(left / 2), unknown=0)
    # Of five runs left no more than five go at once.
    assert time_left(runs, 100) == TimeLeft(pytest.approx(left / 5), unknown=0)
    for run in (runs[1], runs[5], runs[6], runs[7], runs[8]):
        (run.folder / "metrics.jsonl").unlink(missing_ok=True)
        run.folder.rmdir() if run.folder.exists() else None
        finish(run, rates=[1.0])
    assert time_left(runs, 2) == TimeLeft(0, unknown=0)


def test_an_arm_of_more_work_takes_longer(tmp_path: Path) -> None:
    """640 multiply-adds an image and 640 images took 10 s; four times both take 160."""
    wide = "INPUT -> AVGPOOL2 -> FC"
    small = Run(Ledger(tmp_path), recipe_of("small", 0))
    large = Run(Ledger(tmp_path), recipe_of("large", 0, net=wide, steps=40))
    assert large.work() == 16 * small.work()
    assert small.work() == (8 * 8 * 10) * 640
    finish(small, rates=[64.0])
    assert time_left([small, large], 1) == TimeLeft(160, unknown=0)
    elsewhere = Run(Ledger(tmp_path / "other"), large.recipe)
    assert time_left([small, elsewhere], 1) == TimeLeft(160, unknown=0)


def test_runs_that_others_are_at_come_last(tmp_path: Path) -> None:
    runs = [StandIn(Ledger(tmp_path), recipe_of(arm, 0)) for arm in ("held", "diverges", "steady")]
    done = [(run.recipe.arm, said) for run, said in one_by_one(runs, QUIET)]
    assert done == [("diverges", ["diverges is no number"]), ("steady", []), ("held", [])]
    waits = [line.split()[2] for line in (tmp_path / "held.attempts").read_text().splitlines()]
    assert waits == ["False", "True"]


def test_an_attempt_leaves_a_run_that_another_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    monkeypatch.setattr("cnnlab.training.run", lambda recipe, folder, console: done.append(folder))
    run = Run(Ledger(tmp_path), recipe_of("a", 0))
    run.folder.mkdir(parents=True)
    lock = FileLock(run.folder / ".lock", thread_local=False)
    with lock:
        assert run.attempt(QUIET, wait=False) is None
        said: list[object] = []
        waiting = threading.Thread(target=lambda: said.append(run.attempt(QUIET, wait=True)))
        waiting.start()
        time.sleep(0.1)
        assert (done, said) == ([], [])
    waiting.join(timeout=60)
    assert (done, said) == ([run.folder], [[]])


def test_what_is_not_known_of_a_network_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of unknown MACs has no pace, and none is told by the pace of others."""
    small = Run(Ledger(tmp_path), recipe_of("small", 0))
    own, again = (Run(Ledger(tmp_path), recipe_of("own", seed)) for seed in range(2))
    works = {"small": 640.0, "own": None}
    monkeypatch.setattr(Run, "work", lambda run: works[run.recipe.arm])
    finish(small, rates=[64.0])
    assert time_left([small, own, again], 1) == TimeLeft(0, unknown=2)
    finish(own, rates=[32.0])
    assert time_left([small, own, again], 1) == TimeLeft(20, unknown=0)
    elsewhere = Run(Ledger(tmp_path / "other"), recipe_of("small", 0))
    assert time_left([own, elsewhere], 1) == TimeLeft(0, unknown=1)
