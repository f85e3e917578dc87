"""Two processes of four virtual devices each, as on two hosts, against one process of one."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from cnnlab import training
from cnnlab.evidence import Ablation
from cnnlab.training import EXIT_INTERRUPTED, Record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OVERRIDES: dict[str, object] = {
    "arms.three_3x3.model.name": "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> DROP0.3 -> FC",
    "train.epochs": 0.0,
    "train.steps": 30,
    "train.evaluate_epochs": 0.0,
    "train.evaluate_steps": 20,
    "train.checkpoint_epochs": 0.0,
    "train.checkpoint_steps": 10,
    "train.log_steps": 1,
    "schedule.warmup_epochs": 0.0,
}
TRAIN = """
import os, runpy, signal, sys
from cnnlab.training import progress

advance, at, number = progress.Display.advance, int(sys.argv[1]), int(sys.argv[2])
cannot_read = sys.argv[3] == "True"

def advance_and_end(self, step, loss):
    if step == at:
        os.kill(os.getpid(), number)
    return advance(self, step, loss)

def refuse(*_, **options):
    raise OSError(5, "Input/output error")

progress.Display.advance = advance_and_end
if cannot_read:
    import orbax.checkpoint
    orbax.checkpoint.Checkpointer.restore = refuse
sys.argv = sys.argv[4:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


DIGITS = [
    *("--config=configs/stacked_convs.py:digits", "--arm=three_3x3"),
    *(f"--config.{key}={value}" for key, value in OVERRIDES.items()),
]
STREAMED: dict[str, object] = {
    "data.image_size": 16,
    "train.batch_size": 8,
    "train.eval_batch_size": 8,
    "train.epochs": 0.0,
    "train.steps": 15,
    "train.evaluate_epochs": 1.0,
    "train.log_steps": 1,
    "schedule.warmup_epochs": 1.0,
    "model.name": "resnet18",
    "model.dtype": "float32",
    "optimizer.learning_rate": 0.01,
}


def on_two(
    workdir: Path,
    end: tuple[int, int, int] | None = None,
    options: Sequence[str] = DIGITS,
    cannot_read: int | None = None,
) -> list[tuple[int, str]]:
    """Exit status and stderr of each; `end` is a process, a step, and the signal it gets then.

    To the process of the number `cannot_read` no checkpoint is readable.
    """
    address = f"127.0.0.1:{free_port()}"
    started = []
    for this in range(2):
        _, *when = end if end and end[0] == this else (0, -1, 0)
        environment = os.environ | {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(this),
            "JAX_PLATFORMS": "cpu",
            "GIT_DIR": os.devnull,  # a commit made meanwhile shall not make records differ
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        }
        command = [
            *(sys.executable, "-c", TRAIN, *map(str, when), str(this == cannot_read)),
            "experiments/train.py",
            *options,
            *("--distributed", f"--workdir={workdir}"),
        ]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
            )
        )
    said = [each.communicate(timeout=600)[1] for each in started]
    return [(each.returncode, words) for each, words in zip(started, said, strict=True)]


def only_run(workdir: Path) -> Path:
    (folder,) = workdir.glob("*/*/*/seed0-*")
    return folder


def curve(folder: Path) -> list[dict[str, float]]:
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    lines = [{k: v for k, v in line.items() if "_second" not in k} for line in found]
    return [line for line in lines if line.keys() != {"step"}]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    workdir: Path = tmp_path_factory.mktemp("two")
    for status, said in on_two(workdir):
        assert status == 0, said
    return only_run(workdir)


def test_the_run_of_one_device(two: Path, tmp_path: Path) -> None:
    config = runpy.run_path(str(ROOT / "configs/stacked_convs.py"))["get_config"]("digits")
    config.update_from_flattened_dict(OVERRIDES)
    recipe = Ablation.from_config(config).recipe("three_3x3", 0)
    record = training.run(recipe, tmp_path, Console(quiet=True))
    lines, others = curve(tmp_path), curve(two)
    assert len(lines) == 31
    for line, other in zip(lines, others, strict=True):
        assert other == pytest.approx(line, rel=1e-4)
    found = Record.read(two / "record.json")
    assert found.metrics == pytest.approx(record.metrics, rel=1e-4)
    assert (found.environment["devices"], found.environment["processes"]) == (8, 2)
    # One process wrote, and once.
    assert sorted(path.name for path in two.iterdir() if path.name != ".lock") == [
        "checkpoints",
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "record.json",
        "tensorboard",
    ]
    assert len(list((two / "tensorboard").iterdir())) == 1


