"""What images a network's weights take, by what its family says, and what it says of others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnlab
from cnnlab import models, nn
from cnnlab.geometry import DoesNotFit
from cnnlab.models.sizes import hint

# Smallest and largest side of the square images that weights for the network's own take; all
# between them too.
ANY = {
    **dict.fromkeys(("alexnet",), 63),
    **{f"vgg{n}{bn}": 32 for n in ("11", "13", "16", "16_1x1", "19") for bn in ("", "_bn")},
    **dict.fromkeys(("inception_v4", "inception_resnet_v2"), 75),
    **dict.fromkeys(("googlenet", "googlenet_bn", "nin"), 1),
    **{
        f"allcnn_{base}_{kind}": 1
        for base in "abc"
        for kind in ("base", "strided", "convpool", "all")
    },
    **{f"resnet{n}": 1 for n in (8, 14, 18, 20, 32, 34, 44, 50, 56, 101, 110, 152, 1202)},
    **{f"plain{n}": 1 for n in (8, 14, 20, 32, 44, 56, 110)},
    **{f"preact{n}": 1 for n in (110, 164, 1001)},
}
SOME = {
    "airbench94": (25, 48),
    "airbench95": (25, 48),
    "alexnet_two_groups": (227, 227),
    "zfnet": (213, 244),
    **dict.fromkeys(("lenet5", "vgg_cifar", "local", "linear", "mlp"), (32, 32)),
    **dict.fromkeys(("convnet", "tiny_vgg", "convnetjs_cifar"), (32, 32)),
}
QUICK = ("alexnet", "allcnn_c_all", "nin", "resnet8", "vgg11")


@functools.cache
def abstract(name):
    """The network, and what its weights for its own image make of another: the logits' shape."""
    network = models.network(name)
    height, width, channels = network.input_shape
    model = network.build(classes=7)
    image = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def logits(height, width, channels=channels):
        x = jax.ShapeDtypeStruct((2, height, width, channels), jnp.float32)
        return jax.eval_shape(model.apply, variables, x).shape

    return model, logits


def test_every_network_has_its_sizes():
    assert ANY.keys() | SOME.keys() == set(models.names())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in sorted(ANY)]
)
def test_any_size_from_the_smallest_on(name):
    _, logits = abstract(name)
    smallest, own = ANY[name], models.network(name).input_shape[0]
    for side in (smallest, smallest + 1, own - 1, own + 1, 2 * own):
        assert logits(side, side) == (2, 7), side
    assert logits(smallest, own + 3) == (2, 7)
    with pytest.raises(ValueError, match=r"\d"):
        logits(smallest - 1, own)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n == "airbench95" else ()) for n in sorted(SOME)],
)
def test_some_sizes_alone(name):
    """Others are refused: by a layer that they do not fit, or by the FC, which names its own."""
    _, logits = abstract(name)
    low, high = SOME[name]
    for side in {low, high}:
        assert logits(side, side) == (2, 7), side
    refused = 0
    for sides in ((low - 1, low - 1), (high + 1, low), (low, high + 4), (high, 2 * high)):
        with pytest.raises(DoesNotFit) as caught:
            logits(*sides)
        told = f"{low} pixels a side" if low == high else f"{low} to {high} pixels a side"
        refused += f"; images of {told} give it" in str(caught.value)
    assert refused or name == "alexnet_two_groups"


@pytest.mark.parametrize("name", [*QUICK, *SOME])
def test_another_depth(name):
    _, logits = abstract(name)
    height, width, channels = models.network(name).input_shape
    for other in (channels + 1, 2 * channels):
        with pytest.raises(ValueError, match=rf"{channels}|{other}"):
            logits(height, width, other)


@st.composite
def images(draw, names):
    """A network, and an image about the sizes that it takes, or any; seldom of another depth."""
    name = draw(st.sampled_from(sorted(names)))
    own, _, channels = models.network(name).input_shape
    low, high = SOME.get(name, (ANY.get(name), 2 * own))
    near = [low - 1, low, low + 1, own - 1, own, own + 1, high - 1, high, high + 1, 2 * own]
    side = st.sampled_from(near) | st.integers(0, 2 * own)
    depth = st.sampled_from([channels] * 9 + [1, 2, 3, 4, 2 * channels])
    return name, draw(side), draw(side), draw(depth)


