"""What holds for every registered network: exact counts, one training step, bfloat16, lowering.

A network that is registered and has no entry in PARAMETERS fails the first test.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

import cnnlab
from cnnlab import models

# Trainable numbers at the source's own classes. Where a group has no other reference, the families'
# own tests derive the figure in closed form.
PARAMETERS = {
    # LeCun et al. 1998: 60,000 with subsampling and table as there, and 850 in the output layer.
    "lenet5": 61_706,
    # torchvision
    "alexnet": 61_100_840,
    "googlenet_bn": 6_624_904,
    # Krizhevsky et al. 2012 and Caffe
    "alexnet_two_groups": 60_965_224,
    # Zeiler & Fergus 2013, closed form
    "zfnet": 62_357_608,
    # torchvision; configuration C in closed form. With BN, 2 numbers a channel come and the
    # convolution's idle bias goes, which torchvision keeps (vgg16_bn there: 138,365,992).
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg16_1x1": 133_638_952,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840 - 2_752,
    "vgg13_bn": 133_053_736 - 2_944,
    "vgg16_1x1_bn": 133_638_952 + 4_224,
    "vgg16_bn": 138_365_992 - 4_224,
    "vgg19_bn": 143_678_248 - 5_504,
    "vgg_cifar": 14_724_042,
    # Szegedy et al. 2014 with biases and without auxiliary heads, closed form
    "googlenet": 6_998_552,
    # timm
    "inception_v4": 42_679_816,
    "inception_resnet_v2": 55_843_464,
    # Lin et al. 2013, Caffe's model zoo
    "nin": 966_986,
    # He et al. 2015: torchvision; CIFAR closed form
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet8": 75_290,
    "resnet14": 172_506,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "plain8": 75_290,
    "plain14": 172_506,
    "plain20": 269_722,
    "plain32": 464_154,
    "plain44": 658_586,
    "plain56": 853_018,
    "plain110": 1_727_962,
    "preact110": 1_727_962,
    "preact164": 1_703_258,
    "preact1001": 10_327_706,
    # Springenberg et al. 2014, closed form
    **{f"allcnn_a_{variant}": 839_242 for variant in ("base", "strided")},
    **{f"allcnn_a_{variant}": 1_254_250 for variant in ("convpool", "all")},
    **{f"allcnn_b_{variant}": 885_610 for variant in ("base", "strided")},
    **{f"allcnn_b_{variant}": 1_300_618 for variant in ("convpool", "all")},
    **{f"allcnn_c_{variant}": 954_730 for variant in ("base", "strided")},
    **{f"allcnn_c_{variant}": 1_369_738 for variant in ("convpool", "all")},
    # Jordan 2024, closed form; the whitening layer's 24 biases are left out
    "airbench94": 1_971_352 - 24,
    "airbench95": 4_604_440 - 24,
    # The notes' small nets
    "linear": 30_730,
    "mlp": 1_841_162,
    "convnet": 31_642,
    "local": 964_618,
    "tiny_vgg": 6_440,
    "convnetjs_cifar": 22_466,
}

BATCH, CLASSES = 4, 7
PLATFORMS = ("cpu", "cuda", "tpu")
PRODUCT = re.compile(
    r"stablehlo\.(?:convolution|dot_general).* : \(tensor<[\dx]*x(\w+)>, tensor<[\dx]*x(\w+)>\)"
)

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""These programs run twice: it is their compilation that takes the time."""


# So steep without shortcuts that float32 has no step along its gradient ("fail" in He et al. 2016,
# table 1).
UNTRAINABLE = {"plain110"}


def image_shape(name):
    """An input of few pixels, that still leaves a map of more than one at the end."""
    height, _, channels = models.network(name).input_shape
    size = {32: 32, 224: 64, 227: 67, 299: 139}[height]
    size = 32 if name.startswith("vgg") else size
    return size, size, channels


@functools.cache
def build(name):
    """A net to train; VGG without its two FC-4096 on 7x7x512, which are AlexNet's but larger."""
    options = {"head": "gap"} if re.match(r"vgg\d", name) else {}
    model = models.create(name, classes=CLASSES, **options)
    image = jax.ShapeDtypeStruct((BATCH, *image_shape(name)), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), image)


