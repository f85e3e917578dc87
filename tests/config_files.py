"""The files in configs/, loaded, and what their presets come to."""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from cnnlab import training
from cnnlab.analysis import Summary, summarize
from cnnlab.evidence import Ablation

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


def ablation(name: str, preset: str) -> Ablation:
    return Ablation.from_config(MODULES[name].get_config(preset))


def summary(recipe: ConfigDict, shape: tuple[int, int, int] = (32, 32, 3)) -> Summary:
    return _summary(FrozenConfigDict({"model": recipe.model}), shape)


@functools.cache
def _summary(recipe: FrozenConfigDict, shape: tuple[int, int, int]) -> Summary:
    return summarize(training.programs.build_model(recipe, 10), shape)


def summaries(
    name: str, preset: str, shape: tuple[int, int, int] = (32, 32, 3)
) -> dict[str, Summary]:
    """Of every arm, on images of that shape."""
    return {arm: summary(recipe, shape) for arm, recipe in ablation(name, preset).arms.items()}
