import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweep_runs import LARGE, records, runs_of

from cnnlab.evidence import CannotSweep, cluster
from cnnlab.evidence.cluster import connect, on_ray
from cnnlab.evidence.processes import Share, on_processes
from cnnlab.evidence.sweep import Run


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CannotSweep, match=r"pip install 'cnnlab\[ray\]'"):
        connect()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_where_there_is_no_cluster_it_says_so_soon(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(CannotSweep, match=f"no Ray cluster at '{address}': .*refused"):
        connect(address)


@pytest.mark.parametrize(
    ("machine", "cores"),
    [({"CPU": 16.0}, 1), ({"CPU": 16.0, "GPU": 3.0}, 5), ({"CPU": 2.0, "GPU": 4.0}, 1)],
)
def test_a_tasks_share_of_its_machine(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, float], cores: int
) -> None:
    nodes = [
        {"NodeID": "there", "Resources": {"CPU": 64.0, "GPU": 1.0}},
        {"NodeID": "here", "Resources": machine},
    ]
    context = SimpleNamespace(get_node_id=lambda: "here")
    ray = SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: nodes)
    monkeypatch.setattr(cluster, "_ray", lambda: ray)
    assert cluster._share() == cores


def at_work(runs: list[Run]) -> list[Run]:
    """Those that have saved something and are not finished."""
    return [
        run
        for run in runs
        if any(step.name.isdigit() for step in run.folder.glob("checkpoints/*"))
        and not run.finished
    ]


def once_two_are_at_work(runs: list[Run], act: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        while len(at_work(runs)) < 2:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_node_that_is_lost_loses_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of a core each; one is killed when both are in the middle of a run."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # What Ray puts into the home directory; on one machine the nodes must be told apart.
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {"net": LARGE, "steps": 1000, "checkpoint_steps": 50, "seeds": 4}
    runs, alone = (runs_of(tmp_path / name, **options) for name in ("cluster", "alone"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        assert connect(cluster.address) == 2
        kill = once_two_are_at_work(runs, lambda: cluster.remove_node(second, allow_graceful=False))
        done = list(on_ray(runs))
        kill.join(timeout=0)
        assert not kill.is_alive(), "no node was killed"
        # The runs may be over before the cluster has noticed.
        deadline = time.monotonic() + 60
        while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()

    assert sorted(run.recipe.seed for run, _ in done) == [0, 1, 2, 3]
    assert all(said == [] for _, said in done)
    # Every attempt opens a file of events: one run was begun twice, and went on where it was.
    begun = [len(list((run.folder / "tensorboard").iterdir())) for run in runs]
    assert sorted(begun) == [1, 1, 1, 2]
    lines = (runs[begun.index(2)].folder / "metrics.jsonl").read_text()
    assert lines.count("compile_seconds") == 2

    core = frozenset({min(os.sched_getaffinity(0))})
    list(on_processes(alone, [Share(core, None)]))
    assert records(runs) == records(alone)
