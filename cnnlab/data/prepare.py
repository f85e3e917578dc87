"""Preparing a data set for `open_dataset`: download, parse, write array_record, no TensorFlow.

The official TFDS builder gives the features, the label names, the keys that fix the order and the
published checksums, and writes the files. Its own parsers and image encoder call TensorFlow: the
parsers here read the same published files, and images are handed over as PNG bytes.
"""

import gzip
import hashlib
import io
import logging
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from cnnlab.data import stored
from cnnlab.data.stored import DataMissing
from cnnlab.errors import Mistake, unknown
from cnnlab.files import writing

_log = logging.getLogger(__name__)
_TIMEOUT = 30  # seconds without a byte before a download is given up
_BLOCK = 1 << 20


class _Split(NamedTuple):
    """A split as published: uint8 images [N, H, W, C], labels [N] of each label feature, ids."""

    images: NDArray[np.uint8]
    labels: Mapping[str, NDArray[np.integer[Any]]]
    id_format: str | None = None


_Parser = Callable[[Any, Mapping[str, Path]], dict[str, _Split]]


def preparable() -> tuple[str, ...]:
    """Return the names `prepare` knows, sorted."""
    return tuple(sorted(_PARSERS))


def prepare(
    name: str,
    directory: str | os.PathLike[str] | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
) -> Path:
    """Make `<directory>/<name>/<version>`, unless it is there already, and return it.

    The folder appears by one rename when all is written: cut short, nothing that looks prepared is
    left, and what is goes when the set is prepared again. Downloads stay in
    `<directory>/downloads/<name>`, so that they are not fetched twice. Of `svhn_cropped`, train and
    test are prepared, not the 531,131 "extra" images.

    Args:
        name: One of `preparable()`.
        directory: By default the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets.
        source: The published archive, or a folder that holds the published files under their own
            names. By default they are downloaded and their checksums verified.

    Raises:
        Mistake: If `name` is unknown.
        DataMissing: If the download fails, if `source` lacks a file, or if a file cannot be read.
    """
    if name not in _PARSERS:
        raise Mistake(unknown("data set to prepare", name, preparable()))
    directory = stored.data_directory(directory)
    if stored.newest_version(directory / name):
        folder = stored.find(name, directory).folder
        _log.info("%s is already prepared in %s", name, folder)
        return folder
    builder = _official_builder(name, directory)
    files = _fetch(builder, directory / "downloads" / name, Path(source) if source else None)
    _write(builder, _parse(name, builder, files))
    _log.info("prepared %s in %s", name, builder.data_dir)
    return Path(builder.data_dir)


