"""A sweep on all of one machine: processes that each have a share of its cores, or a GPU."""

import contextlib
import glob
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, cast

import numpy as np
from rich.console import Console

from cnnlab.evidence.sweep import LOST, CannotSweep, Done, Run, prepare
from cnnlab.machine import cores, variables


class Share(NamedTuple):
    """A process's part of the machine: its cores (None: any) and its GPU (None: none)."""

    cores: frozenset[int] | None
    gpu: str | None


def shares(jobs: int) -> list[Share]:
    """This machine in `jobs` parts: neighbouring cores, and a GPU each where JAX would take one.

    Raises:
        CannotSweep: fewer than one, or more than there are cores or GPUs, or than one on a TPU.
    """
    ours = cores()
    if _has_tpu():
        why = "a TPU's chips are one process's, and several VMs may share the sweep"
        _at_most(jobs, 1, f"{why}; JAX_PLATFORMS=cpu leaves it alone")
    _at_most(jobs, len(ours), "one for each core")
    gpus = _gpus()
    if gpus:
        _at_most(jobs, len(gpus), "one for each GPU; JAX_PLATFORMS=cpu leaves GPUs alone")
    bound = hasattr(os, "sched_setaffinity")  # only Linux binds processes to cores
    parts = [frozenset(map(int, part)) for part in np.array_split(ours, jobs)]
    return [
        Share(part if bound else None, gpus[index] if gpus else None)
        for index, part in enumerate(parts)
    ]


def _at_most(jobs: int, most: int, why: str) -> None:
    if not 1 <= jobs <= most:
        raise CannotSweep(f"jobs = {jobs} must be from 1 to {most} here: {why}")


def _gpus() -> list[str]:
    """The NVIDIA GPUs that JAX would take, as CUDA_VISIBLE_DEVICES names them.

    JAX itself is not asked: it would take them, and their memory, for this process.
    """
    plugins = [plugin.name for plugin in metadata.entry_points(group="jax_plugins")]
    if os.environ.get("JAX_PLATFORMS") == "cpu" or not any("cuda" in name for name in plugins):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        try:
            visible = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):  # no driver: JAX finds none either
            return []
    return visible.replace(",", " ").split()


def _has_tpu() -> bool:
    """Whether JAX would take a TPU, which whoever asks it takes all chips of."""
    if os.environ.get("JAX_PLATFORMS") == "cpu" or importlib.util.find_spec("libtpu") is None:
        return False
    return bool(glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*"))


@contextlib.contextmanager
def _given(share: Share) -> Iterator[None]:
    """A process started inside has this share from its first instruction on."""
    with contextlib.ExitStack() as undo:
        if share.cores is not None:
            undo.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
            os.sched_setaffinity(0, share.cores)
        if share.gpu is not None:
            undo.enter_context(variables({"CUDA_VISIBLE_DEVICES": share.gpu}))
        yield


@dataclass(frozen=True)
class _Task:
    run: Run
    wait: bool = False
    lost: int = 0


class _Worker:
    """A process that attempts runs, one after another, with its share of the machine."""

    def __init__(self, share: Share):
        self.share = share
        spawn = multiprocessing.get_context("spawn")  # a fork would lack JAX's threads
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs,))
        with _given(share):
            self.process.start()
        theirs.close()  # held by the process alone, its end is the end of the connection

    def ask(self, task: _Task) -> None:
        with contextlib.suppress(ConnectionError):  # `answer` will tell
            self.connection.send((task.run, task.wait))

    def answer(self) -> Any:
        """What came of the run asked for: as `Run.attempt` gave it, or the exception it raised.

        Raises:
            EOFError: the process is lost.
        """
        try:
            return self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error

    def end(self) -> int | None:
        """Let it end; gives its exit status."""
        self.connection.close()
        self.process.join()
        return self.process.exitcode


def _serve(connection: Connection) -> None:
    os.setsid()  # Ctrl-C is then the parent's alone, which asks each of us to stop, once
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare()
    console = Console(force_terminal=False)  # lines, since several write at once
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):  # the parent is gone
        while True:
            run, wait = connection.recv()
            try:
                said: Any = run.attempt(console, wait=wait)
            except BaseException as error:
                error.add_note(traceback.format_exc())  # it does not travel by itself
                said = error
            connection.send(said)


def on_processes(runs: Iterable[Run], parts: Sequence[Share]) -> Iterator[Done]:
    """In processes of this machine, one for each of its `parts`.

    A run whose process is lost, as for want of memory, goes on in a new one.

    Raises:
        Exception: what `Ledger.attempt` raises; the other processes save and end.
    """
    tasks = deque(_Task(run) for run in runs)
    idle = [_Worker(share) for share in parts[: len(tasks)]]
    busy: dict[Connection, tuple[_Worker, _Task]] = {}
    try:
        while tasks or busy:
            while tasks and idle:
                worker, task = idle.pop(), tasks.popleft()
                worker.ask(task)
                busy[worker.connection] = worker, task
            for ready in wait(list(busy)):
                worker, task = busy.pop(cast(Connection, ready))
                try:
                    said = worker.answer()
                    idle.append(worker)
                except EOFError:
                    said = _Lost(worker.end())
                    idle.append(_Worker(worker.share))
                yield from _settle(task, said, tasks)
    finally:
        for worker, _ in busy.values():
            worker.process.terminate()
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.end()


class _Lost(NamedTuple):
    status: int | None


def _settle(task: _Task, said: Any, tasks: deque[_Task]) -> Iterator[Done]:
    """What a worker said: a run is over, or comes back into `tasks`, or everything ends."""
    if isinstance(said, BaseException):
        raise said
    if said is None:
        tasks.append(replace(task, wait=True))
    elif not isinstance(said, _Lost):
        yield task.run, said
    elif task.lost + 1 < LOST:
        tasks.appendleft(replace(task, lost=task.lost + 1))
    else:
        yield task.run, [f"{task.run}: {LOST} processes were lost over it, exit {said.status}"]
