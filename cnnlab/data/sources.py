"""The register of data sets, and opening one by name."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnlab.data import cache, decoding, digits, shifted, stored, whitening
from cnnlab.data.images import Images
from cnnlab.data.records import Records
from cnnlab.data.splits import check_split, split_sizes, stored_indices
from cnnlab.errors import Mistake, unknown
from cnnlab.machine import cache_folder

_Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations of the channels, in units of [0, 1] pixels."""


class _Official(NamedTuple):
    """A data set as published: its name in print and the sizes of its two splits.

    One that is streamed, because it is too large to be decoded whole, has published statistics.
    """

    title: str
    train: int
    test: int
    test_split: str = "test"
    statistics: _Statistics | None = None


# Of a random part of the training images: fb.resnet.torch, datasets/imagenet.lua.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_OFFICIAL = {
    "cifar10": _Official("CIFAR-10", 50_000, 10_000),
    "cifar100": _Official("CIFAR-100", 50_000, 10_000),
    "fashion_mnist": _Official("Fashion-MNIST", 60_000, 10_000),
    # Nobody has the labels of its own test images.
    "imagenet2012": _Official(
        "ImageNet 2012, tested on its validation images",
        1_281_167,
        50_000,
        "validation",
        _IMAGENET,
    ),
    "mnist": _Official("MNIST", 60_000, 10_000),
    "svhn_cropped": _Official("SVHN (cropped)", 73_257, 26_032),
}
_SHIFTED = {"mnist_shifted": "mnist"}
"""Data sets made of another one's images, each moved a little; see `cnnlab.data.shifted`."""


PREPROCESSES = ("", "gcn_zca")
"""What may be done to all images before training: nothing, or `whitening`."""


@dataclass(frozen=True)
class Dataset:
    """A data set that is on this machine, checked, with nothing decoded yet.

    Attributes:
        name: Its name in the register.
        title: Its name in print, which says where this copy differs from the published one.
        classes: Number of classes.
        image_shape: Height, width and channels of every image.
        version: Version of the stored copy.
        fingerprint: 16 hexadecimal digits that change when the stored copy does.
        preprocess: One of `PREPROCESSES`: what is done to the images of every split.
        class_names: What each class is called; its number where nothing says.
        sizes: Number of images in each split, where that is known before any is read.
    """

    name: str
    title: str
    classes: int
    image_shape: tuple[int, int, int]
    version: str
    fingerprint: str
    _load: Callable[[str], Images | Records] = field(repr=False, compare=False)
    preprocess: str = ""
    class_names: tuple[str, ...] = field(default=(), repr=False, compare=False)
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.class_names) != self.classes:
            object.__setattr__(self, "class_names", tuple(map(str, range(self.classes))))

    @property
    def examples(self) -> int:
        """Number of training images."""
        return self.sizes["train"] if self.sizes else self.split("train").number

    def split(self, name: str) -> Images | Records:
        """Return one split, from the cache on disk or decoded.

        No other split is read, but for the training split where `preprocess` is fitted to it.

        Of data that are streamed, nothing is read yet.

        Args:
            name: "train", "validation" or "test".

        Raises:
            Mistake: If there is no such split.
            DataMissing: If a file is damaged, or does not hold what is said of it.
        """
        check_split(name)
        return self._load(name)

    def decoded(self, name: str) -> Images:
        """Return one split of data that are not streamed.

        Raises:
            Mistake: If there is no such split, or if it would have to be decoded whole.
        """
        split = self.split(name)
        if isinstance(split, Records):
            raise Mistake(f"{self.name} is streamed, and not held in memory as a whole")
        return split


def names() -> tuple[str, ...]:
    """Return the names `open_dataset` knows, sorted."""
    return tuple(sorted((*_OFFICIAL, *_SHIFTED, "digits")))


def streamed() -> tuple[str, ...]:
    """Return the names of data sets whose images differ in size and are never decoded whole."""
    return tuple(name for name, official in _OFFICIAL.items() if official.statistics)


def open_dataset(
    name: str,
    *,
    preprocess: str = "",
    directory: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    image_size: int = 0,
) -> Dataset:
    """Find a data set on this machine and check it; decode nothing.

    Args:
        name: One of `names()`. "digits" comes with scikit-learn; the others are read from
            array_record files which `scripts/prepare_data.py` makes ("mnist_shifted" from those of
            "mnist").
        preprocess: "", uint8 images as they were published; or "gcn_zca", float32 images after
            contrast normalisation and ZCA whitening (`cnnlab.data.whitening`), fitted to the
            training split once a process: half a minute for CIFAR-10.
        directory: Holds `<name>/<version>`. By default the environment's TFDS_DATA_DIR, else
            ~/tensorflow_datasets.
        cache_dir: Where decoded arrays are kept. By default `$XDG_CACHE_HOME/cnnlab`, else
            ~/.cache/cnnlab.
        image_size: Side in pixels of the square that a streamed data set's images are brought to.

    Raises:
        Mistake: If `name` or `preprocess` is unknown, or if `image_size` is not given of a
            streamed data set, or given of a stored one that is not.
        DataMissing: If the files are not there or cannot be read. Nothing is ever downloaded.
    """
    if preprocess not in PREPROCESSES:
        raise Mistake(unknown("preprocess", preprocess, PREPROCESSES))
    dataset = _raw(name, directory, cache_dir, image_size)
    return _whitened(dataset) if preprocess else dataset


