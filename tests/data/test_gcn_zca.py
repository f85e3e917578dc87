"""Contrast normalisation and ZCA whitening against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.covariance import empirical_covariance
from sklearn.preprocessing import normalize

from cnnlab import data
from cnnlab.data import whitening

CHUNK_AND_SOME = 1024 + 77


def _images(number: int) -> np.ndarray:
    """Images [N, 4, 3, 3] whose neighbours are alike, each of a brightness of its own."""
    random = np.random.default_rng(0)
    smooth = random.integers(0, 120, (number, 4, 3, 3)).cumsum(axis=1) / 3
    return np.minimum(smooth + random.integers(0, 80, (number, 1, 1, 1)), 255).astype(np.uint8)


def _normalised(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1).astype(np.float64)
    return 55 * normalize(flat - flat.mean(axis=1)[:, None])


def test_contrast_is_of_norm_55_about_the_mean_of_each_image() -> None:
    images = _images(9)
    found = whitening.contrast_normalise(images)
    np.testing.assert_allclose(found, _normalised(images), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 55)


def test_an_image_without_contrast_is_zero() -> None:
    images = np.stack([np.full((4, 3, 3), 7), np.zeros((4, 3, 3))]).astype(np.uint8)
    np.testing.assert_array_equal(whitening.contrast_normalise(images), 0)


def test_whitening_is_the_inverse_root_of_the_biased_covariance() -> None:
    images = _images(CHUNK_AND_SOME)
    flat = _normalised(images)
    found = whitening.fit(images)
    np.testing.assert_allclose(found.mean, flat.mean(axis=0), atol=1e-10)
    expected = fractional_matrix_power(empirical_covariance(flat) + 0.1 * np.eye(36), -0.5)
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-6, atol=1e-8)


def test_others_are_whitened_by_the_training_images() -> None:
    train, others = _images(CHUNK_AND_SOME), _images(CHUNK_AND_SOME + 50)[::-7]
    flat = _normalised(train)
    matrix = fractional_matrix_power(empirical_covariance(flat) + 0.1 * np.eye(36), -0.5)
    expected = (_normalised(others) - flat.mean(axis=0)) @ matrix
    found = whitening.apply(others, whitening.fit(train))
    assert (found.dtype, found.shape) == (np.float32, others.shape)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(0, 4, 3, 3\)"):
        whitening.fit(_images(3)[:0])


def test_digits_whitened() -> None:
    """Every split by the training split's mean m and covariance C."""
    raw, white = (data.open_dataset("digits", preprocess=how) for how in data.PREPROCESSES)
    assert raw != white  # what is compiled or kept for one is not the other's
    flat = _normalised(raw.split("train").images)
    covariance = empirical_covariance(flat) + 0.1 * np.eye(1024)
    whitened = white.split("train").images.reshape(1257, -1).astype(np.float64)
    # What whitening leaves of a direction of variance v is v / (v + 0.1).
    left = np.linalg.solve(covariance, covariance - 0.1 * np.eye(1024))
    np.testing.assert_allclose(empirical_covariance(whitened), left, atol=1e-4)
    test = white.split("test")
    np.testing.assert_array_equal(test.labels, raw.split("test").labels)
    centred = _normalised(raw.split("test").images) - flat.mean(axis=0)
    # The root is symmetric, so that a whitened x has the square (x - m) (C + 0.1 I)^-1 (x - m).
    squared = (test.images.reshape(360, -1).astype(np.float64) ** 2).sum(axis=1)
    expected = (centred * np.linalg.solve(covariance, centred.T).T).sum(axis=1)
    np.testing.assert_allclose(squared, expected, rtol=1e-4)


def test_unknown_preprocessing_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'zca_gcn'.*gcn_zca"):
        data.open_dataset("digits", preprocess="zca_gcn")