def _official_builder(name: str, directory: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_cls(name)(data_dir=str(directory))


def _fetch(builder: Any, downloads: Path, source: Path | None) -> dict[str, Path]:
    """Return where each published file lies on this machine, downloading it if need be."""
    published = {
        info.filename: (url, info.checksum)
        for url, info in builder.url_infos.items()
        if not info.filename.startswith("extra")
    }
    if source is None:
        return {
            filename: _download(url, checksum, downloads / filename)
            for filename, (url, checksum) in published.items()
        }
    files = {n: source if source.is_file() else source / n for n in published}
    lacking = sorted(filename for filename, path in files.items() if not path.is_file())
    if lacking or len(set(files.values())) < len(files):
        needed = ", ".join(sorted(published))
        raise DataMissing(f"{source} is not, or does not hold, the published files: {needed}")
    for filename, path in files.items():
        if _sha256(path) != published[filename][1]:
            _log.warning("%s is not the file published at %s", path, published[filename][0])
    return files


def _download(url: str, checksum: str, path: Path) -> Path:
    if path.is_file() and _sha256(path) == checksum:
        return path
    _log.info("downloading %s", url)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with writing(path) as file:
        for block in _blocks(url):
            digest.update(block)
            file.write(block)
        if (received := digest.hexdigest()) != checksum:
            raise DataMissing(f"{url} sent a file with SHA-256 {received}, published is {checksum}")
    return path


def _blocks(url: str) -> Iterator[bytes]:
    """What an address sends, piece by piece."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            while block := response.read(_BLOCK):
                yield block
    except (OSError, HTTPException) as error:
        raise DataMissing(
            f"cannot download {url}: {error}. Where there is no network, fetch it elsewhere and "
            "give the folder it lies in as the source (--from)"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(name: str, builder: Any, files: Mapping[str, Path]) -> dict[str, _Split]:
    paths = ", ".join(str(path) for path in files.values())
    try:
        splits = _PARSERS[name](builder, files)
    except Exception as error:  # tarfile, gzip, zlib, SciPy and NumPy each have their own
        if isinstance(error, OSError) and error.errno:  # the machine's; gzip's have no number
            raise
        raise DataMissing(f"cannot read {name!r} from {paths}: {error!r}") from error
    for split in splits:
        if why := _unlike(splits[split], builder.info.features):
            raise DataMissing(f"{paths} do not hold {name!r}: {split} has {why}")
    return splits


def _unlike(split: _Split, features: Any) -> str:
    """In what a split is not as the official features describe it; nothing if it is."""
    number, *shape = split.images.shape
    if split.images.dtype != np.uint8 or tuple(shape) != features["image"].shape:
        return f"images {split.images.dtype} {shape}, not uint8 {list(features['image'].shape)}"
    for name, labels in split.labels.items():
        if not number or labels.shape != (number,):
            return f"{number} images and {labels.size} of {name}"
        classes = features[name].num_classes
        strange = np.flatnonzero(~((labels >= 0) & (labels < classes) & (labels % 1 == 0)))
        if strange.size:
            return f"{name} {labels[strange[0]]} in record {strange[0]}, not 0 to {classes - 1}"
    return ""


def _parse_cifar(builder: Any, files: Mapping[str, Path]) -> dict[str, _Split]:
    """Each record is one byte per label, then 3,072 of the image: channel, row, column."""
    published = builder._cifar_info
    keys = published.label_keys

    def records(archive: tarfile.TarFile, names: list[str], id_format: str) -> _Split:
        content = b"".join(_member(archive, published.prefix + name) for name in names)
        rows = np.frombuffer(content, np.uint8).reshape(-1, len(keys) + 3072)
        images = rows[:, len(keys) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return _Split(images, {key: rows[:, i] for i, key in enumerate(keys)}, id_format)

    (path,) = files.values()
    with tarfile.open(path) as archive:
        for key, name in zip(keys, published.label_files, strict=True):
            text = _member(archive, published.prefix + name).decode()
            builder.info.features[key].names = [line for line in text.split("\n") if line]
        return {
            "train": records(archive, published.train_files, "train_{:05d}"),
            "test": records(archive, published.test_files, "test_{:05d}"),
        }


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read()


def _parse_mnist(builder: Any, files: Mapping[str, Path]) -> dict[str, _Split]:
    """Each file is in the IDX format: a magic number, the dimensions, the bytes."""
    del builder
    return {
        split: _Split(
            _read_idx(files[f"{prefix}-images-idx3-ubyte.gz"], 3)[..., None],
            {"label": _read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"], 1)},
        )
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    content = gzip.decompress(path.read_bytes())
    magic, *shape = np.frombuffer(content, ">u4", 1 + dimensions).tolist()
    if magic != 0x800 + dimensions:
        raise ValueError(
            f"{path.name} begins with {magic:#x}, not with IDX's {0x800 + dimensions:#x}"
        )
    return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def _parse_svhn(builder: Any, files: Mapping[str, Path]) -> dict[str, _Split]:
    """Each file is MATLAB's: X [H, W, C, N] and y [N, 1], in which 10 stands for the digit 0."""
    del builder
    from scipy.io import loadmat

    def split(name: str) -> _Split:
        content = loadmat(files[f"{name}_32x32.mat"])
        labels = content["y"].ravel() % 10
        return _Split(content["X"].transpose(3, 0, 1, 2), {"label": labels}, name + "_{:06d}")

    return {name: split(name) for name in ("train", "test")}


_PARSERS: dict[str, _Parser] = {
    "cifar10": _parse_cifar,
    "cifar100": _parse_cifar,
    "fashion_mnist": _parse_mnist,
    "mnist": _parse_mnist,
    "svhn_cropped": _parse_svhn,
}


def _write(builder: Any, splits: Mapping[str, _Split]) -> None:
    """Let the builder write what its own generators would have yielded."""
    import tensorflow_datasets as tfds

    def generators(download_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del download_manager
        return {name: _examples(split) for name, split in splits.items()}

    builder._split_generators = generators
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    home = Path(builder.data_dir).parent
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"), tempfile.TemporaryDirectory() as unused:
        for left in home.glob("incomplete.*"):  # by a process that was killed: this has the lock
            shutil.rmtree(left)
        builder.download_and_prepare(
            download_dir=unused, download_config=config, file_format="array_record"
        )


def _examples(split: _Split) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, image in enumerate(split.images):
        example: dict[str, Any] = {
            name: int(labels[index]) for name, labels in split.labels.items()
        }
        example |= {"image": io.BytesIO(_encode_png(image))}
        if split.id_format is not None:
            example |= {"id": split.id_format.format(index)}
        yield index, example


def _encode_png(image: NDArray[np.uint8]) -> bytes:
    blue_first = np.ascontiguousarray(image[..., ::-1])  # OpenCV's order of channels
    return cv2.imencode(".png", blue_first)[1].tobytes()
