"""experiments/look.py: the pictures of a trained network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cnnlab.analysis.effective_field import effective_field, theoretical_field
from cnnlab.training import probes


@pytest.fixture(scope="module")
def script(launcher: Callable[[str], Any]) -> Any:
    return launcher("look")


def test_every_picture_of_a_run(finished: Any, script: Any, capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pictures"
    assert script.main([str(finished.folder), "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    names = [
        "filters", "activations", "scores", "receptive_field", "equivariance", "saliency",
        "shift_response", "curves",
    ]  # fmt: skip
    for name in names:
        assert sum(line.startswith(f"{out / name}.png  ") for line in said) == 1
        image = cv2.imread(str(out / f"{name}.png"))
        assert image is not None
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10
    assert "no lesions: a lesion cuts out residual blocks, and this has none" in said
    assert sorted(path.stem for path in out.iterdir()) == sorted(names)


def test_a_trained_net_heeds_nothing_outside_of_its_field(finished: Any) -> None:
    network = probes.load(finished.folder)
    x = network.prepare(network.dataset.decoded("validation").images[:32])
    field = effective_field(network.model, network.variables, x, "relu1")
    rows, columns = theoretical_field(network.model, network.variables, x, "relu1")
    assert (rows, columns) == (range(12, 24), range(12, 24)), "3x3 of the means of 4x4 pixels"
    inside = np.zeros(field.shape, bool)
    inside[12:24, 12:24] = True
    np.testing.assert_array_equal(field > 0, inside)


def test_mistakes(script: Any, capsys: Any, tmp_path: Path) -> None:
    assert script.main([str(tmp_path)]) == 2
    assert "holds no run: it has no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(
        json.dumps({"arm": "a", "data": {"name": "imagenet2012"}})
    )
    assert script.main([str(tmp_path)]) == 2
    assert "imagenet2012 is streamed" in capsys.readouterr().err
