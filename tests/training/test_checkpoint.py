import gc
import logging
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
import pytest

from cnnlab.training import checkpoint
from cnnlab.training.checkpoint import Checkpoints, RestoreFailed, SaveFailed, load
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


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All that is in and beside a folder, with the times at which it was written."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder.parent, *folder.parent.rglob("*")]
    }


def test_a_list_of_files_that_was_changed_is_damage(folder: Path) -> None:
    path = folder / "30" / "contents.json"
    whole = path.read_text()
    for old, new in (
        ("float32 [3, 8]", "float32 [3, 9]"),
        ("conv1", "conv3"),
        ('"files"', '"file"'),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new))
        assert checkpoint._damage(folder / "30", LIKE) == ["contents.json is not as it was written"]
    path.write_text(whole)
    assert checkpoint._damage(folder / "30", LIKE) == []


def test_a_save_that_fails_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_whole", full)
    checkpoints = Checkpoints(folder)
    with pytest.raises(SaveFailed, match=r"step 40 .*No space left .* checkpoint: step 30$"):
        checkpoints.save(state_at(40))
    checkpoints.close()
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "30"]


def test_what_was_set_aside_before_stays(folder: Path) -> None:
    for damaged in (truncate, flip):
        damaged(largest_file(folder / "30"))
        checkpoints = Checkpoints(folder)
        checkpoints.newest(LIKE)
        checkpoints.save(state_at(30))
        checkpoints.close()
    aside = folder.with_name("damaged")
    assert sorted(path.name for path in aside.iterdir()) == ["30", "30-2"]
    assert largest_file(aside / "30").stat().st_size < largest_file(aside / "30-2").stat().st_size


def test_every_file_of_a_checkpoint_is_looked_at(folder: Path) -> None:
    """By its own digest, whatever Orbax makes of it."""
    files = [path for path in (folder / "30").rglob("*") if path.is_file()]
    for path in files:
        before = path.read_bytes()
        for damage in (flip, Path.unlink):
            damage(path)
            damage_found = checkpoint._damage(folder / "30", LIKE)
            lost = path.name == "contents.json" and damage is Path.unlink  # as of an older one
            name = path.relative_to(folder / "30").as_posix()
            words = "missing" if damage is Path.unlink else "not as it was written"
            assert damage_found == ([] if lost else [f"{name} is {words}"])
            path.write_bytes(before)
    assert checkpoint._damage(folder / "30", LIKE) == []


ERRORS = [
    OSError(5, "Input/output error"),
    OSError(24, "Too many open files"),
    PermissionError(13, "Permission denied"),
    MemoryError("no room"),
    ValueError("RESOURCE_EXHAUSTED: Out of memory"),
    RuntimeError("whatever it may be"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["digest", "restore"])
def test_what_keeps_one_from_being_read_is_no_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    def fail(*_: object, **options: object) -> Any:
        raise error

    before = everything(folder)
    if where == "digest":
        monkeypatch.setattr(checkpoint, "_sha256", fail)
    else:
        monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    words = rf"the checkpoint {folder}/30 could not be read: .*; nothing was moved or changed$"
    with pytest.raises(RestoreFailed, match=words) as caught:
        read(folder)
    assert str(error) in str(caught.value)
    assert caught.value.__cause__ is error
    assert everything(folder) == before
    monkeypatch.undo()
    assert digest(read(folder)) == digest(state_at(30))


OTHERS = {
    "of another shape": (state_at(0, size=9), r"\.average\['params'\]\['conv1'\]\['kernel'\] is "
                         r"float32 \[3, 8\] there, float32 \[3, 9\] by the recipe"),
    "of another type": (
        jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state_at(0)),
        r"is float32 \[3\] there, bfloat16 \[3\] by the recipe",
    ),
    "of fewer arrays": (state_at(0).replace(params={}), "is float32 .* there, missing by the rec"),
    "of more arrays": (
        state_at(0).replace(batch_stats={"bn1": jnp.zeros(3)}),
        r"\.batch_stats\['bn1'\] is missing there, float32 \[3\] by the recipe",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("like", "words"), OTHERS.values(), ids=OTHERS)
def test_one_of_another_network_is_no_damage(folder: Path, like: State, words: str) -> None:
    """As after an edit of config.json."""
    before = everything(folder)
    checkpoints = Checkpoints(folder)
    with pytest.raises(RestoreFailed, match=words):
        checkpoints.newest(like)
    checkpoints.close()
    with pytest.raises(RestoreFailed, match=words):
        load(folder, like)
    assert everything(folder) == before


def test_who_only_looks_changes_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "40.partial").mkdir()
    before = everything(folder)
    assert digest(load(folder, LIKE)) == digest(state_at(30))
    assert everything(folder) == before
    truncate(largest_file(folder / "30"))
    Path.unlink(largest_file(folder / "20"))
    before = everything(folder)
    with caplog.at_level(logging.WARNING, "cnnlab"):
        assert digest(load(folder, LIKE)) == digest(state_at(10))
    assert [line.split(" (")[0] for line in caplog.messages] == [
        "checkpoint at step 30 is damaged",
        "checkpoint at step 20 is damaged",
    ]
    assert everything(folder) == before
    shutil.rmtree(folder / "10")
    assert load(folder, LIKE) is None
    assert load(folder / "nowhere", LIKE) is None
    assert not (folder / "nowhere").exists()


def test_one_that_is_older_than_the_lists_of_files(folder: Path) -> None:
    for step in ("10", "20", "30"):
        (folder / step / "contents.json").unlink()
    assert digest(read(folder)) == digest(state_at(30))
    assert digest(load(folder, LIKE)) == digest(state_at(30))
    shutil.rmtree(folder / "30" / "state")
    assert digest(read(folder)) == digest(state_at(20))
    assert (folder.with_name("damaged") / "30").is_dir()
    # Whether it is damaged, or config.json another, nobody can tell.
    before = everything(folder)
    other = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state_at(0))
    with pytest.raises(RestoreFailed, match="its digest is not the one"):
        load(folder, other)
    assert everything(folder) == before
    flip(largest_file(folder / "20"))
    before = everything(folder)
    with pytest.raises(RestoreFailed, match=f"{folder}/20 could not be read"):
        read(folder)
    assert everything(folder) == before


def test_killed_while_the_oldest_is_removed_it_is_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_: pytest.fail("killed"))
    checkpoints = Checkpoints(folder, keep=1)
    with pytest.raises(pytest.fail.Exception):
        checkpoints.save(state_at(40))
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["10.partial", "20", "30", "40"]
    Checkpoints(folder).close()
    assert sorted(path.name for path in folder.iterdir()) == ["20", "30", "40"]