def _raw(
    name: str,
    directory: str | os.PathLike[str] | None,
    cache_dir: str | os.PathLike[str] | None,
    image_size: int = 0,
) -> Dataset:
    if name == "digits":
        return _digits()
    if name in _SHIFTED:
        return _shifted(name, _raw(_SHIFTED[name], directory, cache_dir))
    if name not in _OFFICIAL:
        raise Mistake(unknown("data set", name, names()))
    official = _OFFICIAL[name]
    if bool(image_size) != bool(official.statistics):
        raise Mistake(
            f"image_size = {image_size} for {name!r}: it is a side in pixels for "
            f"{', '.join(streamed())}, and 0 for data whose images have one size"
        )
    found = stored.find(name, stored.data_directory(directory), official.test_split)
    if not official.statistics:
        stored.check_sized(found)
    version, fingerprint = found.folder.name, stored.fingerprint(found)
    kept = Path(cache_dir or cache_folder()).expanduser() / f"{name}-{version}-{fingerprint}"
    height, width, channels = found.image_shape
    return Dataset(
        name=name,
        title=_title(official, found),
        classes=found.classes,
        image_shape=(image_size or height, image_size or width, channels),
        version=version,
        fingerprint=fingerprint,
        class_names=found.class_names,
        sizes=split_sizes(found.sizes["train"], found.sizes[official.test_split]),
        _load=partial(_records, found, official.test_split, image_size, official.statistics)
        if official.statistics
        else partial(_cached_split, found, kept),
    )


def _digits() -> Dataset:
    return Dataset(
        name="digits",
        title=digits.TITLE,
        classes=digits.CLASSES,
        image_shape=digits.IMAGE_SHAPE,
        version=digits.VERSION,
        fingerprint=digits.fingerprint(),
        sizes={name: stop - start for name, (start, stop) in digits.BOUNDS.items()},
        _load=digits.split,
    )


def _shifted(name: str, original: Dataset) -> Dataset:
    return replace(
        original,
        name=name,
        title=f"{original.title}, shifted by up to {shifted.REACH} pixels",
        version=f"{original.version}, shifts {shifted.VERSION}",
        fingerprint=shifted.fingerprint(original.fingerprint),
        _load=lambda split: shifted.shifted_split(split, original.decoded(split)),
    )


def _whitened(raw: Dataset) -> Dataset:
    return replace(
        raw,
        title=f"{raw.title}, GCN and ZCA",
        fingerprint=whitening.fingerprint(raw.fingerprint),
        preprocess="gcn_zca",
        _load=partial(_whitened_split, raw),
    )


def _whitened_split(raw: Dataset, split: str) -> Images:
    images, labels = raw.decoded(split)
    return Images(whitening.apply(images, _whitening_of(raw)), labels)


@functools.lru_cache(maxsize=1)
def _whitening_of(raw: Dataset) -> whitening.Whitening:
    return whitening.fit(raw.decoded("train").images)


def _title(official: _Official, found: stored.Stored) -> str:
    remarks = []
    # Photographs are published as JPEG.
    quality = None if official.statistics else decoding.jpeg_quality(found)
    if quality is not None:
        remarks.append(" ".join(f"JPEG {quality} copy".split()))
    for split, part, size in (
        ("train", "train", official.train),
        ("test", official.test_split, official.test),
    ):
        if found.sizes[part] != size:
            remarks.append(f"{found.sizes[part]:,} of {size:,} {split} images")
    return official.title + (f" ({'; '.join(remarks)})" if remarks else "")


def _cached_split(found: stored.Stored, kept: Path, split: str) -> Images:
    path, fits = kept / f"{split}.npz", partial(decoding.check, found)
    return cache.load(path, partial(_decode_split, found, split), fits)


def _decode_split(found: stored.Stored, split: str) -> Images:
    return decoding.read(found, *_part(found, split, "test"))


def _records(
    found: stored.Stored, test_split: str, size: int, statistics: _Statistics, split: str
) -> Records:
    return Records(found, *_part(found, split, test_split), size, statistics)


def _part(found: stored.Stored, split: str, test_split: str) -> tuple[str, NDArray[np.intp]]:
    """The stored split that a split is part of, and which of its images."""
    indices = stored_indices(split, found.sizes["train"], found.sizes[test_split])
    return test_split if split == "test" else "train", indices
