"""The layer table against the tables and counts of the notes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import cnnlab
from cnnlab import models, nn
from cnnlab.analysis.trace import layer_calls
from cnnlab.geometry import DoesNotFit, ReceptiveField

VGG = (
    "INPUT -> [CONV3-64*2^i -> RELU -> CONV3-64*2^i -> RELU -> POOL2]*2"
    " -> [CONV3-256*2^i -> RELU -> CONV3-256*2^i -> RELU -> CONV3-256*2^i -> RELU -> POOL2]*2"
    " -> [CONV3-512 -> RELU]*3 -> POOL2 -> [FC-4096 -> RELU -> DROP0.5]*2 -> FC"
)

# N0, "VGGNet in detail": layer, output, numbers in memory, weights as written there.
VGG_TABLE = [
    ("INPUT", (224, 224, 3), 224 * 224 * 3, 0),
    ("CONV3-64", (224, 224, 64), 224 * 224 * 64, 1_728),
    ("CONV3-64", (224, 224, 64), 224 * 224 * 64, 36_864),
    ("POOL2", (112, 112, 64), 112 * 112 * 64, 0),
    ("CONV3-128", (112, 112, 128), 112 * 112 * 128, 73_728),
    ("CONV3-128", (112, 112, 128), 112 * 112 * 128, 147_456),
    ("POOL2", (56, 56, 128), 56 * 56 * 128, 0),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 294_912),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 589_824),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 589_824),
    ("POOL2", (28, 28, 256), 28 * 28 * 256, 0),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 1_179_648),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 2_359_296),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 2_359_296),
    ("POOL2", (14, 14, 512), 14 * 14 * 512, 0),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("POOL2", (7, 7, 512), 7 * 7 * 512, 0),
    ("FC-4096", (4096,), 4096, 102_760_448),
    ("FC-4096", (4096,), 4096, 16_777_216),
    ("FC-1000", (1000,), 1000, 4_096_000),
]


@pytest.fixture(scope="module")
def vgg():
    return cnnlab.summarize(models.pattern(VGG, classes=1000), (224, 224, 3))


def summarize(text, *shape, **options):
    return cnnlab.summarize(models.pattern(text, **options), shape)


class TestVgg:
    """A11 and A12."""

    def test_table_of_the_note(self, vgg):
        in_place = ("RELU", "DROP0.5")
        rows = [row for row in vgg.rows if row.notation not in in_place]
        table = [(row.notation, row.shape, row.activations, row.weights) for row in rows]
        assert table == VGG_TABLE
        assert all(
            (row.weights, row.biases, row.activations, row.macs) == (0, 0, 0, 0)
            for row in vgg.rows
            if row.notation in in_place
        )

    def test_totals(self, vgg):
        biases = 2 * (64 + 128) + 3 * (256 + 512 + 512) + 2 * 4096 + 1000
        assert sum(row.biases for row in vgg.rows) == biases
        assert vgg.params == sum(row[-1] for row in VGG_TABLE) + biases == 138_357_544
        assert vgg.activations == sum(row[2] for row in VGG_TABLE) == 15_237_608  # not 24M
        assert vgg.macs == 15_470_264_320
        assert vgg.receptive_field == ReceptiveField(212, 32)

    def test_where_the_weights_and_the_memory_are(self, vgg):
        """N0: most parameters in the first FC layer, most memory in the first CONV layers."""
        assert max(vgg.rows, key=lambda row: row.weights).shape == (4096,)
        early = sum(row.activations for row in vgg.rows if row.shape[:1] == (224,))
        assert early > 0.4 * vgg.activations

    def test_allocates_nothing(self):
        """138 million parameters, and not one array on the device."""
        before = {id(array) for array in jax.live_arrays()}
        cnnlab.summarize(models.pattern(VGG, classes=1000), (224, 224, 3))
        assert not [array for array in jax.live_arrays() if id(array) not in before]

    def test_printed(self, vgg):
        heads, rule, *lines = str(vgg).splitlines()
        assert " ".join(heads.split()) == "name layer output activations parameters MACs sees"
        assert set(rule) == {"-", " "}
        assert lines[0].split() == ["INPUT", "224x224x3", "150,528", "0", "0", "1"]
        first, last = (" ".join(lines[i].split()) for i in (1, -2))
        assert first == "conv1 CONV3-64 224x224x64 3,211,264 1,792 86,704,128 3"
        assert last == "fc3 FC-1000 1000 1,000 4,097,000 4,096,000 all"
        assert lines[-1].split() == ["total", "15,237,608", "138,357,544", "15,470,264,320"]
        assert len(lines) == len(vgg.rows) + 1

    def test_shares(self, vgg):
        """N0: of 140M parameters 100M are in the first FC layer."""
        frame = vgg.to_frame().set_index("path")
        assert frame.loc["fc1", "weights_share"] == 102_760_448 / 138_344_128
        assert frame.loc["conv1", "activations_share"] == 3_211_264 / 15_237_608
        assert frame.loc["conv2", "macs_share"] == 224 * 224 * 36_864 / 15_470_264_320
        for name in ("activations", "weights", "macs"):
            assert frame[f"{name}_share"].sum() == pytest.approx(1)
            assert frame[name].sum() == sum(getattr(row, name) for row in vgg.rows)
        assert "74.3%" in vgg.table(columns=["path", "weights_share"])


class TestCountsOfTheNotes:
    @pytest.mark.parametrize("c", [3, 16])
    def test_stack_against_one(self, c):
        """A10: 27 C^2 against 49 C^2."""
        stack = summarize(f"INPUT -> [CONV3-{c}]*3", 9, 9, c)
        single = summarize(f"INPUT -> CONV7-{c}", 9, 9, c)
        assert sum(row.weights for row in stack.rows) == 27 * c**2
        assert sum(row.weights for row in single.rows) == 49 * c**2
        assert stack.receptive_field == single.receptive_field
        assert stack.activations == single.activations + 2 * 9 * 9 * c

    def test_ten_5x5_filters(self):
        """A7, and A23: (F*F*D1)*K weights, K biases, a depth of K."""
        summary = summarize("INPUT -> CONV5-10", 32, 32, 3)
        row = summary.rows[-1]
        assert (row.shape, row.weights, row.biases) == ((32, 32, 10), 5 * 5 * 3 * 10, 10)
        assert summary.params == 760
        assert row.macs == 32 * 32 * 750

    def test_three_3x3x64_on_224(self):
        """A13: N1's "10M activations, 72MB with gradients" are 9.63M and 77.1 MB."""
        summary = summarize("INPUT -> [CONV3-64]*3", 224, 224, 3)
        layers = sum(row.activations for row in summary.rows[1:])
        assert layers == 9_633_792
        assert round(2 * 4 * layers / 1e6, 1) == 77.1

    def test_fully_connected_neuron(self):
        """A1 and A2."""
        for shape, weights in (((32, 32, 3), 3_072), ((200, 200, 3), 120_000)):
            assert summarize("INPUT -> FC-1", *shape).rows[1].weights == weights
        assert summarize("INPUT -> CONV3-1", 16, 16, 20).rows[1].weights == 180

    def test_pooling_has_no_parameters_and_keeps_depth(self):
        """A9 and A18."""
        for symbol in ("POOL", "AVGPOOL", "L2POOL"):
            _, row = summarize(f"INPUT -> {symbol}2", 32, 32, 5).rows
            assert (row.shape, row.weights, row.biases, row.macs) == ((16, 16, 5), 0, 0, 0)
            assert row.activations == 32 * 32 * 5 // 4

    def test_unshared_filters(self):
        """N2: a filter and a bias of its own at each of 55x55 positions (AlexNet's first layer)."""
        _, row = summarize("INPUT -> LOCAL11-96/4p0", 227, 227, 3).rows
        assert row.shape == (55, 55, 96)
        assert row.weights == row.macs == 55 * 55 * 96 * 11 * 11 * 3
        assert row.biases == 55 * 55 * 96

    def test_every_kind_of_row(self):
        text = "INPUT -> CONV3-4/2p1 -> BN -> RELU -> LRN -> DROP0.5 -> GAP -> FC-3"
        rows = summarize(text, 9, 9, 2).rows
        assert " -> ".join(row.notation for row in rows).replace("p1", "") == text.replace("p1", "")
        counts = {
            row.notation: (row.weights, row.biases, row.activations, row.macs) for row in rows
        }
        assert counts == {
            "INPUT": (0, 0, 162, 0),
            "CONV3-4/2p1": (72, 0, 100, 72 * 25),
            "BN": (4, 4, 0, 0),
            "RELU": (0, 0, 0, 0),
            "LRN": (0, 0, 0, 0),
            "DROP0.5": (0, 0, 0, 0),
            "GAP": (0, 0, 4, 0),
            "FC-3": (12, 3, 3, 12),
        }


