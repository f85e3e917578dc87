"""Which stored images make the train and validation splits, by a rule that never changes."""

import numpy as np
from numpy.typing import NDArray

from cnnlab.errors import Mistake, unknown

SPLITS = ("train", "validation", "test")
_VALIDATION = 5_000


def fixed_order(size: int) -> NDArray[np.intp]:
    """Return one fixed shuffle of 0..size-1, shape [size].

    It sorts the raw 64-bit draws of PCG64(0): NumPy keeps that stream the same for ever, which it
    does not promise of `Generator.permutation`.
    """
    return np.argsort(np.random.PCG64(0).random_raw(size), kind="stable")


def stored_indices(split: str, train_size: int, test_size: int) -> NDArray[np.intp]:
    """Return the indices of a split's images in the stored split they come from, ascending.

    Validation is the last tenth of `fixed_order(train_size)`, 5,000 images at most: 45,000 / 5,000
    of CIFAR's 50,000, 55,000 / 5,000 of MNIST's 60,000. Test is the stored test split.

    Args:
        split: "train", "validation" or "test".
        train_size: Number of images in the stored train split.
        test_size: Number of images in the stored test split.
    """
    if split == "test":
        return np.arange(test_size)
    cut = split_sizes(train_size, test_size)["train"]
    order = fixed_order(train_size)
    return np.sort(order[:cut] if split == "train" else order[cut:])


def split_sizes(train_size: int, test_size: int) -> dict[str, int]:
    """Return how many images each split has; the arguments are as of `stored_indices`."""
    validation = min(_VALIDATION, train_size // 10)
    return {"train": train_size - validation, "validation": validation, "test": test_size}


def check_split(split: str) -> None:
    """Raise Mistake, naming the nearest split, unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise Mistake(unknown("split", split, SPLITS))
