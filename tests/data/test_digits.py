import hashlib

import numpy as np
from sklearn.datasets import load_digits

from cnnlab import data

SPLITS = ("train", "validation", "test")


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Bilinear interpolation from 8x8 to 32x32, pixel centres aligned, one pixel at a time."""
    large = np.zeros((len(images), 32, 32, 1))
    for i, j in np.ndindex(32, 32):
        y, x = np.clip((i + 0.5) / 4 - 0.5, 0, 7), np.clip((j + 0.5) / 4 - 0.5, 0, 7)
        top, left = int(min(y, 6)), int(min(x, 6))
        dy, dx = y - top, x - left
        above = (1 - dx) * images[:, top, left] + dx * images[:, top, left + 1]
        below = (1 - dx) * images[:, top + 1, left] + dx * images[:, top + 1, left + 1]
        large[:, i, j, 0] = (1 - dy) * above + dy * below
    return np.rint(large * 255 / 16).astype(np.uint8)


def test_the_splits_are_all_of_the_bundled_digits_once_and_enlarged() -> None:
    splits = [data.open_dataset("digits").split(name) for name in SPLITS]
    assert [len(split.labels) for split in splits] == [1257, 180, 360]
    bundled = load_digits()
    expected = zip(_enlarge(bundled.images), bundled.target, strict=True)
    got = (pair for split in splits for pair in zip(split.images, split.labels, strict=True))
    assert sorted((image.tobytes(), int(label)) for image, label in got) == sorted(
        (image.tobytes(), int(label)) for image, label in expected
    )


def test_what_it_says_of_itself() -> None:
    digits = data.open_dataset("digits")
    assert digits.title == "digits (scikit-learn, 8x8 upscaled to 32x32)"
    train = digits.split("train")
    assert train.images.shape[1:] == digits.image_shape
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    assert np.unique(train.labels).tolist() == list(range(digits.classes))


def test_the_bytes_never_change() -> None:
    digits = data.open_dataset("digits")
    assert digits.fingerprint == "8b565fa295eb33cb"
    splits = [digits.split(name) for name in SPLITS]
    content = b"".join(split.images.tobytes() + split.labels.tobytes() for split in splits)
    assert hashlib.sha256(content).hexdigest()[:16] == "6b291ac70a298098"
