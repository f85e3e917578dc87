"""The files in configs/, loaded, and what their presets come to."""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cnnlab import training
from cnnlab.analysis import Summary, summarize
from cnnlab.data import Dataset, Images
from cnnlab.evidence import Ablation
from cnnlab.evidence.scaling import DATA
from cnnlab.training import Recipe

CONFIGS = Path(__file__).parents[1] / "configs"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def presets(module: ModuleType) -> list[str]:
    """The presets that the config itself names when asked for one there is not."""
    with pytest.raises(ValueError, match="'nonesuch'; choices: ") as caught:
        module.get_config("nonesuch")
    return str(caught.value).split("choices: ")[1].split("; ")[0].split(", ")


MODULES = {path.stem: load(path) for path in sorted(CONFIGS.glob("*.py"))}
CASES = [(name, preset) for name, module in MODULES.items() for preset in presets(module)]


def stand_in(recipe: Recipe) -> Dataset:
    """A few random images of the shape of a recipe's data set: nothing need be prepared."""
    name, random = recipe.data.name, np.random.default_rng(0)
    shape = DATA[name].shape
    images = random.integers(0, 256, (200, *shape), np.uint8)
    labels = np.arange(200, dtype=np.int32) % 10
    if recipe.data.preprocess:
        images = (images / 128 - 1).astype(np.float32)
    split, how = Images(images, labels), recipe.data.preprocess
    return Dataset(name, name, 10, shape, "1", "0" * 16, lambda which: split, how)


def ablation(name: str, preset: str) -> Ablation:
    return Ablation.from_config(MODULES[name].get_config(preset))


def summary(recipe: Recipe, shape: tuple[int, int, int] = (32, 32, 3)) -> Summary:
    return _summary(Recipe(model=recipe.model), shape)


@functools.cache
def _summary(recipe: Recipe, shape: tuple[int, int, int]) -> Summary:
    return summarize(training.program.build_model(recipe.model, 10), shape)


def summaries(
    name: str, preset: str, shape: tuple[int, int, int] = (32, 32, 3)
) -> dict[str, Summary]:
    """Of every arm, on images of that shape."""
    return {arm: summary(recipe, shape) for arm, recipe in ablation(name, preset).arms.items()}