class TestResNet20:
    def test_totals(self):
        summary = cnnlab.summarize(models.create("resnet20"), (32, 32, 3))
        assert (summary.params, summary.macs) == (269_722, 40_551_040)
        assert summary.receptive_field == ReceptiveField(81, 4)
        notations = [row.notation for row in summary.rows]
        assert notations.count("CONV3-16") == 7
        assert [notations.count(f"CONV3-{k}/2") for k in (32, 64)] == [1, 1]
        assert notations[-2:] == ["GAP", "FC-10"]

    def test_identity_shortcuts_add_no_parameters(self):
        """A21: the plain net of the same depth, written as a pattern, has as many."""
        stage = "[CONV3-{0} -> BN -> RELU]*"
        plain = (
            f"INPUT -> {stage.format(16)}7 -> CONV3-32/2 -> BN -> RELU -> {stage.format(32)}5"
            f" -> CONV3-64/2 -> BN -> RELU -> {stage.format(64)}5 -> GAP -> FC-10"
        )
        summary = summarize(plain, 32, 32, 3, fit="crop")
        assert (summary.params, summary.macs) == (269_722, 40_551_040)
        assert summary.receptive_field == ReceptiveField(81, 4)


def test_agrees_with_the_parameters_made():
    model = models.pattern(
        "INPUT -> CONV3-4/2 -> BN -> LOCAL3-4 -> RELU -> LRN -> POOL -> FC-6 -> FC",
        classes=3,
        fit="pad",
    )
    image = jax.ShapeDtypeStruct((2, 11, 11, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    made = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert cnnlab.summarize(model, (11, 11, 3)).params == made


def test_grouped_and_dilated():
    _, row = cnnlab.summarize(nn.Conv(8, 3, dilation=2, groups=2), (9, 9, 4)).rows
    assert (row.shape, row.weights, row.macs) == ((9, 9, 8), 9 * 2 * 8, 81 * 9 * 2 * 8)
    assert row.field == ReceptiveField(5, 1)


class TestRows:
    def test_paths_name_the_submodules(self):
        class Twice(linen.Module):
            @linen.compact
            def __call__(self, x, *, train=False):
                return nn.Dense(2, name="head")(nn.Conv(4, 3, name="stem")(x))

        rows = cnnlab.summarize(Twice(), (4, 4, 1)).rows
        assert [row.path for row in rows] == ["", "stem", "head"]

    def test_nested_paths(self):
        paths = [row.path for row in cnnlab.summarize(models.create("resnet20"), (32, 32, 3)).rows]
        assert paths[:5] == ["", "conv1", "bn1", "relu1", "stage1_block1/conv1"]
        assert len(set(paths)) == len(paths)

    def test_a_layer_called_again(self):
        """Its weights are there once, its work is done twice."""

        class Shared(linen.Module):
            @linen.compact
            def __call__(self, x, *, train=False):
                conv = nn.Conv(2, 3, name="conv")
                return conv(conv(x))

        summary = cnnlab.summarize(Shared(), (5, 5, 2))
        counts = [(row.path, row.weights, row.biases, row.macs) for row in summary.rows[1:]]
        assert counts == [("conv", 36, 2, 25 * 36), ("conv#2", 0, 0, 25 * 36)]
        assert (summary.params, summary.macs, summary.activations) == (38, 1800, 150)
        assert summary.receptive_field == ReceptiveField(5, 1)

    def test_a_layer_made_of_layers(self):
        """It is one row, with all that is in it."""

        class Pair(nn.Layer):
            notation = "PAIR"

            @linen.compact
            def __call__(self, x, *, train=False):
                return nn.Conv(3, 1, name="b")(nn.Conv(2, 3, name="a")(x))

        _, row = cnnlab.summarize(Pair(name="pair"), (5, 5, 2)).rows
        assert (row.path, row.notation, row.weights, row.biases) == ("pair", "PAIR", 42, 5)

    def test_a_layer_alone(self):
        _, row = cnnlab.summarize(nn.MaxPool(3, 2, padding=1), (9, 7, 4)).rows
        assert (row.path, row.notation, row.shape) == ("maxpool", "POOL3/2p1", (5, 4, 4))

    def test_windows(self):
        text = "INPUT -> CONV3-4 -> POOL3/2 -> CONV5-4/3p1 -> SUB2 -> AVGPOOL2 -> RELU -> FC-2"
        rows = summarize(text, 49, 49, 1, fit="crop").rows
        windows = [(row.kernel, row.stride, row.padding) for row in rows]
        nothing = (None, None, None)
        sizes = [(3, 1, 1), (3, 2, 0), (5, 3, 1), (2, 2, 0), (2, 2, 0)]
        assert windows == [nothing, *sizes, nothing, nothing]
        layer = nn.Conv(4, (1, 7), (2, 1), dilation=3)
        row = cnnlab.summarize(layer, (9, 40, 1)).rows[-1]
        assert (row.kernel, row.stride, row.padding) == ((1, 7), (2, 1), (0, 9))
        assert (row.weights, row.macs) == (28, 28 * 5 * 40)

    def test_window_without_a_stride(self):
        """A layer that has a kernel and no stride goes pixel by pixel."""

        class Blur(nn.Layer):
            kernel_size: int = 5
            notation = "BLUR"

            def __call__(self, x, *, train=False):
                return x

        row = cnnlab.summarize(Blur(), (8, 8, 1)).rows[-1]
        assert (row.kernel, row.stride, row.padding) == (5, 1, 0)

    def test_numpy_integers(self):
        model = models.pattern("INPUT -> CONV3-2")
        summary = cnnlab.summarize(model, tuple(np.array([4, 5, 3])))
        assert summary == cnnlab.summarize(model, (4, 5, 3))
        assert {type(size) for size in summary.rows[0].shape} == {int}

    def test_as_it_is_at_test_time(self):
        """GoogLeNet's auxiliary heads are there in training only."""
        plain, aux = (models.create("googlenet", aux=weight) for weight in (0.0, 0.3))
        shape = (64, 64, 3)
        assert cnnlab.summarize(aux, (80, 80, 3)).params == cnnlab.summarize(plain, shape).params


class Head(linen.Module):
    @linen.compact
    def __call__(self, x, *, train=False):
        return nn.MaxPool(5, 3, name="pool")(x)


class Pooled(linen.Module):
    @linen.compact
    def __call__(self, x, *, train=False):
        return Head(name="head")(nn.Conv(2, 3, name="conv")(x))


class TestRefused:
    @pytest.mark.parametrize(
        "shape",
        [(32, 32), (1, 32, 32, 3), (0, 4, 3), (4, -4, 3), (4, 4.0, 3), "443", 32, (4, 4, True)],
    )
    def test_no_image(self, shape):
        with pytest.raises(ValueError, match=r"\(height, width, channels\), whole numbers from 1"):
            cnnlab.summarize(models.pattern("INPUT -> FC-2"), shape)

    def test_no_module(self):
        with pytest.raises(TypeError, match=r"not 'vgg16'; cnnlab\.models\.create makes one"):
            cnnlab.summarize("vgg16", (32, 32, 3))
        with pytest.raises(TypeError, match=r"a Linen module, not <function"):
            cnnlab.summarize(models.create, (32, 32, 3))

    def test_parameters_outside_of_layers(self):
        class Scaled(linen.Module):
            @linen.compact
            def __call__(self, x, *, train=False):
                x = nn.Conv(2, 1, name="conv")(x)
                return linen.Dense(3, name="head")(
                    x * self.param("scale", linen.initializers.ones, (2,))
                )

        with pytest.raises(ValueError, match=r"are not: scale, head/kernel, head/bias"):
            cnnlab.summarize(Scaled(), (4, 4, 1))

    def test_does_not_fit(self):
        """A pattern points at the layer itself; nothing more is said of it."""
        with pytest.raises(DoesNotFit, match=r"^column 21: POOL3/2 [^:]*: [^:]*: the windows"):
            summarize("INPUT -> CONV3-4 -> POOL3/2", 32, 32, 3)

    def test_does_not_fit_what_is_no_pattern(self):
        """The layer at fault, by its path, once."""
        reason = r"\(W-F\+2P\)/S\+1 = \(3-5\+2\*0\)/3\+1 ="
        model, image = models.create("googlenet", aux=0.3), jnp.zeros((1, 64, 64, 3))
        layer = r"^aux1/pool: AVGPOOL5/3 does not fit its input \[4x4x512\]: "
        with pytest.raises(DoesNotFit, match=layer) as caught, layer_calls():
            jax.eval_shape(model.init, jax.random.key(0), image)
        assert str(caught.value).count("does not fit its input") == 1
        stem = r"^head/pool: POOL5/3 does not fit its input \[3x3x2\]: "
        with pytest.raises(DoesNotFit, match=stem + reason):
            cnnlab.summarize(Pooled(), (3, 3, 1))
        with pytest.raises(DoesNotFit, match=r"^maxpool: POOL5 "):
            cnnlab.summarize(nn.MaxPool(5), (3, 3, 1))
