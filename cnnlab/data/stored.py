"""Data sets prepared by TensorFlow Datasets (TFDS) as array_record files, read without TensorFlow.

A prepared data set is a folder `<directory>/<name>/<version>` with dataset_info.json,
features.json and the shards of each split. It is checked from these files alone: TFDS, handed a
folder that is not there, would start a download and wait.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlab.data.images import Images
from cnnlab.errors import Mistake

_EDGE = 64 * 1024  # bytes hashed at either end of a shard
_CHUNK = 4096  # records decoded at a time
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"  # where dataset_info.json gives none
_BY_HAND = {
    "imagenet2012": "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, which image-net.org "
    "gives to those who register, into a FOLDER; with TensorFlow installed: tfds build "
    "imagenet2012 --manual_dir FOLDER --file_format array_record --data_dir"
}
"""How to prepare what may not be downloaded by a script."""
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


class DataMissing(Mistake):
    """A data set that is not on this machine, or not in a form that can be read."""


@dataclass(frozen=True)
class Stored:
    """One prepared version of a data set: what its two JSON files say, and where its shards are.

    Attributes:
        folder: The version's folder.
        info: dataset_info.json.
        features: features.json.
    """

    folder: Path
    info: Mapping[str, Any]
    features: Mapping[str, Any]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Number of images in each stored split."""
        return {s["name"]: sum(map(int, s["shardLengths"])) for s in self.info["splits"]}

    @cached_property
    def shards(self) -> dict[str, list[Path]]:
        """Files of each stored split, in order."""
        return {split["name"]: self._shards(split) for split in self.info["splits"]}

    def _shards(self, split: Mapping[str, Any]) -> list[Path]:
        number = len(split["shardLengths"])
        names = (
            split.get("filepathTemplate", _TEMPLATE).format(
                DATASET=self.info["name"],
                SPLIT=split["name"],
                FILEFORMAT=self.info["fileFormat"],
                SHARD_INDEX=f"{index:05d}",
                NUM_SHARDS=f"{number:05d}",
                SHARD_X_OF_Y=f"{index:05d}-of-{number:05d}",
            )
            for index in range(number)
        )
        return [self.folder / name for name in names]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image; -1 where they differ."""
        dimensions = self.features["image"]["image"]["shape"]["dimensions"]
        height, width, channels = map(int, dimensions)
        return height, width, channels

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.features["label"]["classLabel"]["numClasses"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names, if they lie beside the files; else none."""
        path = self.folder / "label.labels.txt"
        return tuple(path.read_text("utf-8").splitlines()) if path.is_file() else ()


def data_directory(given: str | os.PathLike[str] | None) -> Path:
    """Return the folder of data sets: the one given, else TFDS_DATA_DIR, else TFDS's default."""
    return Path(given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find(name: str, directory: Path, test_split: str = "test") -> Stored:
    """Return the newest prepared version of a data set, checked but not read.

    Args:
        name: The data set's TFDS name.
        directory: The folder that holds one folder for each data set.
        test_split: The stored split that is needed besides "train".

    Raises:
        DataMissing: If there is none, or it is not whole, or not in array_record files. The
            message names the folder tried and the command that prepares the data set.
    """
    folder = newest_version(directory / name)
    try:
        if folder is None:
            raise DataMissing(f"no version of it in the folder {directory / name}")
        return _open(folder, test_split)
    except DataMissing as problem:
        raise DataMissing(
            f"cannot read {name!r}: {problem}. {_remedy(name, directory, folder)}"
        ) from None


def newest_version(folder: Path) -> Path | None:
    """Return the newest version's folder in a data set's folder, None if there is none."""
    versions = {
        tuple(map(int, path.name.split("."))): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name)
    }
    return versions[max(versions)] if versions else None


def _remedy(name: str, directory: Path, folder: Path | None) -> str:
    command = _BY_HAND.get(name, f"python scripts/prepare_data.py {name} --directory")
    if folder is None:
        return f"To prepare it: {command} {directory}"
    return f"Move {folder} away, then: {command} {directory} (or give another directory)"


