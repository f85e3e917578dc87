"""Images moved once and for all: where to, and that none of them is lost."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from cnnlab import data
from cnnlab.data.images import Images
from cnnlab.data.prepare import prepare
from cnnlab.data.shifted import REACH, move, shifted_split, shifts

REAL = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def blobs(number: int, size: int = 28, border: int = 4) -> np.ndarray:
    """Random images [N, size, size, 1] of pixels above 0, with an empty border."""
    images = np.zeros((number, size, size, 1), np.uint8)
    inner = slice(border, size - border)
    side = size - 2 * border
    images[:, inner, inner] = np.random.default_rng(0).integers(1, 256, (number, side, side, 1))
    return images


def test_an_image_goes_down_and_right() -> None:
    image = np.zeros((1, 6, 7, 1), np.uint8)
    image[0, 2, 3] = 9
    for down, right in ((0, 0), (3, 2), (-2, -3), (1, -1)):
        moved = move(image, np.array([[down, right]]))
        assert np.argwhere(moved[0, ..., 0]).tolist() == [[2 + down, 3 + right]]
        assert moved[0, 2 + down, 3 + right, 0] == 9


def test_it_stops_at_the_border() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 1:5, 2:7] = np.arange(1, 21).reshape(4, 5, 1)
    for by, corner in (((-4, -4), (0, 0)), ((4, 4), (4, 3)), ((4, -4), (4, 0)), ((-1, 1), (0, 3))):
        expected = np.zeros_like(image)
        expected[0, corner[0] : corner[0] + 4, corner[1] : corner[1] + 5] = image[0, 1:5, 2:7]
        np.testing.assert_array_equal(move(image, np.array([by])), expected)


def test_an_empty_image_stays_empty() -> None:
    assert not move(np.zeros((2, 5, 5, 3), np.uint8), np.array([[4, -4], [1, 0]])).any()


def test_each_image_has_its_own_shift() -> None:
    images = blobs(200)
    found = shifted_split("test", Images(images, np.arange(200, dtype=np.int32)))
    assert found.labels.tolist() == list(range(200))
    for image, moved, (down, right) in zip(images, found.images, shifts("test", 200), strict=True):
        np.testing.assert_array_equal(moved, np.roll(image, (down, right), (0, 1)))


def test_shifts_are_uniform_and_never_change() -> None:
    found = shifts("train", 20_000)
    assert (found.min(), found.max()) == (-REACH, REACH)
    cells = np.unique(found, axis=0, return_counts=True)[1]
    assert len(cells) == (2 * REACH + 1) ** 2
    assert chisquare(cells).pvalue > 1e-3
    np.testing.assert_array_equal(shifts("train", 50), found[:50])
    assert (shifts("test", 50) != found[:50]).any()
    assert found[:4].tolist() == GOLDEN


GOLDEN = [[0, -4], [0, 3], [-2, -3], [-4, 0]]


def _write_mnist(folder: Path) -> np.ndarray:
    images, labels = blobs(30), np.arange(30, dtype=np.uint8) % 10
    for prefix in ("train", "t10k"):
        for kind, array, magic in (("images-idx3", images, 2051), ("labels-idx1", labels, 2049)):
            header = np.array([magic, *array.shape[:3]], ">i4").tobytes()
            path = folder / f"{prefix}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.tobytes()))
    return images


def test_the_data_set_is_mnist_moved(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    images = _write_mnist(tmp_path / "published")
    prepare("mnist", tmp_path, source=tmp_path / "published")
    mnist, shifted = (
        data.open_dataset(name, directory=tmp_path) for name in ("mnist", "mnist_shifted")
    )
    assert (shifted.image_shape, shifted.classes) == (mnist.image_shape, mnist.classes)
    assert shifted.title == f"{mnist.title}, shifted by up to 4 pixels"
    assert shifted.fingerprint != mnist.fingerprint
    assert shifted.name == "mnist_shifted"
    test, original = shifted.split("test"), mnist.split("test")
    np.testing.assert_array_equal(np.sort(original.images, axis=None), np.sort(images, axis=None))
    np.testing.assert_array_equal(test.labels, original.labels)
    np.testing.assert_array_equal(test.images, move(original.images, shifts("test", 30)))
    assert (test.images != original.images).any()


def test_what_is_missing_is_mnist(tmp_path: Path) -> None:
    with pytest.raises(data.DataMissing, match=r"prepare_data\.py mnist --directory"):
        data.open_dataset("mnist_shifted", directory=tmp_path)


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="no mnist in TFDS_DATA_DIR")
def test_real_digits_move_and_are_whole() -> None:
    mnist, shifted = (
        data.open_dataset(name, directory=REAL).split("validation").images
        for name in ("mnist", "mnist_shifted")
    )
    np.testing.assert_array_equal(mnist.sum((1, 2, 3)), shifted.sum((1, 2, 3)))
    moved = (mnist != shifted).any(axis=(1, 2, 3)).mean()
    assert 0.97 < moved < 1.0  # one in 81 has the shift 0, 0
