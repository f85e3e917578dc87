"""The tiny ImageNet, streamed: every label is one image, so that labels tell which came when."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import photographs
import pytest

from cnnlab import data
from cnnlab.data import DataMissing, Images, Records, crops
from cnnlab.data.decoding import Source
from cnnlab.data.prepare import prepare
from cnnlab.data.splits import stored_indices

BATCH, PER_EPOCH = 8, 6  # of 54 images
ROWS = np.arange(BATCH)


def records(directory: Path, split: str = "train", size: int = 16) -> Records:
    found = data.open_dataset("imagenet2012", directory=directory, image_size=size).split(split)
    assert isinstance(found, Records)
    return found


def batches(found: Records, steps: range, **changes: object) -> Iterator[Images]:
    options = {"seed": 3, "batch_size": BATCH, "rows": ROWS, "smallest": 0.08, "flip": True}
    return found.training_batches(steps, **(options | changes))


def equal(some: Iterator[Images], others: Iterator[Images]) -> None:
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images, other.images)


@pytest.fixture(scope="module")
def whole(imagenet: Path) -> list[Images]:
    """Two epochs."""
    return list(batches(records(imagenet), range(2 * PER_EPOCH)))


def stored_label(imagenet: Path, split: str, index: int) -> int:
    """TFDS shuffles what it writes."""
    found = data.stored.find("imagenet2012", imagenet, "validation")
    return int(Source(found, split, encoded=True)[index]["label"])


def test_it_is_found_and_described(imagenet: Path) -> None:
    dataset = data.open_dataset("imagenet2012", directory=imagenet, image_size=24)
    assert (dataset.classes, dataset.image_shape) == (1000, (24, 24, 3))
    assert dataset.title == (
        "ImageNet 2012, tested on its validation images (60 of 1,281,167 train images; "
        "13 of 50,000 test images)"
    )
    train = records(imagenet)
    np.testing.assert_allclose(train.mean, [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(train.std, [0.229, 0.224, 0.225], rtol=1e-6)


def test_the_splits_are_those_of_every_data_set(imagenet: Path) -> None:
    """Validation is held out of train by the rule, and its own validation images are the test."""
    for split, part in (("train", "train"), ("validation", "train"), ("test", "validation")):
        found = records(imagenet, split)
        labels = [found[index].label for index in range(found.number)]
        indices = stored_indices(split, *photographs.SIZES.values())
        assert labels == [stored_label(imagenet, part, index) for index in indices]
    assert (records(imagenet).number, records(imagenet, "validation").number) == (54, 6)
    assert {records(imagenet, "test")[i].label for i in range(13)} == set(range(60, 73))


def test_every_image_at_most_once_an_epoch(imagenet: Path, whole: list[Images]) -> None:
    order = np.concatenate([batch.labels for batch in whole]).reshape(2, PER_EPOCH * BATCH)
    train = {record.label for record in map(records(imagenet).__getitem__, range(54))}
    for epoch in order:
        assert len(set(epoch)) == PER_EPOCH * BATCH
        assert set(epoch) < train
    assert (order[0] != order[1]).mean() > 0.8
    assert set(order[0]) != set(order[1])  # other images sit out
    other = np.concatenate([b.labels for b in batches(records(imagenet), range(12), seed=4)])
    # Nor is a seed's epoch its neighbour's.
    assert min((row != epoch).mean() for row in order for epoch in other.reshape(2, -1)) > 0.8


def test_a_batch_depends_on_its_step_alone(imagenet: Path, whole: list[Images]) -> None:
    for first in (1, PER_EPOCH - 1, PER_EPOCH, 2 * PER_EPOCH - 1):
        equal(batches(records(imagenet), range(first, 2 * PER_EPOCH)), iter(whole[first:]))


def test_shares_make_the_whole_batch(imagenet: Path, whole: list[Images]) -> None:
    """Whatever rows a host has."""
    for rows in (np.arange(4), np.arange(4, 8), np.array([0, 1, 6, 7]), np.array([5])):
        share = batches(records(imagenet), range(2 * PER_EPOCH), rows=rows)
        equal(share, (Images(b.images[rows], b.labels[rows]) for b in whole))


def test_a_host_reads_its_share_alone(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, get = [], Records.__getitem__

    def note(self: Records, index: int) -> object:
        record = get(self, index)
        read.append(record.label)
        return record

    monkeypatch.setattr(Records, "__getitem__", note)
    labels = [b.labels for b in batches(records(imagenet), range(6), rows=np.array([2, 3]))]
    assert sorted(read) == sorted(np.concatenate(labels))
    read.clear()
    labels = [b.labels for b in records(imagenet, "test").batches(6, np.array([0, 1]))]
    assert sorted(read) == sorted(np.concatenate(labels))


def test_worker_processes_make_the_same_batches(imagenet: Path, whole: list[Images]) -> None:
    equal(batches(records(imagenet), range(2, 7), workers=2), iter(whole[2:7]))


def test_pixels_are_the_images_crops(imagenet: Path) -> None:
    """With no random crop the middle, as it is or mirrored; with one, something else."""
    centre = {
        label: crops.centre_crop(np.asarray(photographs.photograph(label).convert("RGB")), 16)
        for label in range(60)
    }
    found, mirrored = records(imagenet), 0
    for batch in batches(found, range(PER_EPOCH), smallest=0):
        for image, label in zip(*batch, strict=True):
            ways = (image, image[:, ::-1])
            distances = [np.abs(way.astype(int) - centre[label]).mean() for way in ways]
            assert min(distances) < 4 < max(distances)
            mirrored += distances[1] < distances[0]
    assert 10 < mirrored < 38  # of 48
    for batch in batches(found, range(PER_EPOCH), smallest=0, flip=False):
        for image, label in zip(*batch, strict=True):
            assert np.abs(image.astype(int) - centre[label]).mean() < 4
    cut = [np.abs(b.images[i].astype(int) - centre[b.labels[i]]).mean()
           for b in batches(found, range(PER_EPOCH), flip=False) for i in ROWS]  # fmt: skip
    assert np.median(cut) > 8


def test_a_repeated_image_is_cut_anew(whole: list[Images]) -> None:
    images = np.concatenate([batch.images for batch in whole])
    labels = np.concatenate([batch.labels for batch in whole])
    for label in set(labels):
        pair = images[labels == label]
        if len(pair) == 2:
            assert (pair[0] != pair[1]).any()


@pytest.mark.parametrize("batch_size", [1, 5, 13, 20])
def test_evaluation_goes_through_every_image_in_order(imagenet: Path, batch_size: int) -> None:
    found = records(imagenet, "test")
    expected = [stored_label(imagenet, "validation", index) for index in range(13)]
    made = list(found.batches(batch_size, np.arange(batch_size)))
    assert {batch.images.shape for batch in made} == {(batch_size, 16, 16, 3)}
    assert {batch.images.dtype for batch in made} == {np.dtype(np.uint8)}
    labels = np.concatenate([batch.labels for batch in made])
    assert labels[:13].tolist() == expected
    # The rest is filled up with the last batch's own.
    last = expected[13 - (13 % batch_size or batch_size) :]
    assert set(labels[13:]) <= set(last)
    rows = np.arange(0, batch_size, 2)
    for batch, part in zip(made, found.batches(batch_size, rows), strict=True):
        np.testing.assert_array_equal(part.images, batch.images[rows])
    for image, label in zip(made[0].images, made[0].labels, strict=True):
        photograph = np.asarray(photographs.photograph(label).convert("RGB"))
        assert np.abs(image.astype(int) - crops.centre_crop(photograph, 16)).mean() < 4


def test_the_message_says_how_to_prepare_it(tmp_path: Path) -> None:
    """By hand: nobody may download it for others."""
    with pytest.raises(DataMissing, match=r"ILSVRC2012_img_train.*tfds build imagenet2012 .*array"):
        data.open_dataset("imagenet2012", directory=tmp_path, image_size=224)
    with pytest.raises(ValueError, match=r"imagenet2012.*choices: cifar10,"):
        prepare("imagenet2012", tmp_path)


@pytest.mark.parametrize(("name", "size"), [("imagenet2012", 0), ("cifar10", 32)])
def test_a_size_is_for_photographs(name: str, size: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"image_size = {size} for '{name}'"):
        data.open_dataset(name, directory=tmp_path, image_size=size)


@pytest.fixture
def copied(imagenet: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(imagenet, tmp_path / "copy"))


def test_a_copy_without_its_validation_images(copied: Path) -> None:
    path = next(copied.glob("*/*/dataset_info.json"))
    info = json.loads(path.read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] == "train"]
    path.write_text(json.dumps(info))
    with pytest.raises(DataMissing, match="'validation'"):
        data.open_dataset("imagenet2012", directory=copied, image_size=16)


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_told(copied: Path, workers: int) -> None:
    for path in copied.glob("*/*/*train*array_record*"):
        content = bytearray(path.read_bytes())
        content[1000:-1000] = bytes(len(content) - 2000)
        path.write_bytes(content)
    with pytest.raises(DataMissing, match="is damaged"):
        list(batches(records(copied), range(PER_EPOCH), workers=workers))


LOAD = """
import os, signal, sys
import numpy as np
from cnnlab import data

records = data.open_dataset("imagenet2012", directory=sys.argv[1], image_size=16).split("train")
options = {"batch_size": 8, "rows": np.arange(8), "smallest": 0.0, "flip": False}
batches = records.training_batches(range(10**6), seed=0, workers=2, **options)
next(batches)
print("begun", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_end_with_a_run_that_is_killed(imagenet: Path) -> None:
    """They hold its standard output, which is closed when the last of them is gone."""
    command = [sys.executable, "-c", LOAD, str(imagenet)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "begun\n")
