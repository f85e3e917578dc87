"""Whatever stands in a file of published records is read right, or told with file and line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from garbling import examples, garbled_lines, read_or_told
from hypothesis import given
from ml_collections import ConfigDict

from cnnlab.evidence import Ablation, blank_config, read_records
from cnnlab.training import Recipe, Record

CLAIM = {
    "id": "T1",
    "statement": "Wide beats narrow.",
    "source": "a test",
    "comparisons": (
        {"treatment": "wide", "baseline": "narrow", "expect": "better", "question": "Does it?"},
    ),
}


@pytest.fixture(scope="module")
def ablation() -> Ablation:
    config = blank_config("widths", "tiny", CLAIM)
    config.arms = ConfigDict({"narrow": {}, "wide": {"model": {"name": "INPUT -> FC-9 -> FC"}}})
    config.model.name = "INPUT -> FC"
    config.train.steps, config.seeds = 9, 2
    return Ablation.from_config(config)


@pytest.mark.parametrize(
    "number", [60, pytest.param(5000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_published_records(
    ablation: Ablation,
    records_of: Callable[..., list[Record]],
    run_of: Callable[[Record, Recipe], Record],
    tmp_path: Path,
    number: int,
) -> None:
    records = [
        run_of(record, ablation.recipe(record.arm, record.seed))
        for record in records_of({"wide": [5.0, 6.0], "narrow": [25.0, 27.0]})
    ]
    path = tmp_path / "tiny.jsonl"

    @examples(number)
    @given(garbled_lines([json.loads(record.to_json()) for record in records]))
    def one(content: bytes) -> None:
        path.write_bytes(content)

        def read() -> None:
            for record in read_records(path, ablation)[1]:
                assert (record.arm in ablation.arms, record.steps) == (True, 9)
                assert 0 <= record.metrics["test_error"] <= 100

        read_or_told(read, path)

    one()
