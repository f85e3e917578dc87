"""Receptive fields: arithmetic, the traced network and the Jacobian's support say the same."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cnnlab
from cnnlab import models, nn
from cnnlab.geometry import ReceptiveField, receptive_field


def summarized(model, size, channels=1):
    return cnnlab.summarize(model, (size, size, channels)).receptive_field


def averaging(leaf):
    """Positive weights that sum to about 1 over what a neuron sees, so that no depth overflows."""
    return np.full(leaf.shape, 1 / max(1, np.prod(leaf.shape[:-1])), np.float32)


def support(model, size, channels=1):
    """First and last row, and column, of the image that a neuron in the middle depends on.

    All weights are positive, so that nothing cancels and no ReLU is closed. On images that rise
    (or fall) along both axes max-pooling passes on the last (first) pixel of each window, so that
    the two between them reach both ends of the field.
    """
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    made = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = jax.tree.map(averaging, made)
    height, width = jax.eval_shape(model.apply, variables, image).shape[1:3]

    def neuron(x, variables):
        return model.apply(variables, x[None])[0, height // 2, width // 2].sum()

    row_of_jacobian = jax.jit(jax.grad(neuron))
    slope = 1 + np.add.outer(np.arange(size), np.arange(size)) / size
    rising = np.repeat(np.float32(slope)[..., None], channels, axis=-1)
    both = [row_of_jacobian(x, variables) for x in (rising, rising[::-1, ::-1])]
    seen = np.any(both, axis=(0, -1))
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return (rows[0], rows[-1]), (columns[0], columns[-1])


def extent(model, size, channels=1):
    """Pixels along each axis that a neuron in the middle depends on; all inside the image."""
    spans = support(model, size, channels)
    for first, last in spans:
        assert 0 < first <= last < size - 1, "the image is too small for the field"
    height, width = (last - first + 1 for first, last in spans)
    assert height == width
    return height


@st.composite
def windowed(draw):
    """One layer with a window, as (text, F, S)."""
    symbol = draw(st.sampled_from(["CONV", "CONV", "POOL", "AVGPOOL", "L2POOL"]))
    kernel = draw(st.integers(1, 5 if symbol == "CONV" else 3))
    stride = draw(st.integers(1, min(kernel, 3)))
    padding = draw(st.integers(0, kernel // 2))
    if symbol == "CONV":
        default = kernel % 2 == 1 and draw(st.booleans())
        written = "" if default else f"p{padding}"
        return f"CONV{kernel}-2/{stride}{written}", kernel, stride
    return f"{symbol}{kernel}/{stride}p{padding}", kernel, stride


class TestThreeWays:
    @settings(deadline=None, max_examples=10)
    @given(
        windows=st.lists(windowed(), min_size=1, max_size=3),
        between=st.lists(
            st.sampled_from(["", "RELU -> ", "BN -> RELU -> "]), min_size=3, max_size=3
        ),
    )
    def test_random_nets(self, windows, between):
        field = receptive_field([(kernel, stride) for _, kernel, stride in windows])
        assume(field.size <= 32)
        layers = [filling + text for (text, *_), filling in zip(windows, between, strict=False)]
        model = models.pattern(f"INPUT -> {' -> '.join(layers)}", fit="crop")
        size = 3 * field.size + 2 * field.step + 20
        assert summarized(model, size) == field
        assert extent(model, size) == field.size

    def test_stacks_of_3x3(self):
        """A10: two 3x3 see 5x5, three see 7x7."""
        for layers, expected in ((1, 3), (2, 5), (3, 7)):
            model = models.pattern(f"INPUT -> [CONV3-2 -> RELU]*{layers}")
            assert receptive_field([(3, 1)] * layers).size == expected
            assert summarized(model, 24) == ReceptiveField(expected, 1)
            assert extent(model, 24) == expected

    def test_step_is_the_distance_of_neighbouring_fields(self):
        model = models.pattern("INPUT -> CONV3-1/2 -> POOL2 -> CONV3-1/3", fit="crop")
        assert summarized(model, 60).step == 12

    @pytest.mark.parametrize("fit", ["crop", "pad"])
    def test_locally_connected(self, fit):
        """Unshared filters are gathered from slices, and see what shared ones do."""
        text = "INPUT -> {0}3-2/2 -> RELU -> {0}4-1p1 -> POOL2 -> {0}2-1p0"
        local, conv = (models.pattern(text.format(kind), fit=fit) for kind in ("LOCAL", "CONV"))
        field = receptive_field([(3, 2), (4, 1), (2, 2), (2, 1)])
        assert summarized(local, 41) == summarized(conv, 41) == field == ReceptiveField(15, 4)
        assert extent(local, 41) == 15

    def test_dilated(self):
        model = nn.Conv(2, 3, stride=2, dilation=3)
        assert summarized(model, 24) == receptive_field([(3, 2, 3)]) == ReceptiveField(7, 2)
        assert extent(model, 24) == 7


class Branches(linen.Module):
    """A 1x1 and a 5x5 path side by side, behind a 3x3, before a 3x3 at stride 2."""

    meet: str

    @linen.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(2, 3)(x)
        small, large = nn.Conv(2, 1)(x), nn.Conv(2, 5)(x)
        paths = [small, large] if self.meet.endswith("small first") else [large, small]
        y = sum(paths) if self.meet.startswith("sum") else jnp.concatenate(paths, axis=-1)
        return nn.Conv(2, 3, 2)(y)


class Sideways(linen.Module):
    """Two paths whose windows lean to opposite sides: 2 pixels back, 1 pixel ahead."""

    @linen.compact
    def __call__(self, x, *, train=False):
        back = nn.Conv(1, 3, padding=2)(x)[:, :-2, :-2]
        ahead = nn.Conv(1, 2, padding=1)(x)[:, 1:, 1:]
        return nn.ReLU()(back + ahead)


class TwoBlocks(linen.Module):
    """A block that keeps the size, one that halves it through an option A shortcut."""

    @linen.compact
    def __call__(self, x, *, train=False):
        conv = partial(nn.Conv, use_bias=False)
        x = nn.ResidualBlock(2, 1, conv, nn.BatchNorm)(x)
        return nn.ResidualBlock(4, 2, conv, nn.BatchNorm)(x)


class TestBranches:
    @pytest.mark.parametrize(
        "meet", ["sum, small first", "sum", "side by side, small first", "side by side"]
    )
    def test_the_widest_path_counts(self, meet):
        model = Branches(meet)
        longest = receptive_field([(3, 1), (5, 1), (3, 2)])
        assert summarized(model, 32) == longest == ReceptiveField(9, 2)
        assert extent(model, 32) == 9

    def test_paths_that_see_different_pixels_add_up(self):
        assert summarized(Sideways(), 16) == ReceptiveField(4, 1)
        assert extent(Sideways(), 16) == 4

    def test_residual_blocks(self):
        model = TwoBlocks()
        field = receptive_field([(3, 1), (3, 1), (3, 2), (3, 1)])
        assert cnnlab.summarize(model, (40, 40, 2)).rows[-1].field == field == ReceptiveField(11, 2)
        assert extent(model, 40, channels=2) == 11

    def test_shortcut_alone_subsamples(self):
        class Shortcut(linen.Module):
            @linen.compact
            def __call__(self, x, *, train=False):
                return nn.Conv(2, 3)(nn.ShortcutA(4, 2)(x))

        assert summarized(Shortcut(), 24, 2) == receptive_field([(1, 2), (3, 1)])
        assert extent(Shortcut(), 24, 2) == 5

    def test_resnet20(self):
        assert summarized(models.create("resnet20"), 32, 3) == ReceptiveField(81, 4)


class Inception(linen.Module):
    """Branches of four heights and widths, some with a side of 1, behind a strided convolution."""

    @linen.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(2, 3, 2, padding=1)(x)
        tall = nn.Conv(2, (5, 1))(nn.Conv(2, 1)(x))
        wide = nn.Conv(2, (3, 1))(nn.Conv(2, (1, 7))(x))
        pooled = nn.Conv(2, 1)(nn.MaxPool(3, 1, padding=1)(x))
        return nn.Concat()(nn.ReLU()(nn.Conv(2, 1)(x)), tall, wide, pooled)


class TestPapers:
    """Blocks of the papers: by the recurrence, by the trace, and by the Jacobian's support."""

    def spans(self, model, size, channels):
        return tuple(last - first + 1 for first, last in support(model, size, channels))

    def test_inception(self):
        height, width = (
            receptive_field([(3, 2), (large, 1)]) for large in (5, 7)
        )  # the 5x1, the 1x7
        row = cnnlab.summarize(Inception(), (40, 40, 2)).rows[-1]
        assert row.fields == (height, width) == (ReceptiveField(11, 2), ReceptiveField(15, 2))
        assert row.field == width
        assert self.spans(Inception(), 40, 2) == (11, 15)

    @pytest.mark.parametrize(("block", "first"), [(nn.Bottleneck, 1), (nn.BottleneckV1, 2)])
    def test_bottleneck(self, block, first):
        """Where the 1x1 steps, the 3x3 behind it sees twice as far."""
        conv = partial(nn.Conv, use_bias=False)
        model = block(2, 2, conv, nn.BatchNorm, shortcut="B")
        field = receptive_field([(1, first), (3, 2 // first)])
        assert cnnlab.summarize(model, (20, 20, 3)).rows[-1].field == field
        assert self.spans(model, 20, 3) == (field.size, field.size) == (1 + 2 * first,) * 2

    def test_preactivated(self):
        conv = partial(nn.Conv, use_bias=False)
        model = nn.ResidualBlock(4, 2, conv, nn.BatchNorm, shortcut="B", order="full_preact")
        assert cnnlab.summarize(model, (24, 24, 2)).rows[-1].field == ReceptiveField(7, 2)
        assert self.spans(model, 24, 2) == (7, 7)

    def test_one_side(self):
        """CONV1x7 sees one row."""
        row = cnnlab.summarize(nn.Conv(2, (1, 7)), (16, 16, 1)).rows[-1]
        assert (row.notation, row.kernel, row.padding) == ("CONV1x7-2", (1, 7), (0, 3))
        assert row.fields == (ReceptiveField(1, 1), ReceptiveField(7, 1))
        assert self.spans(nn.Conv(2, (1, 7)), 16, 1) == (1, 7)


class Of(nn.Layer):
    """Any function as a layer."""

    fn: Callable

    notation = "OF"

    def __call__(self, x, *, train=False):
        return self.fn(x)


class Around(linen.Module):
    """A function between two 3x3 convolutions, of which the second may step."""

    fn: Callable
    stride: int = 1

    @linen.compact
    def __call__(self, x, *, train=False):
        return nn.Conv(2, 3, self.stride)(Of(self.fn)(nn.Conv(2, 3)(x)))


def edges(x):
    return jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")


def halves(x):
    """Apart, each on its own, and together again."""
    top, bottom = jnp.split(x, 2, axis=1)
    return jnp.concatenate([jax.nn.relu(top), 2 * bottom], axis=1)


def channels_first(x):
    kernel = jnp.ones((2, 2, 3, 1))
    y = jax.lax.conv_general_dilated(jnp.moveaxis(x, -1, 1), kernel, (2, 1), "VALID")
    return jnp.transpose(y, (0, 2, 3, 1))


def unevenly(x):
    """Different windows on either axis, and pixels cut off by a negative padding."""
    x = jax.lax.pad(x, 0.0, ((0, 0, 0), (-1, 3, 0), (2, -2, 0), (0, 0, 0)))
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 1, 1), (1, 1, 2, 1), "VALID")


def lower(x):
    """Every pixel with the one above it: by two rows of padding, and one cut off again."""
    return x + jnp.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0)))[:, 1:-1]


