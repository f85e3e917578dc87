"""Tiny data sets as their authors publish them, and the same prepared."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.io

from cnnlab.data.prepare import prepare


class Published(NamedTuple):
    """The folder of published files, and what is in them."""

    folder: Path
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


SIZES = {"train": 60, "test": 20}


def _random(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    shape = (28, 28, 1) if "mnist" in name else (32, 32, 3)
    classes = 100 if name == "cifar100" else 10
    random = np.random.default_rng(len(name))
    images = {
        s: random.integers(0, 256, (size, *shape), dtype=np.uint8) for s, size in SIZES.items()
    }
    labels = {s: random.integers(0, classes, size).astype(np.uint8) for s, size in SIZES.items()}
    return images, labels


def _cifar_file(images: np.ndarray, labels: list[np.ndarray]) -> bytes:
    pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(each[:, None] for each in labels), pixels], axis=1).tobytes()


def _publish_cifar10(folder: Path, images: dict, labels: dict) -> None:
    files = {"test_batch.bin": _cifar_file(images["test"], [labels["test"]])}
    for batch in range(5):
        part = slice(12 * batch, 12 * batch + 12)
        content = _cifar_file(images["train"][part], [labels["train"][part]])
        files[f"data_batch_{batch + 1}.bin"] = content
    files["batches.meta.txt"] = "".join(f"thing{i}\n" for i in range(10)).encode() + b"\n"
    _tar(folder / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", files)


def _publish_cifar100(folder: Path, images: dict, labels: dict) -> None:
    files = {
        f"{split}.bin": _cifar_file(images[split], [labels[split] // 5, labels[split]])
        for split in SIZES
    }
    files["coarse_label_names.txt"] = "".join(f"kind{i}\n" for i in range(20)).encode()
    files["fine_label_names.txt"] = "".join(f"thing{i}\n" for i in range(100)).encode()
    _tar(folder / "cifar-100-binary.tar.gz", "cifar-100-binary", files)


def _tar(path: Path, prefix: str, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{prefix}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _publish_mnist(folder: Path, images: dict, labels: dict) -> None:
    for split, prefix in (("train", "train"), ("test", "t10k")):
        number = len(labels[split])
        header = np.array([2051, number, 28, 28], ">i4").tobytes()
        path = folder / f"{prefix}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(header + images[split].tobytes()))
        header = np.array([2049, number], ">i4").tobytes()
        path = folder / f"{prefix}-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(header + labels[split].tobytes()))


def _publish_svhn(folder: Path, images: dict, labels: dict) -> None:
    for split in SIZES:
        digits = np.where(labels[split] == 0, 10, labels[split])[:, None]
        content = {"X": images[split].transpose(1, 2, 3, 0), "y": digits}
        scipy.io.savemat(folder / f"{split}_32x32.mat", content, do_compression=True)


_PUBLISH: dict[str, Callable[[Path, dict, dict], None]] = {
    "cifar10": _publish_cifar10,
    "cifar100": _publish_cifar100,
    "fashion_mnist": _publish_mnist,
    "mnist": _publish_mnist,
    "svhn_cropped": _publish_svhn,
}


@pytest.fixture(scope="session")
def publish(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Published]:
    """Return a function that writes the published files of a data set of 60 + 20 images."""

    def make(name: str) -> Published:
        folder = tmp_path_factory.mktemp(f"published-{name}")
        images, labels = _random(name)
        _PUBLISH[name](folder, images, labels)
        return Published(folder, images, labels)

    return make


@pytest.fixture(scope="session")
def published_cifar10(publish: Callable[[str], Published]) -> Published:
    return publish("cifar10")


@pytest.fixture(scope="session")
def prepared_cifar10(
    published_cifar10: Published, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a directory that holds the tiny cifar10, prepared. Copy it before changing it."""
    directory = tmp_path_factory.mktemp("prepared")
    prepare("cifar10", directory, source=published_cifar10.folder)
    return directory


@pytest.fixture(autouse=True)
def _no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the person's own data and cache."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
