"""Whatever stands in a run's folder is read right, or told in a line with the file's name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from garbling import examples, garbled, garbled_lines, read_or_told
from hypothesis import given
from hypothesis import strategies as some

from cnnlab.evidence import curves
from cnnlab.training import Recipe, journal, probes, recipe_of
from cnnlab.training.folder import check_same, check_same_backend, environment_of, finished
from cnnlab.training.journal import Journal
from cnnlab.training.recipe import dataset_of


@pytest.fixture(scope="module")
def left(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a finished run that are JSON."""
    folder = tmp_path_factory.mktemp("left") / "run"
    folder.mkdir()
    for path in finished.folder.iterdir():
        if path.suffix in (".json", ".jsonl"):
            shutil.copy(path, folder)
    return folder


def sizes(quick: int, slow: int) -> Any:
    return pytest.mark.parametrize(
        "number", [quick, pytest.param(slow, marks=pytest.mark.slow)], ids=["few", "many"]
    )


def tried(
    path: Path, contents: some.SearchStrategy[bytes], number: int, *read: Callable[[], object]
) -> None:
    """Put each of so many contents in a file's place, and read it in each of some ways."""
    before = path.read_bytes()

    @examples(number)
    @given(contents)
    def one(content: bytes) -> None:
        path.write_bytes(content)
        for each in read:
            read_or_told(each, path.parent)

    try:
        one()
    finally:
        path.write_bytes(before)


@sizes(60, 5000)
def test_config(left: Path, two_epochs: Callable[[], Recipe], number: int) -> None:
    path, recipe = left / "config.json", two_epochs()
    whole = json.loads(path.read_text())
    tried(path, garbled(whole), number, lambda: recipe_of(left), lambda: check_same(left, recipe))


@pytest.mark.slow
def test_config_of_a_network_that_is_looked_at(left: Path) -> None:
    """No checkpoint is there: what can be built of the recipe is."""
    path = left / "config.json"
    tried(path, garbled(json.loads(path.read_text())), 300, lambda: probes.load(left))


@sizes(60, 5000)
def test_environment(left: Path, number: int) -> None:
    path = left / "environment.json"
    contents = garbled(json.loads(path.read_text()))
    tried(path, contents, number, lambda: check_same_backend(left), lambda: environment_of(left))


@sizes(60, 5000)
def test_record(left: Path, two_epochs: Callable[[], Recipe], number: int) -> None:
    path, recipe = left / "record.json", two_epochs()
    whole, dataset = json.loads(path.read_text()), dataset_of(recipe)

    def read() -> None:
        record = finished(left, recipe, dataset)
        assert record
        assert (record.arm, record.seed, record.steps) == (recipe.arm, recipe.seed, 78)
        assert all(0 <= record.metrics[f"{split}_error"] <= 100 for split in ("test", "train"))
        assert record.dataset["fingerprint"] == dataset.fingerprint

    tried(path, garbled(whole), number, read)


@sizes(40, 3000)
def test_journal(left: Path, number: int) -> None:
    path = left / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()][:8]

    def read() -> None:
        for line in journal.read(left):
            assert all(isinstance(value, int | float) for value in line.values())

    def draw() -> None:
        curves([left])

    def go_on() -> None:
        Journal(left, 3).close()
        assert all(line["step"] <= 3 for line in journal.read(left))

    tried(path, garbled_lines(lines), number, read, draw, go_on)
