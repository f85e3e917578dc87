"""One device and eight virtual ones: the same loss curve, and to each device its share."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cnnlab import training
from cnnlab.training import Recipe

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)

EIGHT = """
import json, sys
import jax
from pathlib import Path
from rich.console import Console
from cnnlab import data, training
from cnnlab.training.program import compiled
from cnnlab.training.recipe import Recipe

assert jax.device_count() == 8
for folder in map(Path, sys.argv[1:]):
    recipe = Recipe().override(json.loads((folder / "recipe.json").read_text()))
    training.run(recipe, folder / "run", Console(quiet=True))
    program = compiled(recipe, data.open_dataset(recipe.data.name))
    (folder / "hlo.txt").write_text(program.train.as_text())
"""


def on_eight(recipes: dict[Path, Recipe]) -> None:
    """Runs each recipe in its folder, in another process that has eight devices."""
    for folder, recipe in recipes.items():
        folder.mkdir()
        (folder / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    flags = "--xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-c", EIGHT, *recipes],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        timeout=600,
    )


def curve(folder: Path) -> list[dict[str, float]]:
    """What the journal says but for times."""
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    lines = [{k: v for k, v in line.items() if "_second" not in k} for line in found]
    return [line for line in lines if line.keys() != {"step"}]


@pytest.fixture(scope="module")
def recipes(make_recipe: Callable[..., Recipe]) -> dict[str, Recipe]:
    """A batch normalised as a whole, and in eight groups; everything random is in both."""
    changes = {
        "model.name": "INPUT -> AVGPOOL4 -> CONV3-4 -> BN -> RELU -> DROP0.3 -> FC",
        "train.steps": 20,
        "train.evaluate_steps": 10,
        "train.eval_batch_size": 100,  # 104 on eight devices
        "optimizer.learning_rate": 0.05,
        "augment.flip": True,
    }
    return {
        name: make_recipe(changes | {"model.batch_norm_groups": groups})
        for name, groups in (("whole", 1), ("groups", 8))
    }


@pytest.fixture(scope="module")
def eight(recipes: dict[str, Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home: Path = tmp_path_factory.mktemp("eight")
    on_eight({home / name: recipe for name, recipe in recipes.items()})
    return home


@pytest.mark.parametrize("name", ["whole", "groups"])
def test_the_same_run_on_one_device_and_on_eight(
    recipes: dict[str, Recipe], eight: Path, tmp_path: Path, name: str
) -> None:
    record = training.run(recipes[name], tmp_path, QUIET)
    lines, others = curve(tmp_path), curve(eight / name / "run")
    assert len(lines) == 21  # 20 steps and an evaluation between
    for line, other in zip(lines, others, strict=True):
        assert other == pytest.approx(line, rel=1e-4)
    other_record = training.Record.read(eight / name / "run" / "record.json")
    assert other_record.metrics == pytest.approx(record.metrics, rel=1e-4)
    assert other_record.config == record.config


def test_groups_are_another_run(eight: Path) -> None:
    whole, groups = curve(eight / "whole/run"), curve(eight / "groups/run")
    assert whole[0]["train_loss"] != pytest.approx(groups[0]["train_loss"], rel=1e-3)


def test_each_device_convolves_its_share_and_no_norm_of_a_group_waits(eight: Path) -> None:
    """32 images of 8x8 on eight devices. All must wait for the gradient, and for the tally."""
    text = {name: (eight / name / "hlo.txt").read_text() for name in ("whole", "groups")}
    for program in text.values():
        (images,) = set(re.findall(r"= f32\[(\d+),8,8,4\]\S* convolution\(", program))
        assert int(images) == 32 // 8
    backward = {name: program.count(" all-reduce(") for name, program in text.items()}
    assert backward["groups"] < backward["whole"]


def test_a_batch_that_cannot_be_shared(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe({"train.steps": 9})
    training.inspect(recipe)
    monkeypatch.setattr("jax.device_count", lambda: 5)
    with pytest.raises(training.RecipeError, match=r"= 32 cannot be shared .* 5 devices; .*: 30"):
        training.inspect(recipe)
