"""Photographs of any size to squares: cut at random to train on, from the middle to evaluate."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_RATIOS = 3 / 4, 4 / 3
"""Of a random window's width to its height."""
_ATTEMPTS = 10
_ENLARGED = 256 / 224
"""Shorter side of an image over the middle that is cut out of it (He et al. 2015, sec. 3.4)."""


class Box(NamedTuple):
    """A window of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_box(random: np.random.Generator, height: int, width: int, smallest: float) -> Box:
    """Draw a window of an image: its area, then its shape, then its place.

    The area is uniform from `smallest` of the image's to all of it, the logarithm of width / height
    uniform between those of 3/4 and 4/3, and each place that it fits is equally likely (Szegedy et
    al. 2014, arXiv:1409.4842, section 6, with 0.08). What does not fit is drawn anew, ten times as
    in torchvision; then it is the largest window of an allowed shape, in the middle.
    """
    narrowest, widest = _RATIOS
    for _ in range(_ATTEMPTS):
        area = height * width * random.uniform(smallest, 1)
        ratio = math.exp(random.uniform(math.log(narrowest), math.log(widest)))
        box = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box[0] <= height and 0 < box[1] <= width:
            top, left = random.integers([height - box[0] + 1, width - box[1] + 1])
            return Box(int(top), int(left), *box)
    return middle(
        height, width, min(height, round(width / narrowest)), min(width, round(height * widest))
    )


def middle(height: int, width: int, inner_height: int, inner_width: int) -> Box:
    """The window in the middle; half a pixel is rounded to the even side."""
    top, left = round((height - inner_height) / 2), round((width - inner_width) / 2)
    return Box(top, left, inner_height, inner_width)


def random_crop(
    random: np.random.Generator, image: NDArray[np.uint8], size: int, smallest: float
) -> NDArray[np.uint8]:
    """Cut `random_box` out of an image [H, W, 3] and scale it to [size, size, 3]."""
    height, width, _ = image.shape
    return resize(_cut(image, random_box(random, height, width, smallest)), size, size)


def centre_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scale an image [H, W, 3] to a shorter side of 256/224 size, and cut the middle out of it."""
    height, width, _ = image.shape
    short = round(size * _ENLARGED)
    high, wide = (short * side // min(height, width) for side in (height, width))
    return _cut(resize(image, high, wide), middle(high, wide, size, size))


def _cut(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    return image[box.top : box.top + box.height, box.left : box.left + box.width]


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale an image [H, W, 3]: by the mean of areas to make it smaller, else linearly."""
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def decode(encoded: bytes) -> NDArray[np.uint8] | None:
    """The image [H, W, 3] in a JPEG or PNG file: red, green, blue, also of a grey one, as it lies.

    None if it is no such file. What a camera says of its orientation is not heeded, as nobody does
    who trains on ImageNet.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        blue_first = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # no byte at all, or more pixels than it takes
        return None
    if blue_first is None:
        return None
    return np.asarray(cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB), np.uint8)
