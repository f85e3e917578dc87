import os
from pathlib import Path

import pytest

from cnnlab import machine


def test_the_cores_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 3, 12}, raising=False)
    assert machine.cores() == [3, 9, 12]


@pytest.mark.parametrize(("count", "cores"), [(4, [0, 1, 2, 3]), (None, [0])])
def test_cores_where_nobody_tells(
    monkeypatch: pytest.MonkeyPatch, count: int | None, cores: list[int]
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert machine.cores() == cores


def test_where_things_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert machine.cache_folder() == Path("/home/someone/.cache/cnnlab")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert machine.cache_folder() == Path("/scratch/cnnlab")


def test_variables_hold_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_CONV", "onednn")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with machine.variables({"CNNLAB_CONV": "xla", "OMP_NUM_THREADS": "1"}):
        assert os.environ["CNNLAB_CONV"] == "xla"
    assert os.environ["CNNLAB_CONV"] == "onednn"
    assert "OMP_NUM_THREADS" not in os.environ
