"""Filters that whiten patches."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import geometry, ops


def images() -> np.ndarray:
    """Neighbouring pixels and channels that go together, as in photographs."""
    noise = np.random.default_rng(0).normal(size=(40, 12, 12, 2))
    smooth = noise[:, 1:] + 0.9 * noise[:, :-1]
    smooth = smooth[:, :, 1:] + 0.7 * smooth[:, :, :-1]
    return smooth @ np.array([[1.0, 0.5], [0.2, 0.8]])


def second_moments(y: np.ndarray) -> np.ndarray:
    rows = np.asarray(y, np.float64).reshape(-1, y.shape[-1])
    return rows.T @ rows / len(rows)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_they_put_out_is_white(size: int) -> None:
    x = images()
    filters = ops.whitening_filters(jnp.asarray(x, jnp.float32), size, epsilon=1e-9)
    assert filters.shape == (size, size, 2, size * size * 2)
    y = ops.conv2d(jnp.asarray(x, jnp.float32), filters)
    np.testing.assert_allclose(second_moments(y), np.eye(y.shape[-1]), atol=2e-3)


def test_against_a_loop_over_patches() -> None:
    x, epsilon = images(), 0.5
    corners = [(i, j) for i in range(10) for j in range(10)]
    patches = [x[:, i : i + 2, j : j + 2].reshape(len(x), -1) for i, j in corners]
    values, vectors = np.linalg.eigh(second_moments(np.concatenate(patches)))
    expected = (vectors / np.sqrt(values + epsilon))[:, ::-1]
    found = np.asarray(ops.whitening_filters(jnp.asarray(x, jnp.float32), 2, epsilon=epsilon))
    found = found.reshape(8, 8)
    signs = np.sign((found * expected).sum(0))  # an eigenvector has either
    np.testing.assert_allclose(found * signs, expected, atol=1e-4)


def test_an_image_without_variance_gives_finite_filters() -> None:
    assert np.isfinite(ops.whitening_filters(jnp.zeros((1, 4, 4, 3)), 2)).all()


def test_a_patch_larger_than_the_image() -> None:
    with pytest.raises(geometry.DoesNotFit, match="5"):
        ops.whitening_filters(jnp.zeros((1, 4, 4, 3)), 5)
