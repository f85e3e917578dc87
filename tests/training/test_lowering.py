"""The training step of every published recipe, as it is handed to a GPU and to a TPU."""

import re
from pathlib import Path

import jax
import pytest
from config_files import ablation, stand_in, summary
from ml_collections import ConfigDict

from cnnlab.data import open_dataset
from cnnlab.training.programs import functions
from cnnlab.training.step import epoch_order, repeat


def test_a_streamed_recipe_lowers(imagenet: Path) -> None:
    """ResNet-50 on ImageNet; the batch comes as the photographs' bytes, and is not donated."""
    recipe = ablation("imagenet_resnet50", "paper").recipe("stride_in_3x3", 0).unlock()
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
    dataset, key = stand_in(recipe), jax.random.key(0)
    found, batch = functions(recipe, dataset), recipe.train.batch_size
    images, labels = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in dataset.split("train"))
    state = jax.eval_shape(found.create, key, images)
    order = jax.eval_shape(lambda: epoch_order(key, 0, examples=200, batch_size=batch))
    step = jax.jit(repeat(found.train_step, times), donate_argnums=0)
    exported = jax.export.export(step, platforms=[platform])(state, images, labels, order, key)
    return exported.mlir_module(), len(jax.tree.leaves(state))


ARMS = [
    ("stacked_convs", "digits", "one_7x7"),
    ("stacked_convs", "cpu", "three_3x3"),
    ("stacked_convs", "paper", "three_3x3"),
    ("stacked_convs", "paper", "one_7x7"),
    ("all_convolutional", "paper", "c_all"),
    ("all_convolutional", "paper", "a_base"),
    ("residual_depth", "paper", "resnet20"),
    ("residual_depth", "paper", "plain20"),
]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "preset", "arm"), ARMS)
def test_a_published_recipe_lowers_for_gpu_and_tpu(
    name: str, preset: str, arm: str, dtype: str, platform: str
) -> None:
    recipe = ablation(name, preset).recipe(arm, 0).unlock()
    recipe.model.dtype = dtype
    text, leaves = lowered(recipe, platform, times=8)
    assert "stablehlo.while" in text
    assert len(re.findall(r"jax\.buffer_donor = true|tf\.aliasing_output", text)) == leaves
    assert "f64" not in text
    convolutions = re.findall(r"stablehlo\.convolution.*-> tensor<[0-9x]*x(\w+)>", text)
    layers = sum("CONV" in row.notation for row in summary(recipe).rows)
    # Forward, and backward by the weights and by the input; nobody wants the images' gradient.
    assert len(convolutions) == 3 * layers - 1
    assert set(convolutions) == {"f32" if dtype == "float32" else "bf16"}
