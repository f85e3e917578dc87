"""The training step of every published recipe, as it is handed to a GPU and to a TPU."""

import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cnnlab.data import Dataset, Images, open_dataset
from cnnlab.evidence import Ablation
from cnnlab.training.programs import functions
from cnnlab.training.step import epoch_order, repeat

CONFIGS = Path(__file__).parents[2] / "configs"
SHAPES = {"digits": (32, 32, 1), "cifar10": (32, 32, 3)}


def stand_in(name: str) -> Dataset:
    """A few random images of the data set's shape: nothing need be prepared."""
    shape, random = SHAPES[name], np.random.default_rng(0)
    images = random.integers(0, 256, (200, *shape), np.uint8)
    split = Images(images, np.arange(200, dtype=np.int32) % 10)
    return Dataset(name, name, 10, shape, "1", "0" * 16, lambda which: split)


def test_a_streamed_recipe_lowers(imagenet: Path) -> None:
    """ResNet-50 on ImageNet; the batch comes as the photographs' bytes, and is not donated."""
    config = runpy.run_path(str(CONFIGS / "imagenet_resnet50.py"))["get_config"]("paper")
    recipe = Ablation.from_config(config).recipe("stride_in_3x3", 0).unlock()
    recipe.train.batch_size = 8  # of 54 images
    dataset = open_dataset("imagenet2012", directory=imagenet, image_size=224)
    found, key = functions(recipe, dataset), jax.random.key(0)
    fed = found.feed.shapes()
    state = jax.eval_shape(found.create, key, fed[0])
    assert [(x.shape, str(x.dtype)) for x in fed] == [((8, 224, 224, 3), "uint8"), ((8,), "int32")]
    step = jax.jit(found.train_step, donate_argnums=0)
    text = jax.export.export(step, platforms=["tpu"])(state, *fed, key).mlir_module()
    donated = re.findall(r"jax\.buffer_donor = true|tf\.aliasing_output", text)
    assert len(donated) == len(jax.tree.leaves(state))
    convolutions = re.findall(r"stablehlo\.convolution.*-> tensor<[0-9x]*x(\w+)>", text)
    assert len(convolutions) == 3 * 53 - 1
    assert set(convolutions) == {"bf16"}
    assert "f64" not in text


def lowered(recipe: ConfigDict, platform: str, times: int) -> tuple[str, int]:
    """The step, so many times, as StableHLO; and how many arrays the state has."""
    dataset, key = stand_in(recipe.data.name), jax.random.key(0)
    found, batch = functions(recipe, dataset), recipe.train.batch_size
    images = jax.ShapeDtypeStruct((200, *dataset.image_shape), jnp.uint8)
    state = jax.eval_shape(found.create, key, images)
    labels = jax.ShapeDtypeStruct((200,), jnp.int32)
    order = jax.eval_shape(lambda: epoch_order(key, 0, examples=200, batch_size=batch))
    step = jax.jit(repeat(found.train_step, times), donate_argnums=0)
    exported = jax.export.export(step, platforms=[platform])(state, images, labels, order, key)
    return exported.mlir_module(), len(jax.tree.leaves(state))


ARMS = [("digits", "one_7x7"), ("cpu", "three_3x3"), ("paper", "three_3x3"), ("paper", "one_7x7")]


def recipe_of(preset: str, arm: str) -> ConfigDict:
    config = runpy.run_path(str(CONFIGS / "stacked_convs.py"))["get_config"](preset)
    return Ablation.from_config(config).recipe(arm, 0).unlock()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("preset", "arm"), ARMS)
def test_a_published_recipe_lowers_for_gpu_and_tpu(
    preset: str, arm: str, dtype: str, platform: str
) -> None:
    recipe = recipe_of(preset, arm)
    recipe.model.dtype = dtype
    text, leaves = lowered(recipe, platform, times=8)
    assert "stablehlo.while" in text
    assert len(re.findall(r"jax\.buffer_donor = true|tf\.aliasing_output", text)) == leaves
    assert "f64" not in text
    convolutions = re.findall(r"stablehlo\.convolution.*-> tensor<[0-9x]*x(\w+)>", text)
    layers = recipe.model.name.count("CONV") * (3 if "]*3" in recipe.model.name else 1)
    # Forward, and backward by the weights and by the input; nobody wants the images' gradient.
    assert len(convolutions) == 3 * layers - 1
    assert set(convolutions) == {"f32" if dtype == "float32" else "bf16"}
