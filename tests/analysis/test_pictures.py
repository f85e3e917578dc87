"""Pictures: the arrays against the network's own, and what is drawn against the arrays."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models
from cnnlab.analysis import pictures
from cnnlab.analysis.effective_field import effective_field
from cnnlab.analysis.lesion import Block
from cnnlab.analysis.pictures import NothingToShow

TEXT = "INPUT -> CONV3-12 -> RELU -> POOL2 -> CONV3-4 -> BN -> RELU -> DROP0.5 -> GAP -> FC-6"


def drawn(text, channels=3, number=3):
    model = models.pattern(text)
    random = np.random.default_rng(0)
    x = jnp.float32(random.normal(size=(number, 8, 8, channels)))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return model, jax.tree.map(lambda leaf: jnp.float32(random.uniform(-1, 1, leaf.shape)), shapes
                               ), x  # fmt: skip


@pytest.fixture(scope="module")
def net():
    model, variables, x = drawn(TEXT)
    return model, variables | {"batch_stats": jax.tree.map(jnp.abs, variables["batch_stats"])}, x


def texts(axes):
    return [text.get_text() for text in axes.texts]


class TestFilters:
    def test_colours_have_one_scale(self, net):
        picture = pictures.filters(*net)
        params = net[1]["params"]["conv1"]
        np.testing.assert_array_equal(picture.arrays["kernel"], params["kernel"])
        np.testing.assert_array_equal(picture.arrays["bias"], params["bias"])
        (axes,) = picture.figure.axes
        shown = np.stack([np.asarray(image.get_array()) for image in axes.images])
        kernel = np.moveaxis(np.asarray(params["kernel"]), 3, 0)
        np.testing.assert_allclose(shown, 0.5 + kernel / (2 * np.abs(kernel).max()), atol=1e-6)
        assert texts(axes) == [f"{bias:+.2f}" for bias in params["bias"]]
        assert axes.get_title().startswith("CONV3-12: ")

    def test_other_depths_side_by_side(self):
        model, variables, x = drawn("INPUT -> CONV3-4 -> BN -> FC-2", channels=2)
        picture = pictures.filters(model, variables, x)
        kernel = np.asarray(variables["params"]["conv1"]["kernel"])
        assert list(picture.arrays) == ["kernel"], "no bias before a BN"
        images = picture.figure.axes[0].images
        for k, image in enumerate(images):
            expected = np.concatenate([kernel[:, :, 0, k], kernel[:, :, 1, k]], axis=1)
            np.testing.assert_array_equal(image.get_array(), expected)
            assert image.get_clim() == pytest.approx((-abs(kernel).max(), abs(kernel).max()))

    def test_none(self):
        with pytest.raises(NothingToShow, match="no convolution"):
            pictures.filters(*drawn("INPUT -> FC-4 -> RELU -> FC-2"))
        with pytest.raises(NothingToShow, match="no convolution on the image"):
            pictures.filters(*drawn("INPUT -> LOCAL3-4 -> RELU -> CONV3-5 -> GAP -> FC-2"))


class TestActivations:
    def test_columns(self, net):
        picture = pictures.activations(*net, label=4, names=[f"class {i}" for i in range(6)])
        found = cnnlab.activations(*net)
        columns = ["conv1", "relu1", "pool1", "conv2", "relu2", "gap1"]
        assert list(picture.arrays) == [*columns, "probabilities"], "no BN, no DROP, no logits"
        for layer in columns:
            np.testing.assert_allclose(picture.arrays[layer], found[layer][0], atol=1e-5)
        image, *axes, best = picture.figure.axes
        assert image.get_title() == "INPUT\n8x8x3"
        assert [each.get_title() for each in axes] == [
            "CONV3-12", "RELU", "POOL2", "CONV3-4", "RELU", "GAP"
        ]  # fmt: skip
        assert [len(each.images) for each in axes] == [10, 10, 10, 4, 4, 4]
        third = axes[0].images[2].get_array()
        np.testing.assert_allclose(third, found["conv1"][0, :, :, 2], atol=1e-5)
        assert best.get_title() == "scores (label: class 4)"

    def test_named_layers_and_deep_nets(self, net):
        picture = pictures.activations(*net, layers=["bn1", "fc1"])
        assert list(picture.arrays) == ["bn1", "fc1", "probabilities"]
        with pytest.raises(ValueError, match=r"unknown layer: 'relu3'.*did you mean 'relu1'"):
            pictures.activations(*net, layers=["relu3"])
        deep = pictures.activations(*drawn("INPUT -> [CONV1-1 -> TANH]*10 -> GAP -> FC-2"))
        assert len(deep.arrays) == 18 + 1
        assert next(iter(deep.arrays)) == "conv1"
        assert list(deep.arrays)[-2] == "gap1"


class TestScores:
    names = ("ant", "bee", "cow", "dog", "elk", "$fox$")

    def test_best_five(self, net):
        model, variables, x = net
        picture = pictures.scores(*net, labels=[0, 1, 5], names=self.names)
        logits = np.asarray(model.apply(variables, x), float)
        expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(picture.arrays["probabilities"], expected, rtol=1e-4)
        images, bars = picture.figure.axes[::2], picture.figure.axes[1::2]
        assert [axes.get_title() for axes in images] == ["ant", "bee", r"\$fox\$"]
        for axes, each in zip(bars, expected, strict=True):
            best = np.argsort(-each)[:5]
            assert [bar.get_width() for bar in axes.patches] == pytest.approx(each[best], rel=1e-4)
            said = texts(axes)
            assert said[::2] == [self.names[i].replace("$", r"\$") for i in best]
            assert said[1::2] == [f"{each[i]:.0%}" for i in best]
        picture._repr_png_()  # `$fox$` is no formula, and drawn as it is

    def test_colours_tell_right_from_wrong(self, net):
        best, second = map(int, np.argsort(-np.asarray(net[0].apply(net[1], net[2]))[0])[:2])
        for label, colours in ((best, ["blue", "grey"]), (second, ["orange", "blue"])):
            picture = pictures.scores(*net[:2], net[2][:1], labels=[label])
            first = [bar.get_facecolor()[:3] for bar in picture.figure.axes[1].patches[:2]]
            kinds = {"blue": (0, 0.447, 0.698), "orange": (0.835, 0.369, 0), "grey": (0.498,) * 3}
            assert first == [pytest.approx(kinds[colour], abs=1e-3) for colour in colours]

    def test_names_must_be_as_many_as_classes(self, net):
        with pytest.raises(ValueError, match="2 names for 6 classes: ant, bee"):
            pictures.scores(*net, names=["ant", "bee"])


def test_receptive_field(net):
    picture = pictures.receptive_field(*net)
    assert list(picture.arrays) == ["relu1", "relu1 window", "drop1", "drop1 window"]
    np.testing.assert_array_equal(picture.arrays["relu1 window"], [3, 5, 3, 5])
    np.testing.assert_array_equal(picture.arrays["drop1 window"], [1, 8, 1, 8])
    field = effective_field(*net, "drop1")
    np.testing.assert_allclose(picture.arrays["drop1"], field, rtol=1e-5)
    below = picture.figure.axes[2:]
    np.testing.assert_allclose(below[1].images[0].get_array(), field / field.max(), rtol=1e-5)
    outline = below[1].patches[0]
    assert (outline.get_xy(), outline.get_width()) == ((0.5, 0.5), 8)
    assert below[1].get_xlabel().startswith("can see 8x8\n")
    with pytest.raises(ValueError, match=r"unknown layer with a feature map: 'gap1'"):
        pictures.receptive_field(*net, layers=["gap1"])
    with pytest.raises(NothingToShow):
        pictures.receptive_field(*drawn("INPUT -> FC-4 -> RELU -> FC-2"))


def test_equivariance(net):
    picture = pictures.equivariance(*net, layers=["conv1", "pool1"])
    error, inside = picture.arrays["conv1"], picture.arrays["conv1 interior"]
    assert inside.sum() == 16
    assert error[inside].max() < 1e-6 < error[~inside].min()
    panel, other, bar = picture.figure.axes
    np.testing.assert_array_equal(panel.images[0].get_array(), 100 * error)
    frame = panel.patches[0]
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((1.5, 1.5), 4, 4)
    assert (panel.get_xlabel(), other.get_xlabel()) == ("shifted by 1 pixel", "shifted by 2 pixels")
    largest = 100 * max(error.max(), picture.arrays["pool1"].max())
    assert {image.get_clim() for axes in (panel, other) for image in axes.images} == {(0, largest)}
    assert bar.get_ylabel().startswith("error, %")
    with pytest.raises(NothingToShow):
        pictures.equivariance(*drawn("INPUT -> FC-2"))


def test_saliency(net):
    picture = pictures.saliency(*net, classes=[0, 1, 2])
    maps = [axes.images[0].get_array() for axes in picture.figure.axes[3:]]
    np.testing.assert_array_equal(np.stack(maps), picture.arrays["saliency"])
    assert picture.arrays["saliency"].shape == (3, 8, 8)
    best = pictures.saliency(*net).arrays["saliency"]
    assert (best != picture.arrays["saliency"]).any()


def test_shift_response():
    responses = {"_$b$": [(5.0, 0.0), (7.0, 0.2)], "plain": [(6.0, 0.0), (6.5, 0.1)]}
    picture = pictures.shift_response(responses)
    picture._repr_png_()
    for axes, column in zip(picture.figure.axes, (0, 1), strict=True):
        for line, values in zip(axes.lines, responses.values(), strict=True):
            assert list(line.get_ydata()) == [value[column] for value in values]
            assert list(line.get_xdata()) == [0, 1]
    labels = [text.get_text() for text in picture.figure.axes[0].get_legend().get_texts()]
    assert labels == [r"_\$b\$", "plain"]
    with pytest.raises(ValueError, match="no network"):
        pictures.shift_response({})


def test_lesions():
    blocks = [Block("stage1_block1", True), Block("stage2_block1", False)]
    picture = pictures.lesions(blocks, [12.0, 40.0], 10.0)
    (axes,) = picture.figure.axes
    assert [bar.get_height() for bar in axes.patches] == [12, 40]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    assert list(axes.lines[0].get_ydata()) == [10, 10]
    assert [label.get_text() for label in axes.get_xticklabels()] == [b.name for b in blocks]
    with pytest.raises(ValueError, match="1 errors for 2 blocks"):
        pictures.lesions(blocks, [12.0], 10.0)


def test_a_picture_is_saved_and_shown(tmp_path):
    picture = pictures.lesions([Block("block1", True)], [12.0], 10.0)
    path = picture.save(tmp_path / "lesions.png")
    saved = cv2.imread(str(path))
    assert saved is not None
    shown = cv2.imdecode(np.frombuffer(picture._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(saved, shown)
