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


def test_one_process_agrees_with_itself() -> None:
    assert placement.leads()
    assert placement.agreed(3) == 3
    assert placement.largest(15) == 15


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_the_key_of_a_seed(seed: int) -> None:
    found = placement.key_of(seed)
    assert found.sharding == placement.everywhere()
    assert (jax.random.key_data(found) == jax.random.key_data(jax.random.key(seed))).all()
