"""Global contrast normalisation and ZCA whitening: images prepared before training.

The convention is that of Goodfellow et al. 2013 (Maxout Networks, arXiv 1302.4389; the code is
Pylearn2's): every image minus the mean of its values, divided by its norm and times 55; then, with
m the mean and C the covariance of the training images, x -> (C + 0.1 I)^(-1/2) (x - m). Of all
whitenings this one moves the images least: they can still be looked at.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NORM = 55.0
"""Of every image after contrast normalisation."""
BIAS = 0.1
"""Added to every variance, so that directions of next to none are not blown up."""
VERSION = "1"  # of all this
_CHUNK = 1024  # images a pass: float64 of CIFAR's size in 25 megabytes


def fingerprint(original: str) -> str:
    """Return 16 hexadecimal digits that change with the original's and with the whitening."""
    return hashlib.sha256(f"{original} gcn_zca {VERSION}".encode()).hexdigest()[:16]


class Whitening(NamedTuple):
    """The affine map x -> (x - mean) matrix on flattened images, D = H W C values each.

    Attributes:
        mean: float64 [D].
        matrix: float64 [D, D], symmetric.
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]


def contrast_normalise(images: NDArray[Any]) -> NDArray[np.float64]:
    """Images of mean 0 and norm 55, flattened.

    Args:
        images: uint8 [N, H, W, C].

    Returns:
        float64 [N, H W C]; zeros for an image of one value only, which has no contrast.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat * (NORM / np.where(norm > 0, norm, 1))


def fit(images: NDArray[Any]) -> Whitening:
    """The whitening of contrast-normalised images.

    Args:
        images: uint8 [N, H, W, C], the training images.

    Raises:
        ValueError: If there are no images.
    """
    if len(images) == 0:
        raise ValueError(f"no images to whiten by: {images.shape}")
    size = images[0].size
    total, products = np.zeros(size), np.zeros((size, size))
    for chunk in _normalised_chunks(images):
        total += chunk.sum(axis=0)
        products += chunk.T @ chunk
    mean = total / len(images)
    covariance = products / len(images) - np.outer(mean, mean)
    variances, axes = np.linalg.eigh(covariance)
    return Whitening(mean, (axes / np.sqrt(variances.clip(0) + BIAS)) @ axes.T)


def apply(images: NDArray[Any], whitening: Whitening) -> NDArray[np.float32]:
    """Contrast normalisation and `whitening`: uint8 [N, H, W, C] -> float32 [N, H, W, C]."""
    whitened = np.empty(images.shape, np.float32)
    start = 0
    for chunk in _normalised_chunks(images):
        rows = (chunk - whitening.mean) @ whitening.matrix
        whitened[start : start + len(chunk)] = rows.reshape(-1, *images.shape[1:])
        start += len(chunk)
    return whitened


def _normalised_chunks(images: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(images), _CHUNK):
        yield contrast_normalise(images[start : start + _CHUNK])
