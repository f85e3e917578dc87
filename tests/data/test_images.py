import numpy as np
import pytest

from cnnlab import data


def _images(number: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers((0, 50, 100), (256, 90, 101 + 1), (number, 5, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("number", [1, 1024, 1027, 2050])
def test_statistics_are_those_of_all_pixels_in_units_of_one(number: int) -> None:
    images = _images(number)
    mean, std = data.channel_statistics(images)
    pixels = images.astype(np.float64).reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-6)
    assert mean.dtype == std.dtype == np.float32


def test_normalised_by_their_own_statistics_images_have_mean_0_and_std_1() -> None:
    images = data.open_dataset("digits").split("train").images
    normalised = np.asarray(data.normalise(images, *data.channel_statistics(images)), np.float64)
    np.testing.assert_allclose(normalised.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(axis=(0, 1, 2)), 1, atol=1e-5)


def test_statistics_refuse_what_cannot_be_normalised() -> None:
    images = _images(4)
    images[..., 1] = 7
    with pytest.raises(ValueError, match=r"channels \[1\]"):
        data.channel_statistics(images)
    with pytest.raises(ValueError, match="float32"):
        data.channel_statistics(images.astype(np.float32))
    with pytest.raises(ValueError, match=r"\(0, 5, 4, 3\)"):
        data.channel_statistics(images[:0])
