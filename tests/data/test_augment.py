import itertools
from collections import Counter
from collections.abc import Callable
from functools import cache, partial

import jax
import numpy as np
import pytest

from cnnlab import data

MEAN = np.array([0.5, 0.4, 0.3], np.float32)
STD = np.array([0.25, 0.2, 0.3], np.float32)
KEY = jax.random.key(3)
H, W = 7, 6


def _images(number: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (number, H, W, 3), dtype=np.uint8)


def _augment(images: np.ndarray, key: jax.Array = KEY, **options: int | bool) -> np.ndarray:
    return np.asarray(_jitted(tuple(options.items()))(key, images, MEAN, STD))


@cache
def _jitted(options: tuple[tuple[str, int | bool], ...]) -> Callable[..., jax.Array]:
    return jax.jit(partial(data.augment, **dict(options)))


def _normalised(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float32) / 255 - MEAN) / STD


def test_with_no_option_it_is_normalise() -> None:
    images = _images(5)
    unaugmented = np.asarray(data.augment(KEY, images, MEAN, STD))
    np.testing.assert_array_equal(unaugmented, np.asarray(data.normalise(images, MEAN, STD)))
    np.testing.assert_allclose(unaugmented, _normalised(images), rtol=1e-5, atol=1e-6)
    jitted = jax.jit(data.normalise)(images, MEAN, STD)
    np.testing.assert_array_equal(_augment(images), np.asarray(jitted))


def _windows(
    image: np.ndarray, padding: int, flip: bool, mode: str = "constant"
) -> dict[tuple[int, int, bool], np.ndarray]:
    """Every window that may be cut from a normalised and padded image, by its place."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    places = itertools.product(
        range(2 * padding + 1), range(2 * padding + 1), (False, True)[: 1 + flip]
    )
    return {
        (row, column, mirrored): padded[row : row + H, column : column + W][:, :: 1 - 2 * mirrored]
        for row, column, mirrored in places
    }


@pytest.mark.parametrize(("padding", "flip"), [(2, False), (0, True), (2, True), (8, True)])
def test_every_image_is_one_window_of_itself(padding: int, flip: bool) -> None:
    images = _images(40)
    for image, got in zip(
        _normalised(images), _augment(images, crop_padding=padding, flip=flip), strict=True
    ):
        windows = _windows(image, padding, flip).values()
        assert min(np.abs(got - window).max() for window in windows) < 1e-5


def test_crops_of_an_image_mirrored_at_its_border() -> None:
    images = _images(40)
    got = _augment(images, crop_padding=3, flip=True, reflect=True)
    for image, crop in zip(_normalised(images), got, strict=True):
        windows = _windows(image, 3, True, "reflect").values()
        assert min(np.abs(crop - window).max() for window in windows) < 1e-5
    with pytest.raises(ValueError, match="7x6 have no 6 pixels to mirror"):
        _augment(images, crop_padding=6, reflect=True)


def test_all_windows_are_equally_likely() -> None:
    images = np.repeat(_images(1), 4500, axis=0)
    windows = _windows(_normalised(images[:1])[0], 1, True)
    found: Counter[tuple[int, int, bool]] = Counter()
    for got in _augment(images, crop_padding=1, flip=True):
        found[min(windows, key=lambda place: np.abs(got - windows[place]).max())] += 1
    assert found.keys() == windows.keys()
    assert all(abs(count - 250) < 5 * 250**0.5 for count in found.values())
    mirrored = sum(count for (_, _, mirror), count in found.items() if mirror)
    assert abs(mirrored - 2250) < 5 * (4500 * 0.25) ** 0.5


def test_which_images_are_mirrored_can_be_said() -> None:
    images, mirrored = _images(6), np.array([True, False, True, True, False, False])
    said = partial(data.augment, KEY, images, MEAN, STD, flip=True)
    got = said(mirrored=mirrored)
    expected = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    np.testing.assert_allclose(got, _normalised(expected), rtol=1e-5, atol=1e-6)
    cropped = np.asarray(said(crop_padding=2, mirrored=~mirrored))
    straight = _augment(images, crop_padding=2)
    np.testing.assert_allclose(cropped[mirrored], straight[mirrored], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 20])
def test_cutout_is_a_clipped_square_with_any_pixel_for_its_centre(side: int) -> None:
    images = np.full((1000, H, W, 3), 200, np.uint8)
    squares: Counter[bytes] = Counter()
    for row, column in itertools.product(range(H), range(W)):
        square = np.zeros((H, W), bool)
        top, left = row - side // 2, column - side // 2
        square[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
        squares[square.tobytes()] += 1
    got = _augment(images, cutout=side)
    cut = (got == 0).all(axis=-1)
    np.testing.assert_allclose(got, np.where(cut[..., None], 0, _normalised(images)), rtol=1e-5)
    found = Counter(each.tobytes() for each in cut)
    assert found.keys() == squares.keys()
    for square, centres in squares.items():
        expected = 1000 * centres / (H * W)
        assert abs(found[square] - expected) < 5 * expected**0.5


def test_an_images_draw_depends_on_the_key_and_its_index_only() -> None:
    images, options = _images(12), {"crop_padding": 2, "flip": True, "cutout": 3}
    whole = _augment(images, **options)
    np.testing.assert_array_equal(_augment(images[:5], **options), whole[:5])
    np.testing.assert_array_equal(_augment(images, **options), whole)
    assert (_augment(images, jax.random.key(4), **options) != whole).any(axis=(1, 2, 3)).all()
    others = np.concatenate([_images(24)[12:17], images[5:]])
    np.testing.assert_array_equal(_augment(others, **options)[5:], whole[5:])


def test_one_option_does_not_change_the_draws_of_another() -> None:
    images = _images(12)
    cropped = _augment(images, crop_padding=2)
    both = _augment(images, crop_padding=2, cutout=3)
    hole = (_augment(images, cutout=3) == 0).all(axis=-1, keepdims=True)
    np.testing.assert_allclose(both, np.where(hole, 0, cropped), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("option", ["crop_padding", "cutout"])
def test_a_negative_number_of_pixels_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option}.*-1"):
        data.augment(KEY, _images(1), MEAN, STD, **{option: -1})


def test_images_normalised_already_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be uint8.* got float32"):
        data.augment(KEY, _normalised(_images(1)), MEAN, STD)
    with pytest.raises(ValueError, match=r"must be float32.* got uint8"):
        data.augment(KEY, _images(1), None, None)


def test_prepared_images_are_moved_about_and_nothing_else() -> None:
    images = _images(40)
    np.testing.assert_array_equal(data.normalise(_normalised(images)), _normalised(images))
    for options in ({}, {"crop_padding": 2, "flip": True, "cutout": 3}):
        found = data.augment(KEY, _normalised(images), None, None, **options)
        np.testing.assert_allclose(found, _augment(images, **options), rtol=1e-5, atol=1e-6)
