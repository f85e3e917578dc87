"""The pattern language: what is built, and what is said where nothing can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models, nn
from cnnlab.geometry import DoesNotFit
from cnnlab.models import PatternError, pattern

LAYERS = (
    "AVGPOOL, BN, CONV, DROP, FC, GAP, GELU, L2POOL, LOCAL, LRN, POOL, RELU, SUB, TANH, WHITEN, ["
)


def one(text, **options):
    (layer,) = pattern(f"INPUT -> {text}", **options).layers
    return layer


def notations(text, **options):
    return " ".join(layer.notation for layer in pattern(text, **options).layers)


def shapes(text, size=32, **options):
    rows = cnnlab.summarize(pattern(text, classes=10, **options), (size, size, 3)).rows
    return [row.shape for row in rows]


class TestLayers:
    @pytest.mark.parametrize(
        ("text", "kind", "numbers"),
        [
            ("CONV3-32", nn.Conv, {"filters": 32, "kernel_size": 3, "stride": 1, "pixels": (1, 1)}),
            ("CONV7-8/2", nn.Conv, {"filters": 8, "kernel_size": 7, "stride": 2, "pixels": (3, 3)}),
            ("CONV5-4/3p0", nn.Conv, {"kernel_size": 5, "stride": 3, "pixels": 0}),
            ("CONV4-4p12", nn.Conv, {"kernel_size": 4, "stride": 1, "pixels": 12}),
            ("LOCAL3-6", nn.LocalConv, {"filters": 6, "kernel_size": 3, "pixels": (1, 1)}),
            ("LOCAL5-6/2p1", nn.LocalConv, {"kernel_size": 5, "stride": 2, "pixels": 1}),
            ("POOL", nn.MaxPool, {"kernel_size": 2, "stride": None, "padding": 0}),
            ("POOL3", nn.MaxPool, {"kernel_size": 3, "stride": None}),
            ("POOL3/2p1", nn.MaxPool, {"kernel_size": 3, "stride": 2, "padding": 1}),
            ("AVGPOOL8", nn.AvgPool, {"kernel_size": 8}),
            ("L2POOL2/1", nn.L2Pool, {"kernel_size": 2, "stride": 1}),
            ("BN", nn.BatchNorm, {}),
            ("RELU", nn.ReLU, {}),
            ("LRN", nn.LocalResponseNorm, {}),
            ("GAP", nn.GlobalAvgPool, {}),
            ("DROP0.25", nn.Dropout, {"rate": 0.25}),
            ("DROP0", nn.Dropout, {"rate": 0.0}),
            ("FC-512", nn.Dense, {"features": 512}),
            ("FC", nn.Dense, {"features": 7}),
        ],
    )
    def test_each_construct(self, text, kind, numbers):
        layer = one(text, classes=7)
        assert type(layer) is kind
        assert {name: getattr(layer, name) for name in numbers} == numbers

    def test_fit_and_dtype_reach_the_layers(self):
        layers = pattern(
            "INPUT -> CONV3-4 -> LOCAL3-4 -> POOL -> SUB -> FC-2", fit="pad", dtype=jnp.bfloat16
        ).layers
        assert [layer.fit for layer in layers[:4]] == ["pad"] * 4
        assert {layer.dtype for layer in (*layers[:2], layers[4])} == {jnp.bfloat16}
        assert {one(text).fit for text in ("CONV3-4", "LOCAL3-4", "POOL", "SUB")} == {"error"}

    def test_no_bias_before_a_batch_norm_and_one_elsewhere(self):
        text = "INPUT -> CONV3-4 -> BN -> LOCAL3-4 -> BN -> CONV3-4 -> RELU -> BN -> FC-4 -> BN"
        model = pattern(f"{text} -> LOCAL3-4 -> FC-2 -> FC-3")
        weighted = [layer for layer in model.layers if hasattr(layer, "use_bias")]
        assert [layer.use_bias for layer in weighted] == [
            False,
            False,
            True,
            False,
            True,
            True,
            True,
        ]

    def test_bias_is_decided_across_repeats(self):
        """The last layer of one round stands right before the first of the next."""
        layers = pattern("INPUT -> [BN -> RELU -> CONV3-4]*2").layers
        assert [layers[i].use_bias for i in (2, 5)] == [False, True]
        (conv, *_) = pattern("INPUT -> CONV3-4 -> POOL? -> BN", pool=False).layers
        assert not conv.use_bias

    def test_white_space_is_free(self):
        spread = "  INPUT->[ CONV3-4 ->\n\tRELU ] * 2 -> FC-3 "
        assert notations(spread) == "CONV3-4 RELU CONV3-4 RELU FC-3"


class TestRepeats:
    def test_nested(self):
        text = "INPUT -> [[CONV3-4 -> RELU]*2 -> POOL2]*2 -> GAP"
        assert notations(text) == " ".join(["CONV3-4 RELU CONV3-4 RELU POOL2"] * 2 + ["GAP"])

    def test_none_at_all(self):
        assert notations("INPUT -> [CONV3-4 -> RELU]*0 -> FC-2") == "FC-2"
        assert notations("INPUT -> [CONV3-4]*0") == ""

    def test_a_bracket_without_a_number_is_once(self):
        assert notations("INPUT -> [CONV3-4 -> RELU] -> FC-2") == "CONV3-4 RELU FC-2"

    def test_widths_grow_with_the_outermost_round(self):
        text = "INPUT -> [[CONV3-16*2^i -> RELU]*2 -> CONV1-3*10^i]*3"
        rounds = [
            "CONV3-{0} RELU CONV3-{0} RELU CONV1-{1}".format(16 * 2**i, 3 * 10**i) for i in range(3)
        ]
        assert notations(text) == " ".join(rounds)

    def test_a_bare_bracket_counts_no_rounds(self):
        assert notations("INPUT -> [[FC-2*3^i]*3]") == "FC-2 FC-6 FC-18"

    def test_optional_pooling(self):
        text = "INPUT -> [CONV3-4 -> POOL2? -> AVGPOOL3/2p1?]*2 -> POOL2"
        once = "CONV3-4 POOL2 AVGPOOL3/2p1"
        assert notations(text) == f"{once} {once} POOL2"
        assert notations(text, pool=False) == "CONV3-4 CONV3-4 POOL2"


class TestPatternsOfTheNotes:
    """A20: N0, "Layer Patterns", with the numbers the notes leave out."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("INPUT -> FC", [(10,)]),
            ("INPUT -> CONV3-8 -> RELU -> FC", [(32, 32, 8)] * 2 + [(10,)]),
            (
                "INPUT -> [CONV5-8 -> RELU -> POOL] * 2 -> FC-20 -> RELU -> FC",
                [(32, 32, 8)] * 2 + [(16, 16, 8)] * 3 + [(8, 8, 8)] + [(20,)] * 2 + [(10,)],
            ),
            (
                "INPUT -> [CONV3-4 -> RELU -> CONV3-4 -> RELU -> POOL] * 3"
                " -> [FC-20 -> RELU] * 2 -> FC",
                [(32, 32, 4)] * 4
                + [(16, 16, 4)] * 5
                + [(8, 8, 4)] * 5
                + [(4, 4, 4)]
                + [(20,)] * 4
                + [(10,)],
            ),
        ],
    )
    def test_shapes(self, text, expected):
        assert shapes(text) == [(32, 32, 3), *expected]

    def test_the_general_form_with_none_of_it(self):
        text = "INPUT -> [[CONV3-8 -> RELU]*{n} -> POOL?]*{m} -> [FC-9 -> RELU]*{k} -> FC"
        nothing = text.format(n=0, m=0, k=0)
        assert notations(nothing, classes=10) == "FC-10"
        everything = notations(text.format(n=2, m=2, k=1), classes=10)
        assert everything == "CONV3-8 RELU CONV3-8 RELU POOL2 " * 2 + "FC-9 RELU FC-10"

    def test_input_to_fc_is_the_linear_classifier(self):
        model = pattern("INPUT -> FC", classes=10)
        rng = np.random.default_rng(0)
        x, w, b = (rng.normal(size=size) for size in ((4, 6, 6, 3), (108, 10), 10))
        made = jax.eval_shape(model.init, jax.random.key(0), x)
        variables = jax.tree.unflatten(jax.tree.structure(made), [b, w])
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, made)
        scores = jax.jit(model.apply)(variables, np.float32(x))
        np.testing.assert_allclose(scores, x.reshape(4, 108) @ w + b, rtol=1e-4, atol=1e-4)


