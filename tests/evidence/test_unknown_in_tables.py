"""A count that is not known is a word in a table, nothing in a CSV file, and never a 0."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cnnlab.evidence import scaling
from cnnlab.evidence.ablation import Ablation
from cnnlab.evidence.claim import Claim
from cnnlab.evidence.costs import costs
from cnnlab.evidence.report import print_report, report_latex, report_markdown
from cnnlab.evidence.tables import arms_table, readable_arms
from cnnlab.evidence.verdict import judge_claim
from cnnlab.training import Recipe
from cnnlab.training.record import Record

Make = Callable[..., list[Record]]


def test_records_hold_none_and_the_whole_image(
    records_of: Make, run_of: Callable[[Record, Recipe], Record]
) -> None:
    network = {"weights": 7, "macs": None, "activations": 3, "receptive_field": "all"}
    (record,) = records_of({"own": [1.0]}, network=network)
    record = run_of(record, Recipe(arm="own").override({"train.steps": 100}))
    assert '"macs": null' in record.to_json()
    assert '"receptive_field": "all"' in record.to_json()
    assert Record.from_json(record.to_json()) == record


@pytest.fixture
def runs(records: list[Record]) -> list[Record]:
    """`linear` is a net of a user's own, whose last map sees the whole image."""
    changed = {"macs": None, "receptive_field": "all"}
    return [
        replace(each, network=each.network | changed) if each.arm == "linear" else each
        for each in records
    ]


@pytest.fixture
def ablation(claim: Claim, arms: list[str]) -> Ablation:
    return Ablation("nets", "cpu", claim, {arm: Recipe() for arm in arms}, seeds=5)


def test_csv(ablation: Ablation, runs: list[Record]) -> None:
    table = arms_table(ablation, runs)
    assert list(table["macs"].isna()) == [False, False, True, True]
    assert list(table["receptive_field"][:3]) == [64, 64, "all"]
    text = table.to_csv(index=False)
    lines = {line.split(",")[0]: line for line in text.splitlines()}
    assert lines["one_7x7"].endswith(",118090,19300000,120000,480000,64")
    assert lines["linear"].endswith(",50890,,350000,1400000,all")
    assert lines["narrow"].endswith(",0.1,,,,,")
    read = pd.read_csv(io.StringIO(text)).set_index("arm")
    assert read.loc["three_3x3", "macs"] == 8_900_000


def test_words(ablation: Ablation, runs: list[Record], claim: Claim) -> None:
    """Nothing of an arm that was not run, "unknown" of one that was."""
    table = readable_arms(ablation, runs).set_index("arm")
    assert list(table["MACs"]) == ["19.30 M", "8.90 M", "unknown", ""]
    assert list(table["receptive field"]) == ["64 px", "64 px", "all", ""]
    verdicts = judge_claim(claim, runs)
    for report in (report_markdown, report_latex):
        assert report(ablation, runs, verdicts).count("unknown") == 1
    file = io.StringIO()
    print_report(Console(file=file, width=120), ablation, runs)
    assert file.getvalue().count("unknown") == 1


def test_nothing_known_at_all(ablation: Ablation, records_of: Make) -> None:
    runs = records_of({"linear": [1.0, 2.0]}, network={})
    row = readable_arms(ablation, runs).set_index("arm").loc["linear"]
    names = ["weights", "MACs", "activation memory", "receptive field"]
    assert list(row[names]) == ["unknown"] * 4


def test_runs_of_a_known_and_of_an_unknown_network_are_not_one_arm(
    ablation: Ablation, records_of: Make
) -> None:
    first, second = records_of({"linear": [1.0, 2.0]})
    second = replace(second, network=second.network | {"macs": None})
    with pytest.raises(ValueError, match="not of one network"):
        arms_table(ablation, [first, second])
    with pytest.raises(ValueError, match=r"several networks, macs \[8900000, unknown\]"):
        costs([first, second])


def test_figure(runs: list[Record]) -> None:
    """No dot for what is not known; its panel says whose it is, and the others are drawn."""
    picture = costs(runs)
    assert np.isnan(picture.arrays["macs"]).tolist() == [False, False, True]
    assert picture.arrays["weights"].tolist() == [118_090, 50_890, 50_890]
    said = [[text.get_text() for text in axes.texts] for axes in picture.figure.axes]
    assert said == [[], ["unknown: linear"], []]
    frontier = picture.figure.axes[1].lines[0].get_xdata()
    assert np.isfinite(frontier).all()
    assert picture._repr_png_().startswith(b"\x89PNG")
    best = [replace(each, metrics=each.metrics | {"test_error": 1.0}) if each.arm == "linear"
            else each for each in runs]  # fmt: skip
    assert np.isfinite(costs(best).figure.axes[1].lines[0].get_xdata()).all()
    nothing = costs([replace(each, network={}) for each in runs])
    assert all(len(axes.texts) == 1 for axes in nothing.figure.axes)
    nothing._repr_png_()


def test_predicted_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a step with an operation that no count knows."""
    step = scaling.step_work
    monkeypatch.setattr(
        scaling,
        "step_work",
        lambda *args: step(*args)._replace(
            flops=None, fused=None, least=None, unfused=None, kernels=None, unknown=("fft",)
        ),
    )
    recipe = Recipe()
    recipe = recipe.override({"model.name": "INPUT -> FC", "train.epochs": 2.0})
    ablation = Ablation("own", "paper", None, {"net": recipe}, seeds=3)  # type: ignore[arg-type]
    monkeypatch.setattr(scaling, "efficiency", lambda: 0.5)
    monkeypatch.setattr(scaling, "load_ablations", lambda *_: [ablation])
    *_, arm, whole = scaling.presets_table(None).splitlines()  # type: ignore[arg-type]
    assert arm.count(" unknown |") == 1 + 4
    assert whole.count(" unknown |") == 4
