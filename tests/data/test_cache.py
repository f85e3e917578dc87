import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnnlab.data import cache
from cnnlab.data.images import Images


def _images() -> Images:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    return Images(pixels, random.integers(0, 10, 50).astype(np.int32))


def load(path: Path, decode: Callable[[], Images]) -> Images:
    return cache.load(path, decode, lambda images: None)


def _never() -> Images:
    raise AssertionError("decoded although it is in the cache")


def _equal(got: Images) -> None:
    np.testing.assert_array_equal(got.images, _images().images)
    np.testing.assert_array_equal(got.labels, _images().labels)
    assert (got.images.dtype, got.labels.dtype) == (np.uint8, np.int32)


def test_what_was_decoded_once_is_not_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "train.npz"
    _equal(load(path, _images))
    _equal(load(path, _never))
    assert [each.name for each in path.parent.iterdir()] == ["train.npz"]


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _change_a_pixel(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [_truncate, _change_a_pixel, lambda content: b"", lambda content: b"PK\3\4 nonsense"]
)
def test_a_damaged_file_is_decoded_anew_with_a_word(
    damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "train.npz"
    load(path, _images)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        _equal(load(path, _images))
    assert str(path) in caplog.text
    _equal(load(path, _never))


def test_a_folder_that_cannot_be_written_costs_a_warning_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        _equal(load(tmp_path / "file" / "train.npz", _images))
    assert "going on without" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_cut_short_it_leaves_no_file(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(file, **arrays) -> None:
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", half)
    try:
        _equal(load(tmp_path / "train.npz", _images))
    except KeyboardInterrupt:
        assert error is KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_many_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    path, barrier, got = tmp_path / "train.npz", threading.Barrier(4), []

    def decode() -> Images:
        barrier.wait()
        return _images()

    threads = [threading.Thread(target=lambda: got.append(load(path, decode))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    _equal(load(path, _never))
    assert [each.name for each in tmp_path.iterdir()] == ["train.npz"]