class TestDoesNotParse:
    @pytest.mark.parametrize(
        ("text", "column", "words"),
        [
            ("", 1, "found the end, where could stand: INPUT"),
            ("INPUT", 6, "found the end, where could stand: ->"),
            ("INPUT ->", 9, f"found the end, where could stand: {LAYERS}"),
            ("CONV3-8 -> FC", 1, "found 'C', where could stand: INPUT"),
            ("input -> FC", 1, "found 'i', where could stand: INPUT; nearest to 'input': INPUT"),
            ("INPUT -> CNV3-32", 10, f"where could stand: {LAYERS}; nearest to 'CNV': CONV"),
            ("INPUT -> conv3-8 -> FC", 10, "nearest to 'conv': CONV"),
            ("INPUT -> RELU -> MAXPOOL2/3p1", 18, "nearest to 'MAXPOOL': POOL"),
            ("INPUT -> CONV3", 15, "found the end, where could stand: -"),
            ("INPUT -> CONV3-", 16, "found the end, where could stand: a whole number from 1"),
            ("INPUT -> CONV-8", 14, "found '-', where could stand: a whole number from 1"),
            ("INPUT -> CONV3x3-8", 15, "found 'x', where could stand: -"),
            ("INPUT -> CONV0-8", 14, "found '0', where could stand: a whole number from 1"),
            ("INPUT -> CONV3-0", 16, "found '0', where could stand: a whole number from 1"),
            ("INPUT -> POOL2/0", 16, "found '0', where could stand: a whole number from 1"),
            ("INPUT -> FC-0", 13, "found '0', where could stand: a whole number from 1"),
            ("INPUT -> CONV3-8/2x", 19, "found 'x', where could stand: ->, g, p, the end"),
            ("INPUT -> CONV3-8p1/2", 19, "found '/', where could stand: ->, g, the end"),
            ("INPUT -> CONV3-8 RELU", 18, "found 'R', where could stand: *, ->, /, g, p, the end"),
            ("INPUT CONV3-8", 7, "found 'C', where could stand: ->"),
            ("INPUT > FC", 7, "found '>', where could stand: ->"),
            ("INPUT -> CONV3-8 -> ", 21, f"found the end, where could stand: {LAYERS}"),
            ("INPUT -> [CONV3-8 -> RELU", 26, "found the end, where could stand: ->, ]"),
            (
                "INPUT -> CONV3-8] -> FC",
                17,
                "found ']', where could stand: *, ->, /, g, p, the end",
            ),
            ("INPUT -> []", 11, f"found ']', where could stand: {LAYERS}"),
            ("INPUT -> [RELU]* -> FC", 18, "found '-', where could stand: a whole number"),
            ("INPUT -> DROP1.5", 14, "a dropout rate is a fraction in [0, 1), not 1.5"),
            ("INPUT -> DROP", 14, "found the end, where could stand: a number"),
            ("INPUT -> RELU -> FC", 18, "a bare FC needs classes=<number>"),
            ("INPUT -> CONV3-8*2^i", 20, "i counts the rounds of a [...]*n around it"),
            ("INPUT -> [FC-8*2^j]*2", 18, "found 'j', where could stand: i"),
            ("INPUT ->\n CNV3-8", 11, "nearest to 'CNV': CONV"),
        ],
    )
    def test_position_and_choices(self, text, column, words):
        with pytest.raises(PatternError) as caught:
            pattern(text)
        reason, line, caret = str(caught.value).split("\n")
        assert reason.startswith(f"column {column}: ")
        assert reason.endswith(words) or words in reason.split(": ", 1)[1].split("; ")[0]
        assert line == "  " + text.replace("\n", " ")
        assert caret == " " * (column + 1) + "^"

    def test_is_a_value_error(self):
        with pytest.raises(ValueError, match="column 1"):
            models.pattern("FC")


