import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from cnnlab.training import RecipeError, placement


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX as in a process that was told nothing of a cache."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(("platform", "many"), [("cpu", False), ("gpu", True), ("tpu", True)])
def test_steps_in_a_dispatch(monkeypatch: pytest.MonkeyPatch, platform: str, many: bool) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert placement.many_at_once() is many


def test_a_core_is_left_to_feed_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    found = []
    for count in (1, 8, 200):
        monkeypatch.setattr(placement, "cores", lambda count=count: list(range(count)))
        found.append(placement.decoders())
    assert found == [0, 7, 32]
    monkeypatch.setenv("PJRT_NPROC", "4")
    assert placement.decoders() == 3


@pytest.mark.usefixtures("no_cache")
def test_what_is_compiled_for_an_accelerator_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    placement.keep_compiled()  # a CPU
    assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    placement.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cnnlab" / "xla")


@pytest.mark.usefixtures("no_cache")
def test_at_home_where_nothing_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    placement.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == "/home/someone/.cache/cnnlab/xla"


@pytest.mark.usefixtures("no_cache")
def test_a_folder_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere")  # JAX itself has read it
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    placement.keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(
    ("batch", "nearest"), [(1, 8), (3, 8), (12, 16), (20, 16), (30, 32), (129, 128)]
)
def test_a_batch_that_eight_devices_cannot_share(
    monkeypatch: pytest.MonkeyPatch, batch: int, nearest: int
) -> None:
    placement.check_shares(batch)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    placement.check_shares(nearest)
    with pytest.raises(RecipeError, match=rf"= {batch} .* by 8 devices; .*: {nearest}$"):
        placement.check_shares(batch)


@pytest.mark.parametrize(
    ("variables", "taken"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ({"SLURM_GTIDS": "3"}, []),
        ({"SLURM_GTIDS": "3", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, []),
        ({"SLURM_GTIDS": "4,5,6,7"}, None),
        ({"SLURM_GTIDS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, None),
        ({"SLURM_GTIDS": "4,5,6,7", "CUDA_VISIBLE_DEVICES": "2"}, []),
        ({"SLURM_GTIDS": "3", "JAX_LOCAL_DEVICE_IDS": "1"}, None),
    ],
)
def test_the_gpus_of_a_slurm_task(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], taken: list[int] | None
) -> None:
    told: dict[str, object] = {}
    monkeypatch.setattr(jax.distributed, "initialize", told.update)
    for name in ("SLURM_GTIDS", "CUDA_VISIBLE_DEVICES", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    placement.join()
    assert told == {"num_processes": None, "process_id": None, "local_device_ids": taken}


def test_jax_lets_a_slurm_task_see_all_gpus() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    slurm = {
        **{"SLURM_JOB_ID": "17", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_GTIDS": "0"},
        **{"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    }
    code = (
        "import jax; from cnnlab.training import placement; placement.join(); "
        "print(jax.process_count(), jax._src.xla_bridge.CUDA_VISIBLE_DEVICES.value)"
    )
    environment = {**os.environ, **slurm, "JAX_COORDINATOR_PORT": port, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True).strip() == "1 all"


def test_one_process_agrees_with_itself() -> None:
    assert placement.leads()
    assert placement.agreed(3) == 3
    assert placement.largest(15) == 15


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_the_key_of_a_seed(seed: int) -> None:
    found = placement.key_of(seed)
    assert found.sharding == placement.everywhere()
    assert (jax.random.key_data(found) == jax.random.key_data(jax.random.key(seed))).all()
