"""What is around a run's steps: its start, its memory, and what seeds side by side gain.

All is measured on processes as a user starts them, with CIFAR-10 of `$TFDS_DATA_DIR`.
"""

import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from cnnlab.benchmark.report import TIMES, in_print, pipe, ratio
from cnnlab.evidence import Ledger
from cnnlab.evidence.ablation import load_ablation
from cnnlab.evidence.processes import Share, on_processes, shares
from cnnlab.evidence.sweep import Run
from cnnlab.files import Format, strict
from cnnlab.machine import variables
from cnnlab.training import journal
from cnnlab.training.environment import code_of, environment
from cnnlab.training.recipe import Recipe

CONFIGS = Path("configs")
SEEDS = (0, 1)
STEPS_ALONE = 200
MIB = 2**20


_COUNT, _TEXT = {"type": "integer", "minimum": 1}, {"type": "string"}
_MACHINE = {
    "commit": {"type": ["string", "null"]},
    "dirty": {"type": ["boolean", "null"]},
    "device": _TEXT,
    "jax": _TEXT,
    "load": {"type": "number"},
}
_ALONE = {"steps": _COUNT, **dict.fromkeys(("first_step", "whole", "peak_bytes"), TIMES)}
_BOTH = strict({"in_turn": TIMES, "at_once": TIMES})
RESULTS = Format(
    strict(
        {
            "date": _TEXT,
            "machine": strict(_MACHINE),
            "steps": _COUNT,
            "alone": strict(_ALONE),
            "seeds": {"type": "object", "additionalProperties": _BOTH},
        }
    )
)
"""What `measure` gives, in a file."""


class Alone(NamedTuple):
    """A run's process: seconds from its start to the end of the first step, to its own, memory."""

    first_step: float
    whole: float
    peak_bytes: int


def measure(rounds: int, steps: int) -> dict[str, Any]:
    """Time a run of its own, and two seeds one after the other and at once.

    Args:
        rounds: how often each is done.
        steps: of each seed; the run of its own has `STEPS_ALONE`.

    Returns:
        `date`, `machine`, `steps`, `alone` (`steps` and lists of the fields of `Alone`) and
        `seeds`: by what convolves, lists of the seconds `in_turn` and `at_once`.

    Raises:
        DataMissing: no CIFAR-10 is prepared.
        subprocess.CalledProcessError: a run failed.
    """
    machine = environment() | {"load": os.getloadavg()[0]}
    _alone(1)  # compiles the native code, where that was not done
    alone = [_alone(STEPS_ALONE)._asdict() for _ in range(rounds)]
    both = dict.fromkeys(("xla", machine["convolutions"].split()[0]))
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine,
        "steps": steps,
        "alone": {key: [each[key] for each in alone] for key in Alone._fields}
        | {"steps": STEPS_ALONE},
        "seeds": {backend: _seeds(backend, rounds, steps) for backend in both},
    }


def _alone(steps: int) -> Alone:
    """A ResNet-20 at batch 128 by `experiments/train.py`, evaluated at the end."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "experiments/train.py", "--arm", "resnet20", "--workdir", home]
        command += ["--config", "configs/residual_depth.py:paper"]
        command += [f"--config.train.steps={steps}", "--config.train.log_steps=1"]
        silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
        first_step, ended, start = None, 0, time.perf_counter()
        child = os.posix_spawn(sys.executable, command, os.environ, file_actions=[silent])
        while not ended:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            whole = time.perf_counter() - start
            if first_step is None and _steps(Path(home)):
                first_step = whole
            time.sleep(0.02)
        if status or first_step is None:
            raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    unit = 1 if sys.platform == "darwin" else 1024
    return Alone(first_step, whole, usage.ru_maxrss * unit)


def _steps(home: Path) -> int:
    """How many the one run in `home` has made and told of."""
    folders = [path.parent for path in home.rglob("config.json")]
    return max((int(line["step"]) for each in folders for line in journal.read(each)), default=0)


def _seeds(backend: str, rounds: int, steps: int) -> dict[str, list[float]]:
    """Two seeds of E1's stack, in one process with all cores, and in two that halve them."""
    recipe = load_ablation(CONFIGS / "stacked_convs.py", "cpu").recipe("three_3x3", SEEDS[0])
    recipe = recipe.override(
        {"train": {"epochs": 0.0, "steps": steps}, "schedule.warmup_epochs": 0.0}
    )
    ways = {"in_turn": shares(1), "at_once": shares(len(SEEDS))}
    with variables({"CNNLAB_CONV": backend}):
        turns = [{way: _sweep(recipe, parts) for way, parts in ways.items()} for _ in range(rounds)]
    return {way: [turn[way] for turn in turns] for way in ways}


def _sweep(recipe: Recipe, parts: Sequence[Share]) -> float:
    with tempfile.TemporaryDirectory() as home:
        runs = [Run(Ledger(Path(home)), recipe.override({"seed": seed})) for seed in SEEDS]
        start = time.perf_counter()
        for run, failures in on_processes(runs, parts):
            if failures:
                raise RuntimeError(f"{run}: {failures}")
        return time.perf_counter() - start


def markdown(results: dict[str, Any]) -> str:
    """The machine and a table."""
    machine, alone = results["machine"], results["alone"]
    rows = [
        ("ResNet-20, batch 128: process start to the end of the first step",
         _seconds(alone["first_step"])),
        (f"the same, to the end of {alone['steps']} steps and the evaluations",
         _seconds(alone["whole"])),
        ("its peak memory", f"{max(alone['peak_bytes']) / MIB:,.0f} MiB"),
    ]  # fmt: skip
    for backend, times in results["seeds"].items():
        rows += [
            (
                f"two seeds of E1's stack in turn, {results['steps']} steps, by {backend}",
                _seconds(times["in_turn"]),
            ),
            (f"the two at once, by {backend}", _seconds(times["at_once"])),
            (f"at once over in turn, by {backend}", in_print(ratio(times, "in_turn", "at_once"))),
        ]
    facts = (
        f"{results['date']}, commit {code_of(machine)}; {machine['device']}; JAX {machine['jax']}; "
        f"{len(alone['whole'])} rounds, median [least, largest]; "
        f"load average at the start {machine['load']:.2f}."
    )
    return f"{facts}\n\n{pipe(rows, ['what', 'measured'], 1)}"


def _seconds(times: Sequence[float]) -> str:
    return f"{median(times):.1f} s [{min(times):.1f}, {max(times):.1f}]"
