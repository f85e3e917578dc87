from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from cnnlab.evidence.claim import Claim
from cnnlab.evidence.plots import figure
from cnnlab.evidence.verdict import judge_claim
from cnnlab.training.record import Record


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keeps the figures that are saved, so that a test can read what stands in them."""
    kept: list[Figure] = []
    save = Figure.savefig

    def savefig(self: Figure, *args: object, **kwargs: object) -> None:
        kept.append(self)
        save(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", savefig)
    return kept


def test_every_run_mean_and_interval_is_drawn(
    claim: Claim, arms: list[str], records: list[Record], tmp_path: Path, drawn: list[Figure]
) -> None:
    figure(claim, arms, records, judge_claim(claim, records), tmp_path / "figure.png")
    (axes,) = drawn[0].axes
    dots = [sorted(np.asarray(points.get_offsets())[:, 0]) for points in axes.collections]
    assert dots == [[27, 28, 28, 28, 29], [24, 25, 26], [27.5]]
    lines = [np.asarray(line.get_xdata(), dtype=float) for line in axes.lines]
    bars = [sorted(line) for line in lines if len(line) == 2 and line[0] != line[1]]
    assert bars == [
        pytest.approx((27.122, 28.878), abs=1e-3),
        pytest.approx((22.516, 27.484), abs=1e-3),
    ]
    assert [line[0] for line in lines if len(line) == 1] == [28.0, 25.0, 27.5]
    assert [list(line) for line in lines if len(line) == 2 and line[0] == line[1]] == [[28.0] * 2]
    assert [text.get_text() for text in axes.texts] == ["not run"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "one_7x7\nn = 5",
        "three_3x3\nn = 3",
        "linear\nn = 1",
        "narrow\nn = 0",
    ]


def test_title_and_axis_say_what_is_shown(
    claim: Claim, arms: list[str], records: list[Record], tmp_path: Path, drawn: list[Figure]
) -> None:
    figure(claim, arms, records, judge_claim(claim, records), tmp_path / "figure.png")
    title = drawn[0].get_suptitle()
    assert title.startswith(
        "E1: Three 3x3 beat one 7x7\nVerdict: supported; difference -3.00 [-5.01"
    )
    label = drawn[0].axes[0].get_xlabel()
    assert label == "test error, % (lower is better)\nCIFAR-10 (JPEG q75 copy)"
    assert "dashed: mean of one_7x7" in drawn[0].get_supxlabel()


def test_file_is_the_same_whatever_the_order(
    claim: Claim, arms: list[str], records: list[Record], tmp_path: Path
) -> None:
    verdicts = judge_claim(claim, records)
    figure(claim, arms, records, verdicts, tmp_path / "one.png")
    figure(claim, arms, iter(records[::-1]), verdicts, tmp_path / "two.png")
    data = (tmp_path / "one.png").read_bytes()
    assert data == (tmp_path / "two.png").read_bytes()
    assert b"Software" not in data
    pixels = cv2.imread(str(tmp_path / "one.png"))
    assert pixels is not None
    assert pixels.shape[1] == 7 * 150
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_nothing_run_yet_is_drawn_too(
    claim: Claim, arms: list[str], tmp_path: Path, drawn: list[Figure]
) -> None:
    figure(claim, arms, [], judge_claim(claim, []), tmp_path / "figure.png")
    assert "undecided; three_3x3 and one_7x7 not run" in drawn[0].get_suptitle()
    assert len(drawn[0].axes[0].texts) == 4


def test_long_statement_stays_inside(
    claim: Claim,
    arms: list[str],
    records_of: Callable[..., list[Record]],
    tmp_path: Path,
    drawn: list[Figure],
) -> None:
    long = replace(claim, statement="three small filters " * 10)
    records = records_of({"one_7x7": [1.0, 2.0], "three_3x3": [1.0, 2.5]})
    figure(long, arms, records, judge_claim(long, records), tmp_path / "figure.png")
    assert max(map(len, drawn[0].get_suptitle().splitlines())) <= 84


def test_a_number_is_marked_where_it_is(
    claim: Claim, arms: list[str], records: list[Record], tmp_path: Path, drawn: list[Figure]
) -> None:
    first = replace(claim.comparisons[0], baseline=26.5)
    held = replace(claim, comparisons=(first,))
    figure(held, arms, records, judge_claim(held, records), tmp_path / "figure.png")
    (axes,) = drawn[0].axes
    lines = [list(np.asarray(line.get_xdata(), dtype=float)) for line in axes.lines]
    assert [line for line in lines if len(line) == 2 and line[0] == line[1]] == [[26.5] * 2]
    assert "dashed: 26.5" in drawn[0].get_supxlabel()