def drawn(shapes):
    """Variables in the manner of the initialisers, but drawn by NumPy, and no number 0 or 1."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "kernel":
            return noise * np.sqrt(2 / np.prod(leaf.shape[:-1])).astype(np.float32)
        return noise * np.float32(0.1) + (path[-1].key in ("scale", "var"))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def training_step(model):
    """`(variables, x, y) -> ((loss, logits, updates), gradient)` of one training step."""

    def fn(variables, x, y):
        rest = {name: tree for name, tree in variables.items() if name != "params"}

        def loss_of(params):
            logits, updates = model.apply(
                {"params": params, **rest},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            wide = logits.astype(jnp.float32)
            losses = optax.softmax_cross_entropy_with_integer_labels(wide, y)
            return losses.mean(), (logits, updates)

        return jax.value_and_grad(loss_of, has_aux=True)(variables["params"])

    return fn


def test_every_name_has_its_count():
    assert set(models.names()) == set(PARAMETERS)


@pytest.mark.parametrize("name", models.names())
def test_parameters(name):
    network = models.network(name)
    image = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
    variables = jax.eval_shape(network.build().init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == PARAMETERS[name]


def loss_behind(step, variables, gradient, fall, x, y):
    """The loss a little way down the gradient, where it should be lower by `fall`."""
    scale = fall / optax.tree.norm(gradient) ** 2
    params = jax.tree.map(lambda p, g: p - scale * g, variables["params"], gradient)
    ((loss, _), _), _ = step({**variables, "params": params}, x, y)
    return loss


def test_one_training_step(trained):
    """Every parameter gets a gradient, a step along it lowers the loss, the statistics move.

    Training and testing differ where there is a batch norm or a dropout, and nowhere else.
    """
    model, shapes = build(trained)
    variables = drawn(shapes)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((BATCH, *image_shape(trained)), np.float32)
    y = np.arange(BATCH) % CLASSES

    def step_and_test(variables, x, y):
        return training_step(model)(variables, x, y), model.apply(variables, x)

    step = jax.jit(step_and_test).lower(variables, x, y).compile(compiler_options=QUICK)
    ((loss, (logits, updates)), gradient), tested = step(variables, x, y)
    assert logits.shape == tested.shape == (BATCH, CLASSES)
    assert np.isfinite(loss)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path
    for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
        before = functools.reduce(lambda tree, key: tree[key.key], path, variables)
        assert np.isfinite(leaf).all(), path
        fixed = path[0].key == "batch_stats" and path[-1].key == "kernel"  # of WHITEN
        assert np.any(leaf != before) != fixed, path
    # The deeper the net, the shorter the way that its gradient is good for.
    assert trained in UNTRAINABLE or any(
        loss_behind(step, variables, gradient, fall, x, y) < loss for fall in (1e-3, 1e-2, 1e-4)
    )
    summary = cnnlab.summarize(model, image_shape(trained))
    differs = np.abs(logits - tested).max() > 1e-5 * np.abs(tested).max()
    assert differs == any(row.notation.startswith(("BN", "DROP")) for row in summary.rows)


def test_bfloat16_on_every_platform(every):
    """The step lowers for machines that are not here, and computes in bfloat16 there.

    All products are in bfloat16; parameters, statistics and their gradients stay float32.
    """
    model = models.create(every, classes=CLASSES, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((BATCH, *image_shape(every)), jnp.float32)
    y = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    made = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    exported = export.export(jax.jit(training_step(model)), platforms=PLATFORMS)(made, x, y)
    assert exported.platforms == PLATFORMS
    # (loss, logits, statistics), gradient
    types = [aval.dtype for aval in exported.out_avals]
    assert types.count(jnp.dtype(jnp.bfloat16)) == 1
    assert set(types) == {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)}
    products = PRODUCT.findall(exported.mlir_module())
    assert products
    assert {dtype for pair in products for dtype in pair} == {"bf16"}
