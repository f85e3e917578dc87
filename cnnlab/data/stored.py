"""Data sets prepared by TensorFlow Datasets (TFDS) as array_record files, read without TensorFlow.

A prepared data set is a folder `<directory>/<name>/<version>` with dataset_info.json,
features.json and the shards of each split. It is checked from these files alone: TFDS, handed a
folder that is not there, would start a download and wait. What is decoded is held against what they
say, record by record.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from cnnlab.errors import Mistake, unknown
from cnnlab.files import BadFile, BadName, Format, inside, read_bytes, read_text, strict

_EDGE = 64 * 1024  # bytes hashed at either end of a shard
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"  # where dataset_info.json gives none
_BY_HAND = {
    "imagenet2012": "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, which image-net.org "
    "gives to those who register, into a FOLDER; with TensorFlow installed: tfds build "
    "imagenet2012 --manual_dir FOLDER --file_format array_record --data_dir"
}
"""How to prepare what may not be downloaded by a script."""
_SPACE = re.compile(r"\{(\w*)\}")

# Protocol buffers write a large integer as a string.
_COUNT = {"type": ["string", "integer"], "pattern": "^[0-9]{1,18}$", "minimum": 0}
_SIDE = {"type": ["string", "integer"], "pattern": "^(-1|[1-9][0-9]{0,4})$", "minimum": -1}
_TEXT = {"type": "string"}
_SHARDS = {"type": "array", "items": _COUNT}
_SPLIT = {
    "type": "object",
    "required": ["name", "shardLengths"],
    "properties": {"name": _TEXT, "shardLengths": _SHARDS, "filepathTemplate": _TEXT},
}
_SPLITS = {"type": "array", "items": _SPLIT}
_INFO = Format(
    {
        "required": ["name", "splits"],
        "properties": {"name": _TEXT, "fileFormat": _TEXT, "splits": _SPLITS},
    }
)
_SHAPE = strict({"dimensions": {"type": "array", "minItems": 3, "maxItems": 3, "items": _SIDE}})
_TYPE = {"enum": ["uint8"]}
_PIXELS = {"type": "object", "required": ["shape"], "properties": {"shape": _SHAPE, "dtype": _TYPE}}
_IMAGE = strict({"image": _PIXELS})
_LABEL = strict({"classLabel": strict({"numClasses": _COUNT})})
_FEATURES = Format(
    strict({"featuresDict": strict({"features": strict({"image": _IMAGE, "label": _LABEL})})})
)
_CHANNELS = 1, 3, 4
_MOST_CLASSES = 1_000_000


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
        return {split: sum(shards.values()) for split, shards in self.shards.items()}

    @cached_property
    def shards(self) -> dict[str, dict[Path, int]]:
        """Files of each stored split, in order, and how many records each is said to hold."""
        return {split["name"]: self._shards(split) for split in self.info["splits"]}

    def _shards(self, split: Mapping[str, Any]) -> dict[Path, int]:
        number = len(split["shardLengths"])
        template = split.get("filepathTemplate", _TEMPLATE)
        found = {}
        for index, length in enumerate(split["shardLengths"]):
            words = {
                "DATASET": self.info["name"],
                "SPLIT": split["name"],
                "FILEFORMAT": self.info["fileFormat"],
                "SHARD_INDEX": f"{index:05d}",
                "NUM_SHARDS": f"{number:05d}",
                "SHARD_X_OF_Y": f"{index:05d}-of-{number:05d}",
            }
            found[inside(self.folder, _filled(template, words))] = int(length)
        return found

    def place(self, split: str, index: int) -> str:
        """Where a record of a stored split lies, in words: file and number, from 0."""
        for shard, length in self.shards[split].items():
            if index < length:
                return f"{shard}, record {index}"
            index -= length
        raise IndexError(f"{self.folder}: {split} has no such record")

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
        return tuple(read_text(path).splitlines()) if path.is_file() else ()


def _filled(template: str, words: Mapping[str, str]) -> str:
    for name in _SPACE.findall(template):
        if name not in words:
            raise DataMissing(f"filepathTemplate: {unknown('part', name, words)}")
    return _SPACE.sub(lambda space: words[space[1]], template)


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
    except (DataMissing, BadFile, BadName) as problem:
        raise DataMissing(
            f"cannot read {name!r}: {problem}. {_remedy(name, directory, folder)}"
        ) from None


def newest_version(folder: Path) -> Path | None:
    """Return the newest version's folder in a data set's folder, None if there is none."""
    versions = {
        tuple(map(int, path.name.split("."))): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", path.name)
    }
    return versions[max(versions)] if versions else None


def _remedy(name: str, directory: Path, folder: Path | None) -> str:
    command = _BY_HAND.get(name, f"python scripts/prepare_data.py {name} --directory")
    if folder is None:
        return f"To prepare it: {command} {directory}"
    return f"Move {folder} away, then: {command} {directory} (or give another directory)"


def _open(folder: Path, test_split: str) -> Stored:
    for name in ("dataset_info.json", "features.json"):
        if not (folder / name).exists():
            raise DataMissing(f"{folder} has no {name}")
    info, features = (
        _INFO.read(folder / "dataset_info.json"),
        _FEATURES.read(folder / "features.json"),
    )
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise DataMissing(
            f"{folder} holds {file_format} files, which need TensorFlow; only array_record is read"
        )
    found = Stored(folder, info, features["featuresDict"]["features"])
    if len(found.shards) < len(info["splits"]):
        raise DataMissing(f"{folder}/dataset_info.json has two splits of one name")
    for split in ("train", test_split):
        if not found.sizes.get(split):
            raise DataMissing(f"{folder} does not describe labelled images of a split {split!r}")
    _check_files(found)
    if found.image_shape[2] not in _CHANNELS or not 1 <= found.classes <= _MOST_CLASSES:
        raise DataMissing(
            f"{folder}/features.json describes images of {found.image_shape[2]} channels in "
            f"{found.classes} classes; channels must be one of {_CHANNELS}, classes 1 to 1,000,000"
        )
    return found


def _check_files(found: Stored) -> None:
    """Find a shard that is not there, or is smaller than so many records could be."""
    for shard, length in chain.from_iterable(each.items() for each in found.shards.values()):
        if not shard.is_file():
            raise DataMissing(f"{found.folder} is not whole: {shard.name} is missing")
        if (size := shard.stat().st_size) < length:
            raise DataMissing(
                f"{shard} has {size:,} bytes, and dataset_info.json says {length:,} records"
            )


def check_sized(found: Stored) -> None:
    """Refuse a data set that is to be decoded whole, and whose images differ in size.

    Raises:
        DataMissing: Names the file that says so.
    """
    if min(found.image_shape) < 1:
        raise DataMissing(
            f"{found.folder}/features.json describes images of shape {found.image_shape}; -1 is "
            "for images that differ, and these are to be of one size"
        )


def fingerprint(stored: Stored) -> str:
    """Return 16 hexadecimal digits that change when the stored files do.

    They begin the SHA-256 of dataset_info.json, of features.json and, for each shard, of its name,
    its size and its first and last 64 KiB: cheap however large the shards are.
    """
    digest = hashlib.sha256()
    for path in (stored.folder / "dataset_info.json", stored.folder / "features.json"):
        digest.update(read_bytes(path))
    for shard in chain.from_iterable(stored.shards.values()):
        size = shard.stat().st_size
        digest.update(f"{shard.name} {size}\n".encode())
        with shard.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(size - _EDGE, 0))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()[:16]
