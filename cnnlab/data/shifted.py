"""A data set whose every image was moved once and for all, to ask what centring is worth."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlab.data.images import Images
from cnnlab.data.splits import SPLITS

REACH = 4
"""Pixels an image is moved at most, on each axis."""
VERSION = "1"  # of the shifts


def shifts(split: str, number: int) -> NDArray[np.int64]:
    """Return how far down and right each image of a split is to go: [N, 2] in -REACH..REACH.

    Image i takes the raw 64-bit draws 2i and 2i + 1 of a PCG64 of the split's own: NumPy keeps that
    stream the same for ever, and no image's shift depends on how many there are.
    """
    draws = np.random.PCG64(1 + SPLITS.index(split)).random_raw((number, 2))
    return (draws % (2 * REACH + 1)).astype(np.int64) - REACH


def move(images: NDArray[Any], by: NDArray[np.int64]) -> NDArray[Any]:
    """Return images moved on their background of zeros, none so far that any of it is lost.

    Args:
        images: uint8 [N, H, W, C].
        by: Pixels down and right, int [N, 2]; an image goes no further than to its border.
    """
    rows, columns = (_moved(images, axis, by[:, axis - 1]) for axis in (1, 2))
    number = np.arange(len(images))
    return images[number[:, None, None], rows[:, :, None], columns[:, None, :]]


def _moved(images: NDArray[Any], axis: int, by: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each row (axis 1) or column (axis 2) of the moved images comes from, [N, H or W]."""
    size = images.shape[axis]
    drawn = np.asarray(images.any(axis=tuple({1, 2, 3} - {axis})))
    before, behind = drawn.argmax(axis=1), drawn[:, ::-1].argmax(axis=1)
    return (np.arange(size) - np.clip(by, -before, behind)[:, None]) % size


def shifted_split(name: str, images: Images) -> Images:
    """Return a split's images, each at its place, with their labels."""
    return Images(move(images.images, shifts(name, len(images.labels))), images.labels)


def fingerprint(original: str) -> str:
    """Return 16 hexadecimal digits that change with the original's and with the shifts."""
    return hashlib.sha256(f"{original} {VERSION}".encode()).hexdigest()[:16]
