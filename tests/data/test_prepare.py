import hashlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cnnlab import data
from cnnlab.data import prepare as module
from cnnlab.data.prepare import preparable, prepare

ROOT = Path(__file__).parents[2]


def _pairs(images: np.ndarray, labels: np.ndarray) -> Counter:
    return Counter((i.tobytes(), int(k)) for i, k in zip(images, labels, strict=True))


@pytest.mark.parametrize("name", preparable())
def test_what_is_published_is_what_is_opened(name: str, publish: Callable, tmp_path: Path) -> None:
    published = publish(name)
    folder = prepare(name, tmp_path, source=published.folder)
    dataset = data.open_dataset(name, directory=tmp_path)
    train, validation, test = map(dataset.split, ("train", "validation", "test"))
    expected = {s: _pairs(published.images[s], published.labels[s]) for s in ("train", "test")}
    assert _pairs(*train) + _pairs(*validation) == expected["train"]
    assert _pairs(*test) == expected["test"]
    assert len(validation.labels) == 6
    assert folder == tmp_path / name / dataset.version
    official = tfds.builder_cls(name)(data_dir=tmp_path / "elsewhere")
    assert str(tfds.builder_from_directory(folder).info.features) == str(official.info.features)


def test_label_names_and_ids_are_the_published_ones(publish: Callable, tmp_path: Path) -> None:
    published = publish("cifar100")
    builder = tfds.builder_from_directory(
        prepare("cifar100", tmp_path, source=published.folder / "cifar-100-binary.tar.gz")
    )
    assert builder.info.features["label"].names == [f"thing{i}" for i in range(100)]
    assert builder.info.features["coarse_label"].names == [f"kind{i}" for i in range(20)]
    for example in builder.as_data_source("train"):
        index = int(example["id"].removeprefix(b"train_"))
        np.testing.assert_array_equal(example["image"], published.images["train"][index])
        assert example["coarse_label"] == published.labels["train"][index] // 5


def test_prepared_already_nothing_is_done(
    prepared_cifar10: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_fetch", None)
    with caplog.at_level("INFO", logger="cnnlab"):
        folder = prepare("cifar10", prepared_cifar10)
    assert folder == prepared_cifar10 / "cifar10" / "3.0.2"
    assert "already prepared" in caplog.text


def test_cut_short_it_leaves_nothing_that_looks_prepared(
    published_cifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def fail_later(image: np.ndarray) -> bytes:
        encoded.append(image)
        if len(encoded) == 70:
            raise KeyboardInterrupt
        return encode(image)

    encode = module._encode_png
    monkeypatch.setattr(module, "_encode_png", fail_later)
    with pytest.raises(KeyboardInterrupt):
        prepare("cifar10", tmp_path, source=published_cifar10.folder)
    with pytest.raises(data.DataMissing, match="no version"):
        data.open_dataset("cifar10", directory=tmp_path)
    prepare("cifar10", tmp_path, source=published_cifar10.folder)
    assert len(data.open_dataset("cifar10", directory=tmp_path).split("train").labels) == 54


def test_without_a_network_the_address_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, timeout: float) -> None:
        assert 0 < timeout <= 60
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    address = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    with pytest.raises(data.DataMissing, match=rf"{address}.*not known.*--from"):
        prepare("cifar10", tmp_path)


def test_a_download_is_verified_and_kept(tmp_path: Path) -> None:
    served, kept = tmp_path / "served.gz", tmp_path / "downloads" / "served.gz"
    served.write_bytes(bytes(range(256)) * 9000)
    checksum = hashlib.sha256(served.read_bytes()).hexdigest()
    with pytest.raises(data.DataMissing, match=f"{checksum}.*published is 0123"):
        module._download(served.as_uri(), "0123", kept)
    assert not kept.exists()
    assert module._download(served.as_uri(), checksum, kept) == kept
    assert kept.read_bytes() == served.read_bytes()
    served.unlink()
    assert module._download(served.as_uri(), checksum, kept) == kept


def test_a_source_without_the_files_says_which(publish: Callable, tmp_path: Path) -> None:
    folder = publish("mnist").folder
    needed = "t10k-images-idx3-ubyte.gz, t10k-labels"
    with pytest.raises(data.DataMissing, match=needed):
        prepare("mnist", tmp_path, source=folder / "train-images-idx3-ubyte.gz")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(data.DataMissing, match=needed):
        prepare("mnist", tmp_path, source=folder)


def test_a_damaged_source_is_named_and_nothing_is_written(
    published_cifar10, tmp_path: Path
) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    whole = (published_cifar10.folder / archive.name).read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(data.DataMissing, match=str(archive)):
        prepare("cifar10", tmp_path / "prepared", source=archive)
    assert not (tmp_path / "prepared" / "cifar10").exists()


def test_images_in_a_labels_file_are_refused(publish: Callable, tmp_path: Path) -> None:
    folder = publish("mnist").folder
    shutil.copy(folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(data.DataMissing, match="begins with 0x803"):
        prepare("mnist", tmp_path, source=folder)


def test_an_unknown_name_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'cifar-10'.*did you mean 'cifar10'"):
        prepare("cifar-10", tmp_path)


def test_tensorflow_is_never_imported(published_cifar10, tmp_path: Path) -> None:
    code = f"""
import sys
from cnnlab import data
from cnnlab.data.prepare import prepare
prepare("cifar10", {str(tmp_path)!r}, source={str(published_cifar10.folder)!r})
assert len(data.open_dataset("cifar10", directory={str(tmp_path)!r}).split("train").labels) == 54
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_a_killed_process_left_goes(published_cifar10, tmp_path: Path) -> None:
    left = tmp_path / "cifar10" / "incomplete.ABC123_3.0.2" / "cifar10-train.array_record"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    prepare("cifar10", tmp_path, source=published_cifar10.folder)
    assert {path.name for path in (tmp_path / "cifar10").iterdir()} <= {"3.0.2", ".lock"}


@pytest.mark.slow
def test_two_may_prepare_one_set_at_once(published_cifar10, tmp_path: Path) -> None:
    code = f"""
from cnnlab.data.prepare import prepare
prepare("cifar10", {str(tmp_path)!r}, source={str(published_cifar10.folder)!r})
"""
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [each.wait(300) for each in both] == [0, 0]
    assert len(data.open_dataset("cifar10", directory=tmp_path).split("train").labels) == 54
    assert {path.name for path in (tmp_path / "cifar10").iterdir()} <= {"3.0.2", ".lock"}