def mixed(x):
    """1x1 convolutions as products of matrices, over channels alone."""
    gate = jax.nn.softmax(jnp.einsum("nhwc,ck->nhwk", x, jnp.ones((2, 2))))
    parted = x.reshape(*x.shape[:2], 1, x.shape[2], 1, 2)[:, :, 0, :, 0]
    return jnp.stack([gate * x, parted], axis=1).sum(axis=1)


class TestOperations:
    @pytest.mark.parametrize(
        ("fn", "between"),
        [
            (edges, [(1, 1), (1, 1)]),
            (halves, [(1, 1), (1, 1)]),
            (channels_first, [(3, 2), (1, 1)]),
            (unevenly, [(3, 1), (1, 2)]),
            (lower, [(2, 1), (1, 1)]),
            (mixed, [(1, 1), (1, 1)]),
            (lambda x: x[:, 1::2, :-3], [(1, 2), (1, 1)]),
            (jax.checkpoint(jnp.sin), [(1, 1), (1, 1)]),
            (lambda x: jnp.clip(x, 0, 6) * (x > 1) + jax.nn.gelu(x), [(1, 1), (1, 1)]),
            (lambda x: jnp.var(x, axis=-1, keepdims=True) * x, [(1, 1), (1, 1)]),
        ],
    )
    def test_known(self, fn, between):
        expected = tuple(receptive_field([(3, 1), middle, (3, 2)]) for middle in between)
        row = cnnlab.summarize(Around(fn, 2), (32, 32, 1)).rows[-1]
        assert row.fields == expected

    @pytest.mark.parametrize(
        "fn", [edges, lower, channels_first, unevenly, lambda x: x[:, 1::2, :-3]]
    )
    def test_as_the_jacobian_has_it(self, fn):
        fields = cnnlab.summarize(Around(fn), (32, 32, 1)).rows[-1].fields
        spans = support(Around(fn), 32)
        assert tuple(field.size for field in fields) == tuple(b - a + 1 for a, b in spans)

    def test_along_one_axis(self):
        """The mean of each column sees all of its height and one pixel of the width."""
        _, row = cnnlab.summarize(Of(lambda x: x.mean(axis=1)), (8, 8, 1)).rows
        assert row.fields == (None, ReceptiveField(1, 1))
        assert row.field is None

    def test_a_gate_from_the_whole_image(self):
        def squeeze_and_excite(x):
            return x * jax.nn.sigmoid(x.mean(axis=(1, 2), keepdims=True))

        assert cnnlab.summarize(Around(squeeze_and_excite), (16, 16, 1)).rows[-1].field is None

    def test_flattened(self):
        """Flat, a neuron still sees what it saw; an FC on it sees everything."""

        class Flat(linen.Module):
            @linen.compact
            def __call__(self, x, *, train=False):
                x = Of(lambda x: x.reshape(x.shape[0], -1))(nn.Conv(2, 3)(x))
                return nn.Dense(2)(nn.ReLU()(x))

        *_, relu, dense = cnnlab.summarize(Flat(), (8, 8, 1)).rows
        assert relu.field.size == 3
        assert dense.field is None

    @pytest.mark.parametrize("size", [1, 2])
    def test_dense_on_few_pixels_sees_them_all(self, size):
        model = models.pattern("INPUT -> CONV4-2/4p0 -> FC-3")
        *_, conv, dense = cnnlab.summarize(model, (4 * size, 4 * size, 1)).rows
        assert conv.field == ReceptiveField(4, 4)
        assert dense.field is None

    @pytest.mark.parametrize(
        ("fn", "reason"),
        [
            (lambda x: jnp.sort(x, axis=1), "sort"),
            (lambda x: jnp.flip(x, axis=1), "rev"),
            (lambda x: jnp.cumsum(x, axis=1), "cumsum"),
            (lambda x: jnp.roll(x, x.shape[1] // 2, axis=1), "none is longer"),
            (lambda x: jax.image.resize(x, (2, 32, 32, 2), "nearest"), "gather"),
            (lambda x: jax.lax.map(jnp.sin, x), "scan"),
            (lambda x: x.reshape(x.shape[0], 8, 2, 16, 2).max(2), "falls into two dimensions"),
            (lambda x: x + x.swapaxes(1, 2), "different places"),
            (lambda x: x[:, ::2, :] + x[:, :8, :], "2 and 1 pixels apart"),
            (lambda x: x + x[:, :1], "1 and 0 pixels apart"),
            (lambda x: jax.lax.conv_transpose(x, jnp.ones((2, 2, 2, 2)), (2, 2), "SAME"), "stride"),
            (lambda x: jnp.einsum("nhwc,nvwc->nhvw", x, x), "different places"),
        ],
    )
    def test_refused(self, fn, reason):
        with pytest.raises(NotImplementedError, match=f"receptive field behind (?s:.)*{reason}"):
            cnnlab.summarize(Around(fn), (16, 16, 1))


class TestWhole:
    """Behind a GAP or an FC a neuron sees the whole image."""

    def test_rows(self):
        model = models.pattern("INPUT -> CONV3-2 -> GAP -> RELU -> FC-4 -> BN -> FC-2")
        fields = [row.field for row in cnnlab.summarize(model, (8, 8, 1)).rows]
        assert fields == [ReceptiveField(1, 1), ReceptiveField(3, 1), *[None] * 5]

    def test_dense_on_an_image(self):
        summary = cnnlab.summarize(models.pattern("INPUT -> FC-4 -> RELU"), (4, 4, 2))
        assert [row.field for row in summary.rows[1:]] == [None, None]
        assert summary.receptive_field == ReceptiveField(1, 1)