class TestNames:
    def test_kind_and_count(self):
        """Parameters are found by what they are: conv1, conv2, ..., not by their place."""
        text = "INPUT -> [CONV3-2 -> BN -> RELU]*2 -> AVGPOOL2 -> POOL2 -> LOCAL1-2 -> FC-3 -> FC"
        model = pattern(text, classes=2)
        assert " ".join(step.name for step in model.steps) == (
            "conv1 bn1 relu1 conv2 bn2 relu2 pool1 pool2 local1 fc1 fc2"
        )
        image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
        weighted = {"conv1", "bn1", "conv2", "bn2", "local1", "fc1", "fc2"}
        assert set(variables["params"]) == weighted
        assert sorted(variables["batch_stats"]) == ["bn1", "bn2"]

    def test_one_pattern_is_one_value(self):
        """Equal and hashable, as jit's static arguments must be."""
        text = "INPUT -> CONV3-2 -> BN -> FC"
        assert pattern(text, classes=2) == pattern(text, classes=2) != pattern(text, classes=3)
        assert len({pattern(text, classes=2), pattern(text, classes=2)}) == 1


class TestDoesNotFit:
    def test_names_layer_position_and_reason(self):
        text = "INPUT -> CONV3-8 -> POOL3/2 -> FC-2"
        with pytest.raises(DoesNotFit) as caught:
            shapes(text)
        reason, line, caret = str(caught.value).split("\n")
        assert reason.startswith("column 21: POOL3/2 does not fit its input [32x32x8]: ")
        assert "(32-3+2*0)/2+1 = 15.5" in reason
        assert (line, caret) == (f"  {text}", " " * 22 + "^")

    def test_the_layer_at_fault_in_a_repeat(self):
        with pytest.raises(DoesNotFit, match=r"column 23: POOL2 does not fit its input \[7x7x2\]"):
            shapes("INPUT -> [CONV3-2  -> POOL2]*3 -> FC", size=28)

    def test_an_even_filter_needs_its_padding_written(self):
        with pytest.raises(DoesNotFit, match=r"column 10: CONV2-4 .* even filter"):
            shapes("INPUT -> CONV2-4")
        assert shapes("INPUT -> CONV2-4p0")[-1] == (31, 31, 4)

    def test_crop_and_pad(self):
        text = "INPUT -> POOL3/2 -> CONV4-2/3p0 -> LOCAL2-2/2p0"
        assert shapes(text, fit="crop") == [(32, 32, 3), (15, 15, 3), (4, 4, 2), (2, 2, 2)]
        assert shapes(text, fit="pad") == [(32, 32, 3), (16, 16, 3), (5, 5, 2), (3, 3, 2)]

    def test_subsampling(self):
        with pytest.raises(DoesNotFit, match=r"column 10: SUB2 does not fit its input \[5x5x3\]"):
            shapes("INPUT -> SUB2", size=5)
        assert shapes("INPUT -> SUB2", size=5, fit="crop")[-1] == (2, 2, 3)
        assert shapes("INPUT -> SUB2", size=5, fit="pad")[-1] == (3, 3, 3)

    @pytest.mark.usefixtures("untyped")
    def test_a_convolution_of_no_image(self):
        with pytest.raises(DoesNotFit, match=r"column 17: CONV3-4 does not fit its input \[3\]: "):
            shapes("INPUT -> GAP -> CONV3-4")


def test_groups():
    """The two towers of AlexNet: each half of the filters sees half of the channels."""
    layer = one("CONV5-256/2p2g2", classes=2)
    assert (layer.stride, layer.padding, layer.groups) == (2, 2, 2)
    assert layer.notation == "CONV5-256/2p2g2"
    assert cnnlab.summarize(layer, (27, 27, 96)).rows[-1].weights == 5 * 5 * 48 * 256


def test_subsampling_scales_each_map():
    """S2 of LeNet-5: two parameters a map (LeCun et al. 1998, sec. II B)."""
    model = pattern("INPUT -> SUB2 -> TANH")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    scale, bias = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 1.0])
    y = model.apply({"params": {"sub1": {"scale": scale, "bias": bias}}}, x)
    means = np.asarray(x).reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(y, np.tanh(means * scale + bias), rtol=1e-5)