def _open(folder: Path, test_split: str) -> Stored:
    info = _read_json(folder / "dataset_info.json")
    features = _read_json(folder / "features.json")
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise DataMissing(
            f"{folder} holds {file_format} files, which need TensorFlow; only array_record is read"
        )
    try:
        stored = Stored(folder, info, features["featuresDict"]["features"])
        _ = stored.sizes["train"], stored.sizes[test_split], stored.image_shape, stored.classes
        shards = chain.from_iterable(stored.shards.values())
    except (KeyError, TypeError, ValueError) as error:
        raise DataMissing(f"{folder} does not describe labelled images: {error!r}") from error
    for shard in shards:
        if not shard.is_file():
            raise DataMissing(f"{folder} is not whole: {shard.name} is missing")
    return stored


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataMissing(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise DataMissing(f"{path} is not JSON ({error})") from None
    return content


def fingerprint(stored: Stored) -> str:
    """Return 16 hexadecimal digits that change when the stored files do.

    They begin the SHA-256 of dataset_info.json, of features.json and, for each shard, of its name,
    its size and its first and last 64 KiB: cheap however large the shards are.
    """
    digest = hashlib.sha256()
    for path in (stored.folder / "dataset_info.json", stored.folder / "features.json"):
        digest.update(path.read_bytes())
    for shard in chain.from_iterable(stored.shards.values()):
        size = shard.stat().st_size
        digest.update(f"{shard.name} {size}\n".encode())
        with shard.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(size - _EDGE, 0))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()[:16]


def read(stored: Stored, split: str, indices: NDArray[np.intp]) -> Images:
    """Decode some images of a stored split, in the order asked for, with OpenCV.

    Args:
        stored: A data set `find` returned.
        split: The name of a stored split.
        indices: Which images, int [N].

    Raises:
        DataMissing: If a file is damaged.
    """
    import tensorflow_datasets as tfds  # costs half a second: paid only when there is no cache

    images = np.empty((len(indices), *stored.image_shape), np.uint8)
    labels = np.empty(len(indices), np.int32)
    with damage_told(stored.folder):
        source = tfds.builder_from_directory(stored.folder).as_data_source(split)
        for start in range(0, len(indices), _CHUNK):
            part = slice(start, start + _CHUNK)
            records = source.__getitems__(indices[part].tolist())
            images[part] = [record["image"] for record in records]
            labels[part] = [record["label"] for record in records]
    return Images(images, labels)


def encoded(stored: Stored, split: str) -> Any:
    """Return a stored split as a sequence of records, whose "image" is the file's bytes."""
    import tensorflow_datasets as tfds

    kept = {"image": tfds.decode.SkipDecoding()}
    return tfds.builder_from_directory(stored.folder).as_data_source(split, decoders=kept)


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what array_record raises of a damaged file into DataMissing."""
    try:
        yield
    except RuntimeError as error:  # what array_record raises whatever is wrong with a file
        raise DataMissing(f"{path} is damaged: {error}") from error


def jpeg_quality(stored: Stored) -> str | None:
    """Return how the first training image was compressed: "q75", "" if unknown, None if not JPEG.

    The quality is the one at which OpenCV's encoder writes the same quantisation table.

    Raises:
        DataMissing: If the file is damaged.
    """
    from array_record.python import array_record_module

    shard = stored.shards["train"][0]
    with damage_told(shard):
        reader = array_record_module.ArrayRecordReader(str(shard))
        record: bytes = reader.read([0])[0]
        reader.close()
    start = record.find(_JPEG)
    if start < 0 or _PNG in record:
        return None
    table = _quantisation(record[start:])
    matches = (q for q in range(100, 0, -1) if _quantisation(_encode_jpeg(q)) == table)
    return next((f"q{quality}" for quality in matches), "")


def _encode_jpeg(quality: int) -> bytes:
    import cv2

    block = np.zeros((8, 8), np.uint8)
    return cv2.imencode(".jpg", block, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _quantisation(jpeg: bytes) -> bytes:
    """Return the first quantisation table of a JPEG file: 64 bytes after the segment's header."""
    start = jpeg.index(b"\xff\xdb") + 5
    return jpeg[start : start + 64]
