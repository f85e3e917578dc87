import fnmatch
import glob
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from sweep_runs import StandIn, attempts, recipe_of, records, runs_of

from cnnlab.evidence import CannotSweep, Ledger
from cnnlab.evidence.processes import Share, on_processes, shares
from cnnlab.evidence.sweep import one_by_one
from cnnlab.training import SaveFailed

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="binds processes to cores")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine of eight cores that JAX can take GPUs of."""
    made = SimpleNamespace(
        cores={0, 1, 2, 3, 4, 5, 6, 7}, gpus="0\n1\n2\n", plugin="xla_cuda12", files=[], libtpu=None
    )

    def listed(command: list[str], **_: object) -> SimpleNamespace:
        assert command[0] == "nvidia-smi"
        if made.gpus is None:
            raise FileNotFoundError
        return SimpleNamespace(stdout=made.gpus)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: made.cores)
    monkeypatch.setattr(subprocess, "run", listed)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [SimpleNamespace(name=made.plugin)]
    )
    monkeypatch.setattr(glob, "glob", lambda pattern: fnmatch.filter(made.files, pattern))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: made.libtpu)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


@needs_linux
class TestShares:
    def test_each_job_has_its_own_cores(self, machine: SimpleNamespace) -> None:
        machine.gpus = None
        assert shares(2) == [
            Share(frozenset({0, 1, 2, 3}), None),
            Share(frozenset({4, 5, 6, 7}), None),
        ]
        assert [share.cores for share in shares(3)] == [{0, 1, 2}, {3, 4, 5}, {6, 7}]
        machine.cores = {3, 9}
        assert [share.cores for share in shares(2)] == [{3}, {9}]

    def test_each_job_has_its_own_gpu(
        self, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert [share.gpu for share in shares(2)] == ["0", "1"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5f")
        assert [share.gpu for share in shares(2)] == ["2", "GPU-5f"]

    def test_gpus_that_jax_does_not_take_are_left(
        self, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine.plugin = "another"
        assert [share.gpu for share in shares(2)] == [None, None]
        machine.plugin = "xla_cuda12"
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        assert [share.gpu for share in shares(8)] == [None] * 8

    @pytest.mark.parametrize("file", ["/dev/accel0", "/dev/vfio/0"])
    def test_a_tpu_is_for_one_process(
        self, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, file: str
    ) -> None:
        machine.gpus, machine.files, machine.libtpu = None, ["/dev/vfio/vfio", file], "libtpu"
        with pytest.raises(CannotSweep, match="jobs = 2 must be from 1 to 1 here: a TPU's chips"):
            shares(2)
        machine.files = ["/dev/vfio/vfio"]
        assert len(shares(2)) == 2
        machine.files, machine.libtpu = [file], None
        assert len(shares(2)) == 2
        machine.libtpu = "libtpu"
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        assert len(shares(2)) == 2

    def test_more_jobs_than_there_is_room_for(self, machine: SimpleNamespace) -> None:
        with pytest.raises(CannotSweep, match=r"jobs = 4 must be from 1 to 3 here: .* GPU"):
            shares(4)
        machine.gpus = None
        with pytest.raises(CannotSweep, match=r"jobs = 9 must be from 1 to 8 here: .* core"):
            shares(9)
        with pytest.raises(CannotSweep, match="jobs = 0"):
            shares(0)


def test_two_processes_give_the_records_that_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run that is no number, one that another process holds, and one that kills its own."""
    monkeypatch.setattr("cnnlab.evidence.processes.LOST", 2)
    alone, shared = (runs_of(tmp_path / name, seeds=2) for name in ("alone", "shared"))
    list(one_by_one(alone, Console(quiet=True)))
    ledger = shared[0].ledger
    ledger.root.mkdir()
    odd = [StandIn(ledger, recipe_of(arm, 0)) for arm in ("held", "dies", "diverges")]
    every_core = Share(None, None)  # as this process has
    done = [(run.recipe.arm, said) for run, said in on_processes([*odd, *shared], [every_core] * 2)]

    assert records(shared) == records(alone)
    assert sorted(arm for arm, _ in done) == ["dies", "diverges", "held", "trained", "trained"]
    said = dict(done)
    assert said["trained"] == said["held"] == []
    assert said["diverges"] == ["diverges is no number"]
    assert said["dies"] == [f"dies seed 0 in {ledger.root}: 2 processes were lost over it, exit -9"]
    assert attempts(ledger.root, "dies") == 2
    waits = [line.split()[2] for line in (ledger.root / "held.attempts").read_text().splitlines()]
    assert waits == ["False", "True"]


def test_an_error_goes_up_and_ends_the_others(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    share = Share(frozenset({core}) if core is not None else None, "5")
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    runs = [StandIn(Ledger(tmp_path), recipe_of(arm, 0)) for arm in ("steady", "unsaved", "after")]
    sweep = on_processes(runs, [share])
    assert next(sweep) == (runs[0], [])
    with pytest.raises(SaveFailed, match="the disk is full") as caught:
        next(sweep)
    assert "in attempt" in caught.value.__notes__[0]
    assert not (tmp_path / "after.attempts").exists()
    pid, cores, _ = (tmp_path / "steady.attempts").read_text().split()
    assert not Path(f"/proc/{pid}").exists()
    assert core is None or cores == str(core)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
