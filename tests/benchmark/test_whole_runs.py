"""What is around a run's steps, as it is printed, and once for real."""

import os
from pathlib import Path

import pytest

from cnnlab.benchmark import whole_runs
from cnnlab.benchmark.whole_runs import Alone, markdown, measure

ROOT = Path(__file__).parents[2]
RESULTS = {
    "date": "2026-11-22 20:00 UTC",
    "machine": {"commit": "0123456789ab", "dirty": False, "device": "A CPU", "jax": "0.10"}
    | {"load": 0.25},
    "steps": 1000,
    "alone": {
        "steps": 200,
        "first_step": [7.0, 6.0, 9.0],
        "whole": [70.0, 60.0, 90.0],
        "peak_bytes": [2**30, 2**29, 2**30 + 2**20],
    },
    "seeds": {"xla": {"in_turn": [10.0, 20.0, 40.0], "at_once": [8.0, 15.0, 36.0]}},
}


def test_medians_ranges_and_ratios_within_a_round() -> None:
    facts, _, *table = markdown(RESULTS).splitlines()
    assert facts.startswith("2026-11-22 20:00 UTC, commit 0123456789; A CPU; JAX 0.10; 3 rounds")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [measured for _, measured in cells] == [
        "7.0 s [6.0, 9.0]",
        "70.0 s [60.0, 90.0]",
        "1,025 MiB",
        "20.0 s [10.0, 40.0]",
        "15.0 s [8.0, 36.0]",
        "0.80 [0.75, 0.90]",
    ]


@pytest.mark.slow
def test_a_run_and_two_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    if "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("wants CIFAR-10 in $TFDS_DATA_DIR")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(whole_runs, "STEPS_ALONE", 2)
    results = measure(rounds=1, steps=2)
    (first_step,), (whole,), (peak,) = (results["alone"][key] for key in Alone._fields)
    assert 1 < first_step < whole
    assert 2**28 < peak < 2**32
    assert "xla" in results["seeds"]
    assert all(min(times["in_turn"] + times["at_once"]) > 1 for times in results["seeds"].values())
    assert "CNNLAB_CONV" not in os.environ
    assert "| its peak memory" in markdown(results)
