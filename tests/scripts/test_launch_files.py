"""The launch files, with stand-ins for the schedulers' commands that note what they are told."""

import fcntl
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


def launched(
    folder: Path, script: str, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", **variables}
    command = ["bash", str(SCRIPTS / script), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def launch(folder: Path, script: str, *words: str, **variables: str) -> int:
    return launched(folder, script, *words, **variables).returncode


def told(folder: Path, name: str) -> list[str]:
    path = folder / f"{name}.told"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("status", "time_is_up", "again"),
    [
        (0, False, False),
        (1, False, False),
        (75, False, True),
        (137, False, False),  # a process that is killed each time would be so for ever
        (0, True, False),
        (75, True, True),
        (137, True, True),
    ],
)
def test_slurm(tmp_path: Path, command: Write, status: int, time_is_up: bool, again: bool) -> None:
    command("bin/srun", f"{'kill -TERM $PPID; sleep 0.1; ' * time_is_up}exit {status}")
    command("bin/scancel", "")
    command("bin/scontrol", "")
    words = ["--preset", "cpu", "--claims", "E1,E 2"]
    variables = {"SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_ID": "17"}
    assert launch(tmp_path, "slurm.sh", *words, **variables) == status
    found = told(tmp_path, "srun")
    assert found[-6:] == [".venv/bin/python", "experiments/reproduce.py", *words]
    assert found[0] == "--cpus-per-task=8"
    assert told(tmp_path, "scancel") == (["--signal=TERM", "17"] if time_is_up else [])
    assert told(tmp_path, "scontrol") == (["requeue", "17"] if again else [])


def test_slurm_adds_to_the_logs_of_a_job_that_is_taken_up(tmp_path: Path, command: Write) -> None:
    command("bin/srun", "")
    launch(tmp_path, "slurm.sh", SLURM_CPUS_PER_TASK="8", SLURM_JOB_ID="17")
    assert "--open-mode=append" in told(tmp_path, "srun")
    assert "#SBATCH --open-mode=append" in (SCRIPTS / "slurm.sh").read_text().splitlines()


@pytest.fixture
def vm(tmp_path: Path, command: Write, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `gcloud` is told to run on a VM runs here, with a home for each; gives the variables."""
    if not shutil.which("flock"):
        pytest.skip("flock is a command of Linux")
    command("bin/gcloud", 'for word; do :; done; HOME=$HOME/$5 bash -c "${word#--command=}"')
    for name in ("one", "two", "three"):
        command(f"{name}/.venv/bin/python", f'echo "data: $TFDS_DATA_DIR" >>{tmp_path}/python.told')
    (tmp_path / "the project").mkdir()
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return {"HOME": str(tmp_path), "ZONE": "us-east5-a", "FOLDER": str(tmp_path / "the project")}


def told_twice(folder: Path, name: str, last: str) -> list[str]:
    """Once the command was called twice, of which the second goes on in the background."""
    deadline = time.monotonic() + 20
    while told(folder, name).count(last) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    return told(folder, name)


def test_tpu_vms(tmp_path: Path, vm: dict[str, str]) -> None:
    words = ["experiments/reproduce.py", "--preset", "paper", "--claims", "E1,E 2"]
    assert launch(tmp_path, "tpu_vm.sh", "one", *words, **vm) == 0
    assert told(tmp_path, "gcloud")[:7] == [
        *("compute", "tpus", "tpu-vm", "ssh", "one", "--zone=us-east5-a", "--worker=all")
    ]
    data = f"data: {tmp_path}/the project/tensorflow_datasets"
    assert told_twice(tmp_path, "python", data) == [
        *("-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--editable"),
        *(".[tpu]", data, *words, data),
    ]
    assert launch(tmp_path, "tpu_vm.sh", "two,three", *words, **vm) == 0
    assert [word for word in told(tmp_path, "gcloud") if word in ("one", "two", "three")] == [
        *("one", "two", "three")
    ]


def test_tpu_vms_with_data_elsewhere(tmp_path: Path, vm: dict[str, str]) -> None:
    vm["TFDS_DATA_DIR"] = "/mnt/the data"
    assert launch(tmp_path, "tpu_vm.sh", "one", "a.py", **vm) == 0
    assert told_twice(tmp_path, "python", "data: /mnt/the data")[-2:] == [
        *("a.py", "data: /mnt/the data")
    ]


def test_a_python_of_another_name(tmp_path: Path, vm: dict[str, str], command: Write) -> None:
    (tmp_path / "one" / ".venv" / "bin" / "python").unlink()
    command("bin/python3.13", "exit 5")
    assert launch(tmp_path, "tpu_vm.sh", "one", "a.py", PYTHON="python3.13", **vm) == 5
    assert told(tmp_path, "python3.13") == ["-m", "venv", f"{tmp_path}/one/.venv"]


def test_a_tpu_vm_that_is_at_work_is_left_alone(tmp_path: Path, vm: dict[str, str]) -> None:
    with open(tmp_path / "one" / "sweep.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = launched(tmp_path, "tpu_vm.sh", "one", "a.py", **vm)
    assert refused.returncode == 1
    assert refused.stderr.endswith(" is at work already; ~/sweep.log there says at what\n")
    assert told(tmp_path, "python") == []


@pytest.mark.parametrize("missing", ["ZONE", "FOLDER"])
def test_tpu_vms_without_a_place(tmp_path: Path, command: Write, missing: str) -> None:
    command("bin/gcloud", "")
    variables = {"ZONE": "us-east5-a", "FOLDER": "/mnt"} | {missing: ""}
    assert launch(tmp_path, "tpu_vm.sh", "one", "a.py", **variables) != 0
    assert told(tmp_path, "gcloud") == []