def check_image(case):
    """The logits' shape where its family says that it takes the image; else sizes are named."""
    name, height, width, channels = case
    _, logits = abstract(name)
    low, high = SOME.get(name, (ANY.get(name), 10_000))
    takes = low <= min(height, width) <= max(height, width) <= high
    if takes and channels == models.network(name).input_shape[2]:
        assert logits(height, width, channels) == (2, 7)
        return
    with pytest.raises(ValueError, match=r"\d") as caught:
        logits(height, width, channels)
    assert not isinstance(caught.value, UnicodeError)


@settings(deadline=None, max_examples=50)
@given(images({*QUICK, *SOME} - {"airbench95"}))
def test_images(case):
    check_image(case)


@pytest.mark.slow
@settings(deadline=None, max_examples=600)
@given(images(ANY.keys() | SOME.keys()))
def test_many_images(case):
    check_image(case)


class TestSaid:
    def test_all_of_it(self):
        """The layer, its input, what the weights are for, and the images that give it."""
        _, logits = abstract("zfnet")
        with pytest.raises(DoesNotFit) as caught:
            logits(256, 224)
        assert str(caught.value).splitlines()[0] == (
            "column 157: FC-4096 does not fit its input [7x6x256]: fc1's weights were made for "
            "6x6x256, not 7x6x256; images of 213 to 244 pixels a side give it"
        )

    def test_as_many_numbers_in_another_order(self):
        """4x9 numbers are as many as 6x6."""
        model = models.pattern("INPUT -> CONV3-2 -> POOL2 -> FC-3")
        variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 12, 12, 1)))
        with pytest.raises(
            DoesNotFit, match="made for 6x6x2, not 4x9x2; images of 12 pixels a side"
        ):
            model.apply(variables, jnp.zeros((1, 8, 18, 1)))

    @pytest.mark.parametrize(
        ("text", "fit", "image", "other", "said"),
        [
            ("INPUT -> FC-2", "error", (4, 6), (6, 4), "4 by 6 pixels"),
            ("INPUT -> CONV3-2/2 -> FC-2", "crop", (8, 9), (12, 12), "7 to 8 by 9 to 10 pixels"),
            ("INPUT -> CONV3-2/2p0 -> FC-2", "pad", (8, 8), (12, 12), "8 to 9"),
            (
                "INPUT -> POOL3/3 -> POOL2 -> FC-2",
                "crop",
                (6, 6),
                (12, 12),
                "6 to 11 pixels a side",
            ),
            ("INPUT -> WHITEN2 -> FC-2", "error", (6, 6), (7, 7), "6"),
            (
                "INPUT -> SUB2 -> LOCAL3-2/2 -> FC-2",
                "error",
                (10, 10),
                (14, 14),
                "10 pixels a side",
            ),
            (
                "INPUT -> LOCAL3-2/2 -> GAP -> FC-2",
                "crop",
                (8, 8),
                (12, 12),
                "7 to 8 pixels a side",
            ),
        ],
    )
    def test_images_that_give_it(self, text, fit, image, other, said):
        model = models.pattern(text, fit=fit)
        shapes = [jax.ShapeDtypeStruct((1, *sides, 1), jnp.float32) for sides in (image, other)]
        variables = jax.eval_shape(model.init, jax.random.key(0), shapes[0])
        with pytest.raises(DoesNotFit, match=f"; images of {said}( pixels a side)? give it\n"):
            jax.eval_shape(model.apply, variables, shapes[1])

    def test_many_apart(self):
        layers = [nn.AvgPool(2, 2, fit="error"), nn.MaxPool(8, 8)]
        error = nn.OtherSize("", (3, 3))
        assert hint(error, layers) == "; images of 48, 50, 52, ... or 62 pixels a side give it"
        assert hint(error, [nn.AvgPool(2, 2), nn.AvgPool(2, 2)]) == (
            "; images of 12 to 15 pixels a side give it"
        )

    def test_nothing_where_there_is_nothing_to_say(self):
        assert hint(ValueError("6x6"), []) == ""
        assert hint(nn.OtherSize("no map", None), []) == ""
        even = [nn.LocalConv(1, 1, 2, fit="error"), nn.Conv(1, 4, padding=1)]
        assert hint(nn.OtherSize("", (5000, 2)), even) == ""

    def test_a_net_inside_another(self):
        _, logits = abstract("airbench94")
        with pytest.raises(DoesNotFit, match=r"body/fc1's weights .* of 25 to 48 pixels a side"):
            logits(64, 32)