def test_streamed_each_reads_its_share(imagenet: Path, tmp_path: Path) -> None:
    """And the run is that of one device."""
    overrides = STREAMED | {"data.directory": str(imagenet)}
    options = [
        *("--config=configs/imagenet_resnet50.py:paper", "--arm=stride_in_3x3"),
        *(f"--config.{key}={value}" for key, value in overrides.items()),
    ]
    for status, said in on_two(tmp_path / "two", options=options):
        assert status == 0, said
    config = runpy.run_path(str(ROOT / "configs/imagenet_resnet50.py"))["get_config"]("paper")
    config.update_from_flattened_dict(overrides)
    recipe = Ablation.from_config(config).recipe("stride_in_3x3", 0)
    record = training.run(recipe, tmp_path / "one", Console(quiet=True))
    found = only_run(tmp_path / "two")
    lines, others = curve(tmp_path / "one"), curve(found)
    assert len(lines) == 17
    for line, other in zip(lines, others, strict=True):
        assert other == pytest.approx(line, rel=1e-3)
    assert Record.read(found / "record.json").metrics == pytest.approx(record.metrics, rel=1e-3)


@pytest.mark.parametrize("process", [0, 1])
def test_killed_and_taken_up(two: Path, tmp_path: Path, process: int) -> None:
    """The one that is left cannot go on alone; started again they end with the same bits."""
    ended = on_two(tmp_path, (process, 25, signal.SIGKILL))
    assert ended[process][0] == -signal.SIGKILL
    assert ended[1 - process][0] != 0
    assert not (only_run(tmp_path) / "record.json").exists()
    for status, said in on_two(tmp_path):
        assert status == 0, said
    folder = only_run(tmp_path)
    assert (folder / "record.json").read_bytes() == (two / "record.json").read_bytes()
    assert curve(folder) == curve(two)


def test_one_of_them_is_asked_to_stop(two: Path, tmp_path: Path) -> None:
    """Both stop, at the same step."""
    for status, said in on_two(tmp_path, (1, 13, signal.SIGTERM)):
        assert status == EXIT_INTERRUPTED, said
        assert "SIGTERM at step 13: saved" in said
    for status, said in on_two(tmp_path):
        assert status == 0, said
    folder = only_run(tmp_path)
    assert (folder / "record.json").read_bytes() == (two / "record.json").read_bytes()


def cut_off(workdir: Path) -> Path:
    """A run that was killed at step 25: its folder, with checkpoints at 10 and 20."""
    on_two(workdir, (0, 25, signal.SIGKILL))
    folder = only_run(workdir)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir() if p.is_dir()) == ["10", "20"]
    return folder


def test_both_pass_over_the_same_damaged_one(two: Path, tmp_path: Path) -> None:
    folder = cut_off(tmp_path)
    files = [path for path in (folder / "checkpoints" / "20").rglob("*") if path.is_file()]
    max(files, key=lambda path: path.stat().st_size).write_bytes(b"")
    for status, said in on_two(tmp_path):
        assert status == 0, said
    assert [path.name for path in (folder / "damaged").iterdir()] == ["20"]
    assert (folder / "record.json").read_bytes() == (two / "record.json").read_bytes()


@pytest.mark.parametrize("process", [0, 1])
def test_what_one_cannot_read_stops_both_and_stays(two: Path, tmp_path: Path, process: int) -> None:
    folder = cut_off(tmp_path)
    answers = on_two(tmp_path, cannot_read=process)
    assert [status for status, _ in answers] == [1, 1], answers
    words = ("Input/output error", "another of the processes that joined could not read it")
    for this, (_, said) in enumerate(answers):
        assert f"checkpoints/20 could not be read: {'[Errno 5] ' * (this == process)}" in said
        assert words[this != process] in said
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["10", "20"]
    assert not (folder / "damaged").exists()
    for status, said in on_two(tmp_path):
        assert status == 0, said
    assert (folder / "record.json").read_bytes() == (two / "record.json").read_bytes()
