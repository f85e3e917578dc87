"""LeNet-5 against its paper's counts, and against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models
from cnnlab.geometry import DoesNotFit
from cnnlab.models.lenet import TABLE_I, TableConv

SEEN = [{s for s in range(6) if TABLE_I[s][c] == "X"} for c in range(16)]


def summary(**options):
    return cnnlab.summarize(models.create("lenet5", **options), (32, 32, 1))


def drawn(model, shape, seed=0):
    """Variables of `model` drawn by NumPy."""
    made = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.float32(rng.normal(scale=0.3, size=leaf.shape)), made)


def conv(x, kernel, bias):
    """A valid convolution: x [N, H, W, C], kernel [F, F, C, K]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nhwcij,ijck->nhwk", windows, kernel) + bias


def mean(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def dense_kernel(crosses):
    """The kernel [5, 5, 6, 16] of the weights at the crosses, which are read row by row."""
    kernel, cross = np.zeros((5, 5, 6, 16)), 0
    for s in range(6):
        for c in range(16):
            if s in SEEN[c]:
                kernel[:, :, s, c] = crosses[:, :, cross]
                cross += 1
    assert cross == crosses.shape[2] == 60
    return kernel


class TestCounts:
    @pytest.mark.parametrize(
        ("subsampling", "c3", "params"),
        [
            ("average", "dense", 61_706),
            ("average", "table", 61_706 - 36 * 25),
            ("trainable", "dense", 61_706 + 12 + 32),
            ("trainable", "table", 60_000 + 850),
        ],
    )
    def test_each_option(self, subsampling, c3, params):
        assert summary(subsampling=subsampling, c3=c3).params == params

    def test_the_paper_row_by_row(self):
        """Sec. II.B: trainable parameters of each layer."""
        rows = summary(subsampling="trainable", c3="table").rows
        assert [
            (row.path, row.notation, row.shape, row.weights + row.biases)
            for row in rows
            if row.notation != "TANH"
        ] == [
            ("", "INPUT", (32, 32, 1), 0),
            ("conv1", "CONV5-6p0", (28, 28, 6), 156),
            ("sub1", "SUB2", (14, 14, 6), 12),
            ("conv2", "TABLE5-16", (10, 10, 16), 1_516),
            ("sub2", "SUB2", (5, 5, 16), 32),
            ("conv3", "CONV5-120p0", (1, 1, 120), 48_120),
            ("fc1", "FC-84", (84,), 10_164),
            ("fc2", "FC-10", (10,), 850),
        ]
        assert [row.notation for row in rows].count("TANH") == 6

    def test_macs_of_the_connections_there_are(self):
        """The paper's connections less the biases': 151,600 - 1,600 in C3."""
        macs = 28 * 28 * 150 + 10 * 10 * 1_500 + 48_000 + 120 * 84 + 84 * 10
        assert summary(c3="table").macs == macs
        assert summary(c3="dense").macs == macs + 100 * 36 * 25

    def test_receptive_fields(self):
        fields = {row.path: row.field for row in summary(c3="table").rows}
        seen = {name: (fields[name].size, fields[name].step) for name in ("conv1", "pool1")}
        assert seen == {"conv1": (5, 1), "pool1": (6, 2)}
        seen = {name: (fields[name].size, fields[name].step) for name in ("conv2", "conv3")}
        assert seen == {"conv2": (14, 2), "conv3": (32, 4)}


class TestTableI:
    def test_its_shape(self):
        assert [len(row) for row in TABLE_I] == [16] * 6
        assert set("".join(TABLE_I)) == {"X", "."}
        assert "".join(TABLE_I).count("X") == 60

    def test_who_sees_whom(self):
        """Six runs of three maps and six of four, around the circle; three broken fours; all."""
        run = {n: [{(s + k) % 6 for k in range(n)} for s in range(6)] for n in (3, 4)}
        assert SEEN[:6] == run[3]
        assert SEEN[6:12] == run[4]
        assert [len(maps) for maps in SEEN[12:15]] == [4, 4, 4]
        assert not any(maps in run[4] for maps in SEEN[12:15])
        assert SEEN[15] == set(range(6))
        assert len({frozenset(maps) for maps in SEEN}) == 16

    def test_every_map_is_seen_by_ten(self):
        assert [row.count("X") for row in TABLE_I] == [10] * 6


class TestTableConv:
    layer = TableConv(TABLE_I, 5)

    def test_against_a_loop_and_a_dense_convolution_with_zeros(self):
        variables = drawn(self.layer, (1, 7, 7, 6))
        crosses, bias = variables["params"]["kernel"], variables["params"]["bias"]
        x = np.float32(np.random.default_rng(1).normal(size=(2, 7, 7, 6)))
        y = jax.jit(self.layer.apply)(variables, x)
        assert crosses.shape == (5, 5, 60)
        assert y.shape == (2, 3, 3, 16)
        kernel = dense_kernel(crosses)
        assert np.count_nonzero(kernel) == 1_500
        np.testing.assert_allclose(y, conv(x, kernel, bias), rtol=1e-4, atol=1e-5)
        for i, j, c in [(0, 0, 0), (2, 1, 4), (1, 2, 9), (0, 2, 13), (2, 2, 15)]:
            total = bias[c] + sum(
                (x[1, i + u, j + v, s] * kernel[u, v, s, c])
                for u in range(5)
                for v in range(5)
                for s in SEEN[c]
            )
            np.testing.assert_allclose(y[1, i, j, c], total, rtol=1e-4, atol=1e-5)

    def test_the_gradient_is_that_of_the_crosses(self):
        variables = drawn(self.layer, (1, 5, 5, 6))
        x = np.float32(np.random.default_rng(1).normal(size=(3, 5, 5, 6)))
        total = jax.jit(jax.grad(lambda v, x: self.layer.apply(v, x).sum()))(variables, x)
        expected = [x[..., s].sum(0) for s in range(6) for c in range(16) if s in SEEN[c]]
        np.testing.assert_allclose(
            total["params"]["kernel"], np.stack(expected, axis=-1), rtol=1e-4, atol=1e-5
        )

    def test_starts_by_fan_in(self):
        """Variance 2 / (25 maps seen): He's rule, filter by filter."""
        key = jax.random.key(0)
        params = jax.jit(self.layer.init)(key, jnp.zeros((1, 5, 5, 6)))["params"]
        kernel = dense_kernel(np.asarray(params["kernel"]))
        for filters, maps in ((slice(0, 6), 3), (slice(6, 15), 4), (slice(15, 16), 6)):
            some = kernel[..., filters]
            std = some[some != 0].std()
            np.testing.assert_allclose(std, np.sqrt(2 / (25 * maps)), rtol=0.15)
        assert not params["bias"].any()

    def test_bfloat16(self):
        layer = TableConv(TABLE_I, 5, dtype=jnp.bfloat16)
        y, variables = jax.eval_shape(
            layer.init_with_output, jax.random.key(0), jnp.zeros((1, 5, 5, 6))
        )
        assert y.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("subsampling", ["average", "trainable"])
@pytest.mark.parametrize("c3", ["dense", "table"])
def test_the_whole_net_against_numpy(subsampling, c3):
    model = models.create("lenet5", subsampling=subsampling, c3=c3)
    variables = drawn(model, (1, 32, 32, 1))
    p = jax.tree.map(np.float64, variables["params"])
    x = np.float32(np.random.default_rng(1).normal(size=(2, 32, 32, 1)))

    def subsample(y, name):
        if subsampling == "average":
            return mean(y)
        # The paper's sum of four, with a quarter of the coefficient.
        return np.tanh(4 * mean(y) * (p[name]["scale"] / 4) + p[name]["bias"])

    y = subsample(np.tanh(conv(x, **p["conv1"])), "sub1")
    kernel = p["conv2"]["kernel"]
    kernel = dense_kernel(kernel) if c3 == "table" else kernel
    y = subsample(np.tanh(conv(y, kernel, p["conv2"]["bias"])), "sub2")
    y = np.tanh(conv(y, **p["conv3"])).reshape(2, 120)
    y = np.tanh(y @ p["fc1"]["kernel"] + p["fc1"]["bias"])
    y = y @ p["fc2"]["kernel"] + p["fc2"]["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"subsampling": "mean"}, "unknown subsampling: 'mean'; choices: average, trainable"),
        ({"c3": "tabel"}, r"unknown c3: 'tabel'; choices: dense, table; did you mean 'table'\?"),
    ],
)
def test_unknown_options(option, words):
    with pytest.raises(ValueError, match=words):
        models.create("lenet5", **option)