class TestAuxiliaryHeads:
    def train(self, name, side):
        model = models.create(name, aux=0.3, classes=7)
        image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), image)

        def step(variables, x):
            mutable, rngs = ["batch_stats", "aux_logits"], {"dropout": jax.random.key(0)}
            return model.apply(variables, x, train=True, mutable=mutable, rngs=rngs)

        x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
        return jax.eval_shape(step, variables, x)[1]["aux_logits"]["aux1"]["logits"][0][1].shape

    @pytest.mark.parametrize("side", [64, pytest.param(300, marks=pytest.mark.slow)])
    def test_torchvisions_take_any_size(self, side):
        assert self.train("googlenet_bn", side) == (2, 7)

    @pytest.mark.parametrize("side", [222, pytest.param(271, marks=pytest.mark.slow)])
    def test_the_papers_do_not(self, side):
        message = (
            "aux1/fc1's weights were made for 4x4x128, not .*; images of 223 to 270 pixels a side"
        )
        with pytest.raises(nn.OtherSize, match=message):
            self.train("googlenet", side)
        assert self.train("googlenet", side + (1 if side < 224 else -1)) == (2, 7)


class TestNativeSize:
    """Where the source's own image is given nothing is averaged, and nothing changes."""

    @pytest.mark.parametrize("name", ["alexnet", "vgg11"])
    def test_nothing_is_added(self, name):
        model = models.create(name)
        plain = models.Pattern(
            model.text,
            tuple(
                step._replace(options=tuple(o for o in step.options if o[0] != "pooled_to"))
                for step in model.steps
            ),
        )
        image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        made = [jax.eval_shape(each.init, jax.random.key(0), image) for each in (model, plain)]
        assert made[0] == made[1]
        programs = [str(jax.make_jaxpr(each.apply)(made[0], image)) for each in (model, plain)]
        assert programs[0] == programs[1]
        assert cnnlab.summarize(model, (224, 224, 3)) == cnnlab.summarize(plain, (224, 224, 3))

    def test_a_head_that_pools_by_itself_needs_none(self):
        steps = models.create("vgg16", head="gap").steps
        assert not any("pooled_to" in dict(step.options) for step in steps)

    def test_other_sizes_have_as_many_weights(self):
        for shape in ((63, 100, 3), (224, 224, 3), (300, 230, 3)):
            assert cnnlab.summarize(models.create("alexnet"), shape).params == 61_100_840


def test_an_image_without_pixels():
    for name in ("alexnet", "resnet18", "mlp", "lenet5"):
        _, logits = abstract(name)
        channels = models.network(name).input_shape[-1]
        for sides in ((0, 32), (32, 0)):
            with pytest.raises(ValueError, match=r"got 0|not 0x|not 32x0"):
                logits(*sides, channels)


def test_weights_of_the_averaged_map_are_those_of_numpy():
    """A net as torchvision's, small: the FC sees means of uneven windows, in H, W, C order."""
    from cnnlab.models.adaptive import pooled_before_fc

    model = pooled_before_fc(models.pattern("INPUT -> CONV1-2 -> FC-3", fit="crop"), 2)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
    x = np.arange(15.0, dtype=np.float32).reshape(1, 3, 5, 1)
    conv, fc = variables["params"]["conv1"], variables["params"]["fc1"]
    y = x @ np.asarray(conv["kernel"][0, 0]) + conv["bias"]
    rows, columns = ((0, 2), (1, 3)), ((0, 3), (2, 5))
    pooled = [y[0, a:b, c:d].mean((0, 1)) for a, b in rows for c, d in columns]
    expected = np.concatenate(pooled) @ fc["kernel"] + fc["bias"]
    np.testing.assert_allclose(model.apply(variables, jnp.asarray(x))[0], expected, rtol=1e-4)
