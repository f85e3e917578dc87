"""The page of predictions is what the command makes, and its numbers hold together."""

import shutil
from pathlib import Path

import pytest

from cnnlab import data
from cnnlab.analysis import summarize
from cnnlab.analysis.chips import CHIPS
from cnnlab.analysis.measured import MEASURED
from cnnlab.analysis.step_time import Case
from cnnlab.evidence import Ablation, scaling
from cnnlab.evidence.ablation import load_ablations
from cnnlab.models import create

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scaling.md"


def rows_of_presets(text):
    """Cells of the table of presets, without the spaces that its widest cells ask for."""
    table = text[text.index("| preset ") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


@pytest.mark.slow
def test_page_is_what_the_command_makes():
    made = scaling.page(ROOT / "configs")
    assert made == PAGE.read_text(), "run: python scripts/predict_scaling.py"


def test_page_is_what_the_command_makes_but_for_most_presets(monkeypatch, tmp_path):
    """The presets of E1 alone are predicted again; of the others, that they are all there."""
    page = PAGE.read_text()
    shutil.copy(ROOT / "configs" / "stacked_convs.py", tmp_path)
    some = rows_of_presets(scaling.presets_table(tmp_path))
    assert [row for row in rows_of_presets(page) if row[0] == some[0][0]] == some
    arms = [
        (f"{ablation.name}:{ablation.preset}", arm)
        for ablation in load_ablations(ROOT / "configs", "paper")
        for arm in ablation.arms
    ]
    found = [tuple(row[:2]) for row in rows_of_presets(page) if not row[1].startswith("all, ")]
    assert found == arms, "run: python scripts/predict_scaling.py"
    start = page.index("| preset ")
    table = page[start : page.index("\n\n", start)]
    monkeypatch.setattr(scaling, "presets_table", lambda configs: table)
    assert scaling.page(ROOT / "configs") == page, "run: python scripts/predict_scaling.py"


def test_step_of_resnet50_is_three_forward_passes():
    """But for the zeros of padding, which XLA leaves out, and the images' gradient."""
    macs = summarize(create("resnet50"), (224, 224, 3)).macs
    assert macs == 4_089_184_256
    assert scaling.resnet50(1, "bfloat16").gradient == 4 * 25_557_032
    flops = scaling.resnet50(128, "bfloat16").flops / 128
    assert 0.95 * 6 * macs < flops < 6 * macs


def test_efficiency_is_calibrated_on_the_first_row():
    assert 0 < scaling.efficiency() < 1
    first = scaling.predicted(MEASURED[0], Case(scaling.efficiency()))
    assert first == pytest.approx(MEASURED[0].images_per_second, rel=1e-6)


def test_predictions_lie_between_the_bounds():
    case = Case(scaling.efficiency())
    for row in MEASURED:
        low, high = (scaling.predicted(row, end) for end in (scaling.NOT_FUSED, scaling.AT_BEST))
        assert low < scaling.predicted(row, case) < high, row
        assert low < row.images_per_second < high, row


def test_parts_of_a_batch_have_norms_that_do_not_wait():
    def waits(norm: str, groups: int) -> float:
        recipe = scaling.Recipe()
        recipe = recipe.override({"model.name": f"INPUT -> CONV3-4 -> {norm}RELU -> GAP -> FC"})
        recipe = recipe.override({"model.batch_norm_groups": groups, "train.steps": 1})
        return scaling.step_work(recipe, scaling.DATA["digits"], 8).waits

    # Mean, variance, and both backward; what is left counts the errors.
    assert waits("BN -> ", 1) == 4
    assert waits("BN -> ", 2) == waits("", 1) == 1


def test_every_data_set_is_known():
    assert set(scaling.DATA) == set(data.names())


def test_runs_that_choose_a_rate_count_too(monkeypatch):
    recipe = scaling.Recipe()
    run = scaling.Run(7, 1.0, [True] * 4, [1.0] * 4, [2.0] * 4, [3.0] * 4)
    arms = dict.fromkeys("ab", recipe)
    tuned = Ablation("nets", "paper", None, arms, seeds=3, rates=(0.1, 0.2))
    monkeypatch.setattr(scaling, "load_ablations", lambda *_: [tuned])
    monkeypatch.setattr(scaling, "preset_run", lambda _: run)
    *_, whole = scaling.presets_table(ROOT / "configs").splitlines()
    assert "all, 3 seeds, 2 learning rates" in whole
    assert whole.count(" 20 s |") == 4


def test_what_does_not_fit_is_not_predicted():
    rows = [line.split("|") for line in scaling.pod_table("tpu_v5e").splitlines()[2:]]
    large = {int(row[1].replace(",", "")) for row in rows if "too large" in row[6]}
    assert (
        large
        == {n for n in scaling.CHIP_COUNTS if scaling._resnet50_bytes(4096 // n) > 16e9}
        == {1, 2, 4, 8}
    )
    assert CHIPS["tpu_v5e"].memory == 16e9
