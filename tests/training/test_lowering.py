"""The training step of every published recipe, as it is handed to a GPU and to a TPU."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from config_files import ablation, stand_in, summary

from cnnlab.data import open_dataset
from cnnlab.training.program import program
from cnnlab.training.recipe import Recipe
from cnnlab.training.step import epoch_order

PLATFORMS = ("cuda", "tpu")


def test_a_streamed_recipe_lowers(imagenet: Path) -> None:
    """ResNet-50 on ImageNet; the batch comes as the photographs' bytes, and is not donated."""
    recipe = ablation("imagenet_resnet50", "paper").recipe("stride_in_3x3", 0)
    recipe = recipe.override({"train.batch_size": 8})  # of 54 images
    dataset = open_dataset("imagenet2012", directory=imagenet, image_size=224)
    found, key = program(recipe, dataset), jax.random.key(0)
    fed, state = found.feed.shapes(), found.shapes
    assert [(x.shape, str(x.dtype)) for x in fed] == [((8, 224, 224, 3), "uint8"), ((8,), "int32")]
    step = jax.jit(found.train, donate_argnums=0)
    for text in modules(step, state, *fed, key):
        assert donated(text) == len(jax.tree.leaves(state))
        assert convolutions(text) == ["bf16"] * (3 * 53 - 1)
        assert "f64" not in text


def modules(step: Any, *arguments: Any) -> Iterator[str]:
    """A jitted step as StableHLO for each platform; it is traced once."""
    for platform in PLATFORMS:
        yield jax.export.export(step, platforms=[platform])(*arguments).mlir_module()


def donated(module: str) -> int:
    return len(re.findall(r"jax\.buffer_donor = true|tf\.aliasing_output", module))


def convolutions(module: str) -> list[str]:
    """The type of each one's result."""
    return re.findall(r"stablehlo\.convolution.*-> tensor<[0-9x]*x(\w+)>", module)


def lowered(recipe: Recipe) -> tuple[Iterator[str], int]:
    """The program of many steps as StableHLO; and how many arrays the state has."""
    dataset, key = stand_in(recipe), jax.random.key(0)
    found, batch = program(recipe, dataset, many=True), recipe.train.batch_size
    images, labels = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in dataset.split("train"))
    order = jax.eval_shape(lambda: epoch_order(key, 0, examples=200, batch_size=batch))
    train = jax.jit(found.train, donate_argnums=0)
    count = jax.ShapeDtypeStruct((), "int32")
    arguments = (found.shapes, images, labels, order, key, count)
    return modules(train, *arguments), len(jax.tree.leaves(found.shapes))


ARMS = [
    ("stacked_convs", "digits", "one_7x7"),
    ("stacked_convs", "cpu", "three_3x3"),
    ("stacked_convs", "paper", "three_3x3"),
    ("stacked_convs", "paper", "one_7x7"),
    ("all_convolutional", "paper", "c_all"),
    ("all_convolutional", "paper", "a_base"),
    ("residual_depth", "paper", "resnet20"),
    ("residual_depth", "paper", "plain20"),
    ("speedrun", "paper", "airbench94"),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "preset", "arm"), ARMS)
def test_a_published_recipe_lowers_for_gpu_and_tpu(
    name: str, preset: str, arm: str, dtype: str
) -> None:
    recipe = ablation(name, preset).recipe(arm, 0)
    batch = min(recipe.train.batch_size, 128)  # of 200 images
    recipe = recipe.override({"model.dtype": dtype, "train.batch_size": batch})
    texts, leaves = lowered(recipe)
    layers, fixed = (
        sum(kind in row.notation for row in summary(recipe).rows) for kind in ("CONV", "WHITEN")
    )
    # Forward, and backward by the weights and by the input. Nobody wants the gradient by the
    # images, nor by what fixed filters make of them.
    number = 3 * layers - 1 + fixed
    for text in texts:
        assert "stablehlo.while" in text
        assert donated(text) == leaves
        assert "f64" not in text
        assert convolutions(text) == ["f32" if dtype == "float32" else "bf16"] * number
