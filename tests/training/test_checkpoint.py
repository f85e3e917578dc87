import gc
import logging
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from cnnlab.training.checkpoint import Checkpoints, SaveFailed
from cnnlab.training.state import State, Tally, digest

ADAPT = optax.sgd(optax.linear_schedule(1.0, 0.0, 9), momentum=0.9)


def state_at(step: int, size: int = 8) -> State:
    kernel = jax.random.normal(jax.random.key(step), (3, size))
    params = {
        "conv1": {"kernel": kernel, "bias": jnp.array([jnp.inf, -0.0, 1e-40])},
        "conv2": {"kernel": kernel.astype(jnp.bfloat16)},
    }
    tally = Tally(jnp.float32(step), jnp.int32(2), jnp.int32(32), jnp.int32(-1))
    average = {"params": params, "batch_stats": {}}
    return State(jnp.int32(step), params, {}, ADAPT.init(params), average, tally)


LIKE = jax.tree.map(jnp.zeros_like, state_at(0))


@pytest.fixture(scope="session")
def three_good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 10, 20 and 30. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "good"
    checkpoints = Checkpoints(folder, keep=3)
    for step in (10, 20, 30):
        checkpoints.save(state_at(step))
    checkpoints.close()
    return folder


@pytest.fixture
def folder(three_good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three_good, tmp_path / "checkpoints"))


def read(folder: Path) -> State | None:
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.newest(LIKE)
    finally:
        checkpoints.close()


def test_what_is_read_is_what_was_written_to_the_bit(folder: Path) -> None:
    found, written = read(folder), state_at(30)
    assert digest(found) == digest(written)
    assert jax.tree.structure(found) == jax.tree.structure(written)
    assert [leaf.dtype for leaf in jax.tree.leaves(found)] == [
        leaf.dtype for leaf in jax.tree.leaves(written)
    ]


def test_nothing_there(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new")
    assert checkpoints.newest(LIKE) is None
    assert checkpoints.latest() is None
    checkpoints.close()


def test_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 10, 15, 15):
        checkpoints.save(state_at(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "15"]
    assert checkpoints.latest() == 15
    checkpoints.close()


def largest_file(checkpoint: Path) -> Path:
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, min(len(content) // 2 + 4, len(content))):
        content[at] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    checkpoint = next(parent for parent in path.parents if parent.name.isdigit())
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


DAMAGES = [truncate, flip, Path.unlink, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_left_out_and_said(
    folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(largest_file(folder / "30"))
    with caplog.at_level(logging.WARNING, "cnnlab"):
        assert digest(read(folder)) == digest(state_at(20))
    said = [record for record in caplog.records if record.name == "cnnlab"]
    assert len(said) == 1
    assert "step 30 is damaged" in said[0].getMessage()
    assert not (folder / "30").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES[:3])
def test_no_damage_to_any_file_gives_a_wrong_state(
    folder: Path, three_good: Path, damage: Callable[[Path], None]
) -> None:
    good = {digest(state_at(step)) for step in (20, 30)}
    for path in sorted(path for path in three_good.glob("30/**/*") if path.is_file()):
        shutil.rmtree(folder)
        shutil.copytree(three_good, folder)
        damage(folder / path.relative_to(three_good))
        assert digest(read(folder)) in good, path


def test_all_damaged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (10, 20, 30):
        flip(largest_file(folder / str(step)))
    with caplog.at_level(logging.WARNING, "cnnlab"):
        assert read(folder) is None
    said = [record.getMessage() for record in caplog.records if record.name == "cnnlab"]
    assert [line.split("; ")[-1] for line in said] == [
        "trying the one at step 20",
        "trying the one at step 10",
        "starting anew",
    ]
    aside = folder.with_name("damaged")
    assert sorted(path.name for path in aside.iterdir()) == ["10", "20", "30"]


def test_a_step_that_was_damaged_can_be_saved_again(folder: Path) -> None:
    truncate(largest_file(folder / "30"))
    checkpoints = Checkpoints(folder)
    checkpoints.newest(LIKE)
    checkpoints.save(state_at(30))
    assert digest(checkpoints.newest(LIKE)) == digest(state_at(30))
    checkpoints.close()


def test_what_a_kill_left_half_written_is_no_checkpoint(folder: Path) -> None:
    partial = folder / "40.orbax-checkpoint-tmp"
    shutil.copytree(folder / "30", partial)
    truncate(largest_file(partial))
    checkpoints = Checkpoints(folder)
    assert checkpoints.latest() == 30
    assert digest(checkpoints.newest(LIKE)) == digest(state_at(30))
    checkpoints.save(state_at(40))
    assert digest(checkpoints.newest(LIKE)) == digest(state_at(40))
    checkpoints.close()
    assert not partial.exists()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The nearest to a full disk that one process can have to itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        gc.collect()  # Orbax's broken threads complain here, not in another test


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fills_up_leaves_the_last_one_whole(tmp_path: Path) -> None:
    checkpoints, size = Checkpoints(tmp_path), 100_000
    checkpoints.save(state_at(10, size))
    with no_file_larger_than(2**18), pytest.raises(SaveFailed) as error:
        checkpoints.save(state_at(20, size))
    assert str(tmp_path) in str(error.value)
    assert "checkpoint at step 20" in str(error.value)
    assert "Last whole checkpoint: step 10" in str(error.value)
    checkpoints.close()
    again = Checkpoints(tmp_path)
    assert digest(again.newest(state_at(0, size))) == digest(state_at(10, size))
    again.save(state_at(20, size))
    assert digest(again.newest(state_at(0, size))) == digest(state_at(20, size))
    again.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_first_save_fails(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with no_file_larger_than(2**18), pytest.raises(SaveFailed, match="checkpoint: none"):
        checkpoints.save(state_at(10, 100_000))
    checkpoints.close()
