"""What is stored against what is said of it: told with the file, and the record where there is one.

Every case of a description that does not fit is one edit of a JSON file beside images that do.
"""

import gzip
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlab import data
from cnnlab.data import DataMissing
from cnnlab.data.prepare import prepare

TRAIN, TEST = (
    "cifar10-train.array_record-00000-of-00001",
    "cifar10-test.array_record-00000-of-00001",
)


def edit(path: Path, place: str, value: Any) -> None:
    """Set what stands at a place, `a.0.b`, of a JSON file; `...` takes it away."""
    found = inner = json.loads(path.read_text())
    *parents, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    path.write_text(json.dumps(found))


@pytest.fixture
def directory(prepared_cifar10: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared_cifar10, tmp_path / "tfds"))


LENGTHS, FEATURES = "splits.0.shardLengths", "featuresDict.features"
SHAPE = f"{FEATURES}.image.image.shape.dimensions"
CLASSES = f"{FEATURES}.label.classLabel.numClasses"
NAME = "splits.0.filepathTemplate"
# Told when the set is opened, with nothing decoded: the file, what is put where, what is said.
AT_ONCE: dict[str, tuple[str, str, Any, str]] = {
    "negative length": ("dataset_info.json", LENGTHS, ["-60"], "must match pattern"),
    "negative number": ("dataset_info.json", LENGTHS, [-60], "must be bigger than or equal to 0"),
    "no length": ("dataset_info.json", LENGTHS, [None], "must be string or integer, not None"),
    "a length in words": ("dataset_info.json", LENGTHS, ["many"], "must match pattern"),
    "lengths that are none": ("dataset_info.json", LENGTHS, "60", "must be array"),
    "more records than bytes": (
        "dataset_info.json", LENGTHS, ["1000000000000"],
        rf"{TRAIN} has [\d,]+ bytes, and dataset_info.json says 1,000,000,000,000 records",
    ),
    "a number beyond all": ("dataset_info.json", LENGTHS, ["9" * 30], "must match pattern"),
    "no image": ("dataset_info.json", LENGTHS, ["0"], "no labelled images|labelled images of"),
    "a shard too many": ("dataset_info.json", LENGTHS, ["30", "30"], r"-of-00002 is missing"),
    "no splits": ("dataset_info.json", "splits", [], "labelled images of a split 'train'"),
    "splits that are none": ("dataset_info.json", "splits", {}, "splits must be array, not {}"),
    "two of a name": ("dataset_info.json", "splits.1.name", "train", "two splits of one name"),
    "no name": ("dataset_info.json", "name", ..., "lacks 'name'"),
    "a path": ("dataset_info.json", NAME, "../{SPLIT}", "cannot be the name of a folder: it has /"),
    "an attribute": ("dataset_info.json", NAME, "{DATASET.__class__}", "is missing"),
    "another word": ("dataset_info.json", NAME, "{SHARD}", "filepathTemplate: unknown part"),
    "a template of none": ("dataset_info.json", NAME, 5, "filepathTemplate must be string, not 5"),
    "any size": ("features.json", SHAPE, ["-1", "-1", "3"], r"shape \(-1, -1, 3\); -1 is for"),
    "one side open": ("features.json", SHAPE, ["32", "-1", "3"], r"shape \(32, -1, 3\); -1 is for"),
    "no channel": ("features.json", SHAPE, ["32", "32", "-1"], "-1 channels in 10 classes"),
    "two channels": ("features.json", SHAPE, ["32", "32", "2"], "2 channels in 10 classes"),
    "no side": ("features.json", SHAPE, ["0", "32", "3"], "must match pattern"),
    "a side too negative": ("features.json", SHAPE, ["-2", "32", "3"], "must match pattern"),
    "a side beyond all": ("features.json", SHAPE, ["1000000", "32", "3"], "must match pattern"),
    "two sides": ("features.json", SHAPE, ["32", "32"], "must contain at least 3 items"),
    "four sides": ("features.json", SHAPE, ["32"] * 4, "must contain less than or equal to 3"),
    "no shape": ("features.json", SHAPE, None, "dimensions must be array, not None"),
    "no class": ("features.json", CLASSES, "0", "3 channels in 0 classes"),
    "fewer classes": ("features.json", CLASSES, "-3", "numClasses must match pattern"),
    "classes beyond all": ("features.json", CLASSES, "9" * 12, "in 999999999999 classes"),
    "classes in words": ("features.json", CLASSES, "ten", "numClasses must match pattern"),
    "no label": ("features.json", f"{FEATURES}.label", ..., "lacks 'label' in featuresDict.featu"),
    "no classes": ("features.json", f"{FEATURES}.label", {"text": {}}, "lacks 'classLabel'"),
    "no features": ("features.json", "featuresDict", [], "featuresDict must be object"),
    "another type": (
        "features.json", f"{FEATURES}.image.image.dtype", "float32", r"must be one of \['uint8'\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AT_ONCE.values(), ids=AT_ONCE)
def test_a_description_that_cannot_be_is_told_at_once(
    directory: Path, case: tuple[str, str, Any, str]
) -> None:
    name, place, value, said = case
    folder = directory / "cifar10" / "3.0.2"
    edit(folder / name, place, value)
    with pytest.raises(DataMissing) as caught:
        data.open_dataset("cifar10", directory=directory)
    message = str(caught.value)
    assert re.search(said, message), message
    assert str(folder) in message
    assert "Traceback" not in message


# Told when it is decoded.
WHEN_DECODED: dict[str, tuple[str, str, Any, str]] = {
    "labels beyond the classes": (
        "features.json", CLASSES, "3",
        rf"{TRAIN}, record \d+: label [3-9], and features.json says 0 to 2$",
    ),
    "larger images": (
        "features.json", SHAPE, ["20", "20", "3"],
        rf"{TRAIN}, record \d+: an image uint8 \(32, 32, 3\), and .* says uint8 \(20, 20, 3\)$",
    ),
    "a channel less": (
        "features.json", SHAPE, ["32", "32", "1"],
        rf"{TRAIN}, record \d+: an image uint8 \(32, 32, 3\), and .* says uint8 \(32, 32, 1\)$",
    ),
    "images of which no such number has room": (
        "features.json", SHAPE, ["65000", "65000", "3"], rf"{TRAIN}, record \d+: an image uint8",
    ),
    "fewer records": (
        "dataset_info.json", LENGTHS, ["59"],
        rf"{TRAIN} is damaged, or another's: it holds 60 records, and .* says 59$",
    ),
    "more records": (
        "dataset_info.json", LENGTHS, ["61"],
        rf"{TRAIN} is damaged, or another's: it holds 60 records, and .* says 61$",
    ),
    "what TFDS does not know": (
        "features.json", f"{FEATURES}.label.pythonClassName", "os.path.Nonesuch",
        r"TFDS cannot use what .*3\.0\.2 says: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WHEN_DECODED.values(), ids=WHEN_DECODED)
def test_what_is_decoded_is_held_against_the_description(
    directory: Path, case: tuple[str, str, Any, str], tmp_path: Path
) -> None:
    name, place, value, said = case
    folder = directory / "cifar10" / "3.0.2"
    (folder / "label.labels.txt").unlink()
    edit(folder / name, place, value)
    dataset = data.open_dataset("cifar10", directory=directory)
    with pytest.raises(DataMissing) as caught:
        dataset.split("train")
    assert re.search(said, str(caught.value)), caught.value
    assert str(folder) in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.npz")), "it was kept"


def test_the_record_that_is_named_is_the_one(directory: Path) -> None:
    """Numbered from 0 in its own file."""
    folder = directory / "cifar10" / "3.0.2"
    (folder / "label.labels.txt").unlink()
    labels = data.open_dataset("cifar10", directory=directory).decoded("test").labels
    first = int(np.flatnonzero(labels > 4)[0])
    edit(folder / "features.json", CLASSES, "5")
    with pytest.raises(DataMissing, match=rf"{TEST}, record {first}: label {labels[first]}, "):
        data.open_dataset("cifar10", directory=directory).split("test")


def test_a_damaged_record_is_named(directory: Path) -> None:
    shard = directory / "cifar10" / "3.0.2" / TRAIN
    content = bytearray(shard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    shard.write_bytes(content)
    with pytest.raises(DataMissing, match=rf"{TRAIN}(, record \d+)? is damaged"):
        data.open_dataset("cifar10", directory=directory).split("train")


KEPT: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "labels beyond": lambda images, labels: (images, labels + 10),
    "labels below": lambda images, labels: (images, labels - 1),
    "fewer labels": lambda images, labels: (images, labels[1:]),
    "another size": lambda images, labels: (images[:, 1:], labels),
    "another type": lambda images, labels: (images.astype(np.float32), labels),
    "labels of another type": lambda images, labels: (images, labels.astype(float)),
}


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_what_is_kept_decoded_is_held_against_it_too(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[..., Any]
) -> None:
    def train() -> data.Images:
        return data.open_dataset("cifar10", directory=directory).decoded("train")

    images, labels = train()
    (path,) = (tmp_path / "cache").rglob("*.npz")
    np.savez(path, **dict(zip(("images", "labels"), change(images, labels), strict=True)))
    with caplog.at_level(logging.WARNING):
        again = train()
    assert f"cannot use the cache file {path}" in caplog.text
    np.testing.assert_array_equal(again.images, images)
    np.testing.assert_array_equal(again.labels, labels)


def test_labels_of_what_is_streamed_are_held_against_it(imagenet: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(imagenet, tmp_path / "copy"))
    (path,) = directory.glob("*/*/features.json")
    for names in path.parent.glob("*.labels.txt"):
        names.unlink()
    edit(path, CLASSES, "40")  # there are 0 to 72
    dataset = data.open_dataset("imagenet2012", directory=directory, image_size=8)
    found = dataset.split("train")
    assert isinstance(found, data.Records)
    options = {"seed": 0, "batch_size": 9, "rows": np.arange(9), "smallest": 0.0, "flip": False}
    said = (
        r"imagenet2012-train.array_record-0000\d-of-00003, record \d+: label \d\d, and .* 0 to 39"
    )
    for workers in (0, 1):
        with pytest.raises(DataMissing, match=said):
            list(found.training_batches(range(6), workers=workers, **options))
    with pytest.raises(DataMissing, match=said.replace("train", "validation")):
        list(dataset.split("test").batches(5, np.arange(5)))


def idx(path: Path, magic: int, array: np.ndarray) -> None:
    header = np.array([magic, *array.shape], ">i4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


# What is published as MNIST, [N, H, W] and labels, and what is said of it.
NO_MNIST = {
    "small images": (
        (9, 20, 20),
        range(9),
        r"train has images uint8 \[20, 20, 1\], not uint8 \[28",
    ),
    "a label of none": ((9, 28, 28), [*range(8), 12], "train has label 12 in record 8, not 0 to 9"),
    "fewer labels": ((9, 28, 28), range(8), "train has 9 images and 8 of label"),
    "no images": ((0, 28, 28), range(0), "train has 0 images and 0 of label"),
}


@pytest.mark.parametrize(("shape", "labels", "said"), NO_MNIST.values(), ids=NO_MNIST)
def test_what_is_no_such_set_is_not_prepared(
    shape: tuple[int, ...], labels: Any, said: str, tmp_path: Path
) -> None:
    published = tmp_path / "published"
    published.mkdir()
    for prefix in ("train", "t10k"):
        idx(published / f"{prefix}-images-idx3-ubyte.gz", 2051, np.zeros(shape))
        idx(published / f"{prefix}-labels-idx1-ubyte.gz", 2049, np.array(labels))
    with pytest.raises(DataMissing, match=said) as caught:
        prepare("mnist", tmp_path / "tfds", source=published)
    assert str(published) in str(caught.value)
    assert not (tmp_path / "tfds" / "mnist").exists()


def test_an_error_of_the_machine_is_no_damage(
    publish: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path) -> bytes:
        raise OSError(5, "Input/output error", str(self))

    folder = publish("mnist").folder
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        prepare("mnist", tmp_path / "tfds", source=folder)
    assert not isinstance(caught.value, DataMissing)
