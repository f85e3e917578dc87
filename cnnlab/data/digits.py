"""The 1,797 handwritten digits that come with scikit-learn, at 32x32."""

import functools
import hashlib

import cv2
import numpy as np

from cnnlab.data.images import Images
from cnnlab.data.splits import fixed_order

TITLE = "digits (scikit-learn, 8x8 upscaled to 32x32)"
VERSION = "1"  # of the upscaling and the splits below
IMAGE_SHAPE = (32, 32, 1)
CLASSES = 10
BOUNDS = {"train": (0, 1257), "validation": (1257, 1437), "test": (1437, 1797)}
"""Where each split begins and ends in `fixed_order`."""


def split(name: str) -> Images:
    """Return a split: 1,257 train, 180 validation and 360 test images, cut from `fixed_order`."""
    every = all_images()
    start, stop = BOUNDS[name]
    chosen = np.sort(fixed_order(len(every.labels))[start:stop])
    return Images(every.images[chosen], every.labels[chosen])


def fingerprint() -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of all pixels and labels."""
    every = all_images()
    return hashlib.sha256(every.images.tobytes() + every.labels.tobytes()).hexdigest()[:16]


@functools.cache
def all_images() -> Images:
    """Return all digits in scikit-learn's order.

    Each 8x8 image of values 0..16 is enlarged to 32x32 by bilinear interpolation with pixel
    centres aligned (OpenCV's INTER_LINEAR), scaled to 0..255 and rounded. Every weight is a
    multiple of 1/64, so float32 holds each step exactly and all machines get the same bytes.
    """
    from sklearn.datasets import load_digits  # costs two seconds: paid by those who read digits

    bunch = load_digits()
    large = [
        cv2.resize(image, IMAGE_SHAPE[:2], interpolation=cv2.INTER_LINEAR)
        for image in bunch.images.astype(np.float32)
    ]
    pixels = np.rint(np.stack(large) * 255 / 16).astype(np.uint8)
    return Images(pixels[..., None], bunch.target.astype(np.int32))
