"""A sweep on a Ray cluster: each run a task, with a core or a GPU to itself.

Every machine needs the same installation of cnnlab, the data, and the ledger under the same path on
a file system that they share and that takes locks (see `ledger`).
"""

import os
import signal
import socket
import warnings
from collections.abc import Iterable, Iterator
from types import ModuleType

from rich.console import Console

from cnnlab.evidence.sweep import LOST, CannotSweep, Done, Run, prepare
from cnnlab.training import Interrupted

SAVING_SECONDS = 60
"""How long tasks that are cancelled may take to save."""


def connect(address: str | None = None) -> int:
    """Join the Ray cluster at `address`, else start one of this machine alone.

    Args:
        address: "auto", "HOST:PORT" or "ray://HOST:PORT".

    Returns:
        How many runs it takes at once: its GPUs, or its cores where it has no GPU.

    Raises:
        CannotSweep: Ray is not installed, there is no cluster, or none with a core to give.
    """
    ray, on_sigterm = _ray(), signal.getsignal(signal.SIGTERM)
    try:
        _knock(address or "")
        with warnings.catch_warnings():
            # Ray forks to run other programs, which JAX's threads do not mind.
            warnings.filterwarnings("ignore", r"os\.fork", RuntimeWarning)
            ray.init(address or "local", ignore_reinit_error=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CannotSweep(f"no Ray cluster at {address!r}: {error}") from error
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own dies of it, with nothing saved
    resources = ray.cluster_resources()
    at_once = int(resources.get("GPU", 0) or resources.get("CPU", 0))
    if not at_once:
        raise CannotSweep(f"the Ray cluster at {address!r} has no core to give: {resources}")
    return at_once


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise CannotSweep("Ray is not installed: pip install 'cnnlab[ray]'") from error
    return ray


def _knock(address: str) -> None:
    """Find in seconds that nobody is at `HOST:PORT`: it takes Ray ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def on_ray(runs: Iterable[Run]) -> Iterator[Done]:
    """As tasks of the cluster that `connect` joined.

    A run whose process or machine is lost goes on elsewhere, from its newest checkpoint.

    Raises:
        Exception: what `Ledger.attempt` raises; the other tasks are asked to save and end.
    """
    ray = _ray()
    gpus = int(ray.cluster_resources().get("GPU", 0) > 0)
    # A machine that is told to leave interrupts its runs: they go on elsewhere.
    task = ray.remote(
        num_cpus=1, num_gpus=gpus, max_retries=LOST - 1, retry_exceptions=[Interrupted]
    )(_attempt)
    pending = {task.remote(run, wait=False): run for run in runs}
    try:
        while pending:
            (ready, *_), _ = ray.wait(list(pending))
            run = pending.pop(ready)
            try:
                failures = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                failures = [f"{run}: lost {LOST} times: {error}"]
            if failures is None:
                pending[task.remote(run, wait=True)] = run
            else:
                yield run, failures
    finally:
        for ready in pending:
            ray.cancel(ready)
        ray.wait(list(pending), num_returns=len(pending), timeout=SAVING_SECONDS)


def _attempt(run: Run, *, wait: bool) -> list[str] | None:
    # Ray counts cores and binds nobody to them: JAX, and what decodes images for it, would take all
    # there are, for every task.
    os.environ.setdefault("PJRT_NPROC", str(_share()))
    prepare()
    return run.attempt(Console(force_terminal=False), wait=wait)


def _share() -> int:
    """How many cores of its machine a task may use: one, or as many as there are to each GPU."""
    ray = _ray()
    here = ray.get_runtime_context().get_node_id()
    (machine,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    gpus = machine.get("GPU", 0)
    return max(1, int(machine["CPU"] // gpus)) if gpus else 1
