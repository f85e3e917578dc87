"""Whatever a data set's two JSON files say, it is opened and read right, or told with the file."""

import json
import shutil
from pathlib import Path

import pytest
from garbling import examples, garbled, read_or_told
from hypothesis import given

from cnnlab import data


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize(
    "number", [60, pytest.param(4000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_what_is_said_of_a_set(
    prepared_cifar10: Path, tmp_path: Path, name: str, number: int
) -> None:
    directory = Path(shutil.copytree(prepared_cifar10, tmp_path / "tfds"))
    folder = directory / "cifar10" / "3.0.2"
    path = folder / name

    @examples(number)
    @given(garbled(json.loads(path.read_text())))
    def one(content: bytes) -> None:
        path.write_bytes(content)

        def read() -> None:
            dataset = data.open_dataset("cifar10", directory=directory, cache_dir=tmp_path / "c")
            test = dataset.decoded("test")
            assert test.images.shape == (len(test.labels), *dataset.image_shape)
            assert 0 <= test.labels.min() <= test.labels.max() < dataset.classes

        # TFDS reads both files, and which one is wrong it does not tell.
        read_or_told(read, folder)
        shutil.rmtree(tmp_path / "c", ignore_errors=True)

    one()
