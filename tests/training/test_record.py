import dataclasses
import json
import os
from pathlib import Path

import pytest

from cnnlab.training.record import Record, write_whole

RECORD = Record(
    arm="three_3x3",
    seed=1,
    config={"train": {"epochs": 2.0}, "schedule": {"milestones": [0.5, 0.75]}},
    dataset={"title": "digits"},
    network={"weights": 10},
    environment={"commit": None},
    steps=78,
    metrics={"test_error": 0.1 + 0.2, "test_loss": 1e-17},
    parameters="ab" * 32,
)


def test_a_record_is_one_line_that_gives_it_back(tmp_path: Path) -> None:
    assert "\n" not in RECORD.to_json()
    assert Record.from_json(RECORD.to_json()) == RECORD
    path = tmp_path / "record.json"
    RECORD.write(path)
    assert Record.read(path) == RECORD
    assert list(tmp_path.iterdir()) == [path]
    assert list(json.loads(path.read_text())) == sorted(dataclasses.asdict(RECORD))


@pytest.mark.parametrize("line", ["", "[1]", "{}", RECORD.to_json()[:-9], '{"arm": "a", "x": 1}'])
def test_what_is_no_record(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Record.from_json(line)


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_whole(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
