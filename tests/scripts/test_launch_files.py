"""The launch files, with stand-ins for the schedulers' commands that note what they are told."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"

Write = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path) -> Write:
    """Makes a command of a name, by its shell script; `told` in it notes its words."""

    def write(name: str, body: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        note = f'printf "%s\\n" "$@" >>{tmp_path}/{path.name}.told\n'
        path.write_text(f"#!/bin/bash\n{note}{body}\n")
        path.chmod(0o755)

    return write


def launch(folder: Path, script: str, *words: str, **variables: str) -> int:
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", **variables}
    command = ["bash", str(SCRIPTS / script), *words]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def told(folder: Path, name: str) -> list[str]:
    path = folder / f"{name}.told"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(("status", "again"), [(0, False), (1, False), (75, True)])
def test_slurm(tmp_path: Path, command: Write, status: int, again: bool) -> None:
    command("bin/srun", f"exit {status}")
    command("bin/scontrol", "")
    words = ["--preset", "cpu", "--claims", "E1,E 2"]
    variables = {"SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_ID": "17"}
    assert launch(tmp_path, "slurm.sh", *words, **variables) == status
    found = told(tmp_path, "srun")
    assert found[-6:] == [".venv/bin/python", "experiments/reproduce.py", *words]
    assert found[0] == "--cpus-per-task=8"
    assert told(tmp_path, "scontrol") == (["requeue", "17"] if again else [])


@pytest.mark.skipif(not shutil.which("flock"), reason="a command of Linux")
def test_tpu_vms(tmp_path: Path, command: Write) -> None:
    # What `gcloud` is told to run there runs here, with another home.
    command("bin/gcloud", 'for word; do :; done; bash -c "${word#--command=}"')
    command("vm/.venv/bin/python", "")
    folder = tmp_path / "the project"
    folder.mkdir()
    variables = {"HOME": str(tmp_path / "vm"), "ZONE": "us-east5-a", "FOLDER": str(folder)}
    words = ["experiments/reproduce.py", "--preset", "paper", "--claims", "E1,E 2"]
    assert launch(tmp_path, "tpu_vm.sh", "one", *words, **variables) == 0
    assert told(tmp_path, "gcloud")[:7] == [
        *("compute", "tpus", "tpu-vm", "ssh", "one", "--zone=us-east5-a", "--worker=all")
    ]
    deadline = time.monotonic() + 20
    while len(told(tmp_path, "python")) < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    installed, swept = told(tmp_path, "python")[:7], told(tmp_path, "python")[7:]
    assert installed == [
        *("-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--editable")
    ]
    assert swept == [".[tpu]", *words]
    assert launch(tmp_path, "tpu_vm.sh", "one,two", *words, **variables) == 0
    assert [word for word in told(tmp_path, "gcloud") if word in ("one", "two")] == [
        *("one", "one", "two")
    ]


@pytest.mark.parametrize("missing", ["ZONE", "FOLDER"])
def test_tpu_vms_without_a_place(tmp_path: Path, command: Write, missing: str) -> None:
    command("bin/gcloud", "")
    variables = {"ZONE": "us-east5-a", "FOLDER": "/mnt"} | {missing: ""}
    assert launch(tmp_path, "tpu_vm.sh", "one", "a.py", **variables) != 0
    assert told(tmp_path, "gcloud") == []
