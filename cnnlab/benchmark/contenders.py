"""The contenders, each in a process of its own that does one thing at a time when it is told to."""

import importlib
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from cnnlab.benchmark.suite import Job, Layer
from cnnlab.benchmark.tasks import Task
from cnnlab.machine import variables


class Contender(NamedTuple):
    """A name, the module whose `CONTENDER` makes its tasks, and what it needs.

    Attributes:
        variables: of its environment.
        package: what must be installed.
        other_than: the contender whose programs it must not share, or it is left out.
    """

    name: str
    module: str
    variables: tuple[tuple[str, str], ...] = ()
    package: str = "jax"
    other_than: str = ""


CONTENDERS = (
    Contender("cnnlab", "cnnlab.benchmark.ours"),
    Contender(
        "cnnlab (xla)",
        "cnnlab.benchmark.ours",
        variables=(("CNNLAB_CONV", "xla"),),
        other_than="cnnlab",
    ),
    Contender("Flax Linen", "cnnlab.benchmark.plain_linen"),
    Contender("PyTorch", "cnnlab.benchmark.torch_eager", package="torch"),
)
"""The first is the one the others are compared with."""

PROBE = Layer("3x3", 64, 64, 3, 32, 1)
"""Whether two contenders are one is seen by what they give the compiler for this layer."""


class Prepared(NamedTuple):
    """What a contender says of a job once it is compiled and warm."""

    weights: int
    compile_seconds: float | None
    calls: int


class Racer:
    """A contender's process."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self.name = contender.name
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        own = {
            "OMP_NUM_THREADS": str(threads),
            "JAX_ENABLE_COMPILATION_CACHE": "false",  # compile times are of compiling
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # a GPU's memory is for all of them
            **dict(contender.variables),
        }
        with variables(own):
            self._pool.submit(_load, contender.module, contender.package).result()

    def facts(self, platform: str | None) -> dict[str, Any]:
        """Versions and device; `platform` is what JAX runs on, None where it is not known yet."""
        return self._pool.submit(_facts, platform).result()

    def program(self) -> str:
        """What it gives the compiler for the probe."""
        return self._pool.submit(_program).result()

    def prepare(self, job: Job, seconds: float) -> Prepared:
        """Compile a job, warm up, and find how many calls take `seconds`."""
        return self._pool.submit(_prepare, job, seconds).result()

    def turn(self, calls: int) -> float:
        """Seconds that a call takes, over so many."""
        return self._pool.submit(_turn, calls).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(cancel_futures=True)


_contender: Any
_task: Task | None = None


def _load(module: str, package: str) -> None:
    global _contender
    if package != "torch":
        sys.modules["torch"] = None  # type: ignore[assignment]  # tensorboardX would import it
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is the table's
    _contender = importlib.import_module(module).CONTENDER


def _facts(platform: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = _contender.facts(platform)
    return facts


def _program() -> str:
    program: str = _contender.program(PROBE, 16)
    return program


def _prepare(job: Job, seconds: float) -> Prepared:
    global _task
    _task = None  # before the next is made: two networks may not fit
    _task = task = _contender.prepare(job)
    once = _time(task, 1)
    if once < seconds:
        once = _time(task, 1)
    return Prepared(task.weights, task.compile_seconds, max(1, round(seconds / once)))


def _turn(calls: int) -> float:
    assert _task is not None, "a turn comes after its job was prepared"
    if calls > 1:
        _time(_task, 1)  # caches and threads have been the others' since
    return _time(_task, calls)


def _time(task: Task, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        result = task.call()
    task.wait(result)
    return (time.perf_counter() - start) / calls