def test_one_net_is_one_value():
    """Equal and hashable, as jit's static arguments must be."""
    table = models.create("lenet5", c3="table")
    assert table == models.create("lenet5", c3="table") != models.create("lenet5")
    assert hash(table) == hash(models.create("lenet5", c3="table"))


class TestTextOfTheTable:
    """The language has no word for it, and the text says what is there all the same."""

    @pytest.mark.parametrize("subsampling", ["average", "trainable"])
    def test_every_layer_stands_where_it_says(self, subsampling):
        net = models.create("lenet5", c3="table", subsampling=subsampling)
        words = net.text.split(" -> ")[1:-1]
        layers = zip(net.steps, net.layers, words, strict=False)
        for step, layer, word in layers:
            assert layer.notation == word
            assert net.text[step.position :].startswith(f"{word} ->")
        assert [step.position for step in net.steps][-1] == len(net.text) - len("FC")
        assert "TABLE5-16" in words
        assert "CONV5-16p0" not in words

    def test_errors_point_at_it(self):
        model = models.create("lenet5", c3="table")
        for size, word in ((10, "TABLE5-16"), (20, "CONV5-120p0")):
            with pytest.raises(DoesNotFit, match=f"{word} does not fit its input") as caught:
                cnnlab.summarize(model, (size, size, 1))
            _, text, pointer = str(caught.value).splitlines()
            assert text[pointer.index("^") :].startswith(word)
