import json
from pathlib import Path

import numpy as np
import pytest

from cnnlab.evidence.curves import curves
from cnnlab.training import UnusableFolder

LINES = (
    {"step": 0, "compile_seconds": 3.2},
    {"step": 5, "epoch": 0.5, "train_error": 80.0, "train_loss": 2.0, "images_per_second": 9.0},
    {"step": 10, "epoch": 1.0, "train_error": 60.0, "train_loss": 1.5, "images_per_second": 9.0},
    {"step": 10, "validation_error": 55.0, "validation_loss": 1.25},
    {"step": 15, "epoch": 1.5, "train_error": 40.0, "train_loss": 1.0, "images_per_second": 9.0},
)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two runs of an arm with a name that would be a broken formula, and one of another."""
    places = []
    for arm, seed in (("$x^$", 0), ("$x^$", 1), ("plain", 0)):
        folder = tmp_path / arm / f"seed{seed}-0123"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"arm": arm, "seed": seed}))
        lines = LINES if arm == "plain" else LINES[:3]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        places.append(folder)
    return places


def test_what_is_drawn_is_what_was_logged(folders: list[Path]) -> None:
    picture = curves(folders)
    run = "plain/seed0-0123"
    expected = {
        "train_loss": [(0.5, 2.0), (1.0, 1.5), (1.5, 1.0)],
        "train_accuracy": [(0.5, 20.0), (1.0, 40.0), (1.5, 60.0)],
        "validation_loss": [(1.0, 1.25)],
        "validation_accuracy": [(1.0, 45.0)],
    }
    for metric, points in expected.items():
        np.testing.assert_allclose(picture.arrays[f"{run} {metric}"], points)
    assert picture.arrays["$x^$/seed1-0123 validation_loss"].shape == (0, 2)
    for axes, what in zip(picture.figure.axes, ("loss", "accuracy"), strict=True):
        drawn = [np.stack(line.get_data(), axis=-1).tolist() for line in axes.lines]
        for split in ("train", "validation"):
            assert picture.arrays[f"{run} {split}_{what}"].tolist() in drawn


def test_an_arm_has_one_colour_and_one_name(folders: list[Path]) -> None:
    picture = curves(iter(folders))
    colours = [line.get_color() for line in picture.figure.axes[0].lines[::2]]
    assert colours[0] == colours[1] != colours[2]
    (key,) = picture.figure.legends
    names = [text.get_text() for text in key.get_texts()]
    assert names == [r"\$x^\$", "plain", "training", "validation"]
    assert picture._repr_png_().startswith(b"\x89PNG")


def test_what_is_no_run_is_refused(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UnusableFolder, match=r"away holds no run: .*config\.json"):
        curves([*folders, tmp_path / "away"])
    (folders[0] / "metrics.jsonl").write_text(json.dumps(LINES[0]) + "\n")
    with pytest.raises(UnusableFolder, match="nothing has been logged there yet"):
        curves(folders)
    with pytest.raises(ValueError, match="no runs"):
        curves([])
