import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnlab import data
from cnnlab.data import decoding
from cnnlab.data import prepare as prepare_module
from cnnlab.data.prepare import prepare

ROOT = Path(__file__).parents[2]
VERSION = Path("cifar10", "3.0.2")
TITLE = "CIFAR-10 (60 of 50,000 train images; 20 of 10,000 test images)"


@pytest.fixture
def directory(prepared_cifar10: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny cifar10 which the test may change."""
    return Path(shutil.copytree(prepared_cifar10, tmp_path / "tfds"))


def test_names() -> None:
    resident = ("cifar10", "cifar100", "fashion_mnist", "mnist", "svhn_cropped")
    expected = tuple(sorted((*resident, "digits", "imagenet2012", "mnist_shifted")))
    assert data.names() == expected
    assert data.streamed() == ("imagenet2012",)


def test_what_a_data_set_says_of_itself(directory: Path) -> None:
    dataset = data.open_dataset("cifar10", directory=directory)
    assert (dataset.name, dataset.title, dataset.version) == ("cifar10", TITLE, "3.0.2")
    assert (dataset.classes, dataset.image_shape) == (10, (32, 32, 3))
    assert dataset.class_names == tuple(f"thing{i}" for i in range(10))


def test_the_names_of_classes_lie_beside_the_files(directory: Path) -> None:
    kept = directory / "cifar10" / "3.0.2" / "label.labels.txt"
    kept.write_text("a\nb b\nc\nd\ne\nf\ng\nh\ni\nj\n")
    names = data.open_dataset("cifar10", directory=directory).class_names
    assert names == ("a", "b b", *"cdefghij")
    kept.unlink()
    for dataset in (data.open_dataset("cifar10", directory=directory), data.open_dataset("digits")):
        assert dataset.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_an_unknown_name_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'cifar_10'.*digits.*did you mean 'cifar10'"):
        data.open_dataset("cifar_10")


def test_an_unknown_split_is_refused_before_anything_is_read(directory: Path) -> None:
    with pytest.raises(ValueError, match=r"'training'.*did you mean 'train'"):
        data.open_dataset("cifar10", directory=directory).split("training")


def test_the_directory_is_the_argument_then_the_environment_then_the_default(
    directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    default = tmp_path / "home" / "tensorflow_datasets"
    with pytest.raises(data.DataMissing, match=str(default / "cifar10")):
        data.open_dataset("cifar10")
    shutil.copytree(directory, default)
    assert data.open_dataset("cifar10").title == TITLE
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "other"))
    with pytest.raises(data.DataMissing, match=str(tmp_path / "other" / "cifar10")):
        data.open_dataset("cifar10")
    assert data.open_dataset("cifar10", directory=directory).title == TITLE


def test_missing_data_is_said_at_once_with_the_command(tmp_path: Path) -> None:
    code = f"""
import sys, time
from cnnlab import data
start = time.monotonic()
try:
    data.open_dataset("svhn_cropped", directory={str(tmp_path)!r})
except data.DataMissing as error:
    print(error)
assert time.monotonic() - start < 1
assert "tensorflow_datasets" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert str(tmp_path / "svhn_cropped") in done.stdout
    assert f"scripts/prepare_data.py svhn_cropped --directory {tmp_path}" in done.stdout


def test_what_is_wrong_with_a_folder_is_said(directory: Path) -> None:
    folder = directory / VERSION
    info, shard = folder / "dataset_info.json", next(folder.glob("*test.array_record*"))
    content = info.read_text()

    def refused(match: str) -> None:
        with pytest.raises(data.DataMissing, match=match):
            data.open_dataset("cifar10", directory=directory)

    info.write_text(content.replace('"array_record"', '"tfrecord"'))
    refused(f"{folder} holds tfrecord.*another directory")
    info.write_text(content.replace('"test"', '"exam"'))
    refused("does not describe labelled images.*'test'")
    info.write_text(content[:50])
    refused(r"dataset_info\.json, line 2: not JSON: Unterminated string")
    info.write_text(content)
    shard.rename(directory / "away")
    refused(f"not whole: {shard.name} is missing")
    (directory / "away").rename(shard)
    (folder / "features.json").unlink()
    refused("3.0.2 has no features.json")
    folder.rename(directory / "cifar10" / "incomplete.3.0.2")
    refused("no version")


def test_a_damaged_shard_is_named(directory: Path) -> None:
    train, test = (
        next((directory / VERSION).glob(f"*{s}.array_record*")) for s in ("train", "test")
    )
    dataset = data.open_dataset("cifar10", directory=directory)
    test.write_bytes(test.read_bytes()[:1000])
    with pytest.raises(data.DataMissing, match="is damaged"):
        dataset.split("test")
    train.write_bytes(b"\0" * train.stat().st_size)
    with pytest.raises(data.DataMissing, match=train.name):
        data.open_dataset("cifar10", directory=directory)


def test_the_newest_version_is_opened(directory: Path) -> None:
    for version in ("3.0.10", "2.9.9"):
        shutil.copytree(directory / VERSION, directory / "cifar10" / version)
    assert data.open_dataset("cifar10", directory=directory).version == "3.0.10"


def test_loading_one_split_reads_no_other(directory: Path, tmp_path: Path) -> None:
    dataset = data.open_dataset("cifar10", directory=directory)
    next((directory / VERSION).glob("*test.array_record*")).unlink()
    assert len(dataset.split("train").labels) == 54
    assert [path.name for path in (tmp_path / "cache").rglob("*.npz")] == ["train.npz"]
    assert len(dataset.split("validation").labels) == 6
    with pytest.raises(data.DataMissing):
        dataset.split("test")


def test_a_second_start_decodes_nothing(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.open_dataset("cifar10", directory=directory, cache_dir=tmp_path / "kept")
    train = first.split("train")
    monkeypatch.setattr(decoding, "read", None)
    again = data.open_dataset("cifar10", directory=directory, cache_dir=tmp_path / "kept")
    assert again == first
    np.testing.assert_array_equal(again.split("train").images, train.images)
    assert not (tmp_path / "cache").exists()


def test_another_copy_has_another_fingerprint_and_cache(directory: Path) -> None:
    before = data.open_dataset("cifar10", directory=directory)
    before.split("train")
    shard = next((directory / VERSION).glob("*train.array_record*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    changed = data.open_dataset("cifar10", directory=directory).fingerprint
    info = directory / VERSION / "dataset_info.json"
    info.write_text(info.read_text().replace("images", "pictures"))
    described = data.open_dataset("cifar10", directory=directory).fingerprint
    assert len({before.fingerprint, changed, described}) == 3


def test_a_jpeg_copy_says_so(
    published_cifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(image: np.ndarray) -> bytes:
        quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
        return cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes()

    monkeypatch.setattr(prepare_module, "_encode_png", encode)
    prepare("cifar10", tmp_path, source=published_cifar10.folder)
    title = data.open_dataset("cifar10", directory=tmp_path).title
    assert title == TITLE.replace("(", "(JPEG q60 copy; ")


def test_a_png_that_happens_to_hold_a_jpegs_first_bytes_is_a_png(
    published_cifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = prepare_module._encode_png
    monkeypatch.setattr(
        prepare_module, "_encode_png", lambda image: encode(image) + b"\xff\xd8\xff"
    )
    prepare("cifar10", tmp_path, source=published_cifar10.folder)
    assert data.open_dataset("cifar10", directory=tmp_path).title == TITLE


# The fixtures hide the environment from the tests: what it was when they were collected counts.
REAL = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _real(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"no {name} in TFDS_DATA_DIR")


@_real("cifar10")
def test_real_cifar10() -> None:
    cifar10 = data.open_dataset("cifar10", directory=REAL)
    assert cifar10.title in ("CIFAR-10", "CIFAR-10 (JPEG q75 copy)")
    test, validation = cifar10.split("test"), cifar10.split("validation")
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert validation.images.shape == (5000, 32, 32, 3)
    # The training set's means are known: red above green above blue.
    mean, std = data.channel_statistics(validation.images)
    np.testing.assert_allclose(mean, [0.491, 0.482, 0.447], atol=0.01)
    np.testing.assert_allclose(std, [0.247, 0.243, 0.262], atol=0.01)


@_real("mnist")
def test_real_mnist() -> None:
    mnist = data.open_dataset("mnist", directory=REAL)
    info = json.loads((REAL / "mnist" / mnist.version / "dataset_info.json").read_text())
    stored_test = sum(map(int, info["splits"][-1]["shardLengths"]))
    remark = "" if stored_test == 10_000 else f" ({stored_test:,} of 10,000 test images)"
    assert mnist.title == "MNIST" + remark
    validation = mnist.split("validation")
    assert validation.images.shape == (5000, 28, 28, 1)
    mean, std = data.channel_statistics(validation.images)
    np.testing.assert_allclose([mean[0], std[0]], [0.1307, 0.3081], atol=0.004)
