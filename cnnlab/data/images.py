"""Decoded images with their labels, and the statistics of their channels."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1024  # images a pass: keeps the histogram's temporaries at a few megabytes


class Images(NamedTuple):
    """The images of one split, in memory.

    Attributes:
        images: uint8 [N, H, W, C], channels in the order red, green, blue; float32 where the data
            set was opened with a `preprocess`.
        labels: int32 [N], each in 0..classes-1.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int32]

    @property
    def number(self) -> int:
        """How many images there are: N."""
        return len(self.labels)

    def batches(self, batch_size: int, rows: NDArray[np.intp]) -> Iterator["Images"]:
        """Yield these rows of each batch, in order.

        The last batch is filled up with its own images again, so that all are of one size.

        Args:
            batch_size: Rows of the whole batch.
            rows: Which of them to yield, int [n].
        """
        for start in range(0, self.number, batch_size):
            chosen = start + rows % min(batch_size, self.number - start)
            yield Images(self.images[chosen], self.labels[chosen])


def channel_statistics(
    images: NDArray[Any],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation of every channel.

    Both count every pixel of every image once and are in units of [0, 1] pixels (a pixel of 255
    is 1). They come from the histogram of the 256 pixel values, so no sum is ever rounded.

    Args:
        images: uint8 [N, H, W, C].

    Returns:
        Mean, float32 [C], and (population) standard deviation, float32 [C].

    Raises:
        ValueError: If `images` is not a non-empty uint8 [N, H, W, C], or if a channel is constant,
            which no division by its standard deviation could normalise.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.size == 0:
        raise ValueError(f"images must be uint8 [N, H, W, C], got {images.dtype} {images.shape}")
    counts = _histogram(images)
    constant = np.flatnonzero((counts > 0).sum(axis=1) == 1)
    if constant.size:
        raise ValueError(f"channels {constant.tolist()} hold one value only, and no deviation")
    values = np.arange(256) / 255.0
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def _histogram(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count each pixel value of each channel: int64 [C, 256]."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return counts
