import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cnnlab.files import BadFile
from cnnlab.training.record import METRICS, Record

RECORD = Record(
    arm="three_3x3",
    seed=1,
    config={"train": {"epochs": 2.0}, "schedule": {"milestones": [0.5, 0.75]}},
    dataset={"name": "digits", "title": "digits", "version": "1", "fingerprint": "0a" * 8},
    network=dict.fromkeys(("weights", "macs", "activations", "receptive_field"), 10),
    environment={"commit": None, "dirty": None, "device": "cpu", "jax": "0.10.2"},
    steps=78,
    metrics=dict.fromkeys(METRICS, 0.1 + 0.2) | {"test_loss": 1e-17, "lesion_gap": -99.5},
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
    with pytest.raises(BadFile):
        Record.from_json(line)


# By its place in a record a value that cannot be, and what is said of it.
IMPOSSIBLE: dict[str, tuple[Any, str]] = {
    "arm": (None, "arm must be string"),
    "seed": ("x", "seed must be integer"),
    "config": ([], "config must be object"),
    "dataset.fingerprint": ("0a", "dataset.fingerprint must match pattern"),
    "dataset.title": (5, "dataset.title must be string"),
    "network.weights": (-1, "network.weights must be bigger than or equal to 0"),
    "network.macs": (1.5, "network.macs must be integer"),
    "environment.commit": (5, "environment.commit must be string or null"),
    "environment.dirty": ("no", "environment.dirty must be boolean or null"),
    "environment.convolutions": ("cudnn", "environment.convolutions must match pattern"),
    "environment.begun": ({}, "lacks 'commit', 'dirty' in environment.begun"),
    "steps": (-1, "steps must be bigger than or equal to 0"),
    "metrics.test_error": (-50, "metrics.test_error must be bigger than or equal to 0, not -50"),
    "metrics.train_error": (100.5, "metrics.train_error must be smaller than or equal to 100"),
    "metrics.validation_error": ("x", "metrics.validation_error must be number, not 'x'"),
    "metrics.clean_train_error": (101, "metrics.clean_train_error must be smaller"),
    "metrics.test_loss": (-0.1, "metrics.test_loss must be bigger than or equal to 0"),
    "metrics.shift1_change": (-1, "metrics.shift1_change must be bigger than or equal to 0"),
    "metrics.lesion_gap": (201, "metrics.lesion_gap must be smaller than or equal to 200"),
    "metrics.new": (True, "metrics.new must be number"),
    "metrics.train_loss": (float("nan"), "NaN is no finite number"),
    "metrics.generalisation_gap": (float("-inf"), "-Infinity is no finite number"),
    "parameters": ("ab" * 31, "parameters must match pattern"),
    "more": (1, "unknown key: 'more'"),
}


@pytest.mark.parametrize(("place", "case"), IMPOSSIBLE.items())
def test_a_record_that_cannot_be_is_told(place: str, case: tuple[Any, str], tmp_path: Path) -> None:
    value, said = case
    found = dataclasses.asdict(RECORD)
    *parents, key = place.split(".")
    inner = found
    for parent in parents:
        inner = inner[parent]
    inner[key] = value
    path = tmp_path / "record.json"
    path.write_text(json.dumps(found) + "\n")
    for read in (Record.read, Record.read_lines):
        with pytest.raises(BadFile) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert said in str(caught.value)


@pytest.mark.parametrize("lacking", ["arm", "metrics", "metrics.test_error", "dataset.title"])
def test_what_a_record_lacks_is_told(lacking: str, tmp_path: Path) -> None:
    found: Any = dataclasses.asdict(RECORD)
    *parents, key = lacking.split(".")
    inner = found
    for parent in parents:
        inner = inner[parent]
    del inner[key]
    with pytest.raises(BadFile, match=f"^a record: lacks '{key}'"):
        Record.from_json(json.dumps(found))


def test_published_records_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "digits.jsonl"
    path.write_text(f"{RECORD.to_json()}\n" * 2)
    assert Record.read_lines(path) == [RECORD, RECORD]
    path.write_text(f"{RECORD.to_json()}\n{RECORD.to_json()[:-3]}\n")
    with pytest.raises(BadFile, match=r"digits\.jsonl, line 2: not JSON: "):
        Record.read_lines(path)


def test_a_run_that_diverged_has_no_parameters() -> None:
    guessing = dataclasses.replace(RECORD, parameters="")
    assert Record.from_json(guessing.to_json()).diverged
    assert not RECORD.diverged
