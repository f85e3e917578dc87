"""Linen layers: their parameters, their types, their two modes and their names."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnnlab import models, nn, ops, summarize
from cnnlab.geometry import DoesNotFit

EVERY_LAYER = (
    "INPUT -> CONV3-4/2 -> BN -> RELU -> LRN -> LOCAL3-4 -> RELU -> POOL2/1 -> AVGPOOL2/1"
    " -> L2POOL2/1 -> DROP0.25 -> GAP -> FC"
)


def shapes(layer, *image):
    made = jax.eval_shape(layer.init, jax.random.key(0), jax.ShapeDtypeStruct(image, jnp.float32))
    return {name: leaf.shape for name, leaf in made.get("params", {}).items()}


def normal(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


class TestHeInitialisation:
    """A Gaussian of mean 0 and variance 2 / fan-in, fan-in the numbers one output sees."""

    @pytest.mark.parametrize(
        ("init", "shape", "fan_in"),
        [
            (nn.he_normal, (3, 3, 16, 128), 3 * 3 * 16),
            (nn.he_normal, (5, 5, 8, 96), 5 * 5 * 8),
            (nn.he_normal, (128, 160), 128),
            (nn.he_normal_local, (3, 2, 3, 3, 8, 40), 3 * 3 * 8),
        ],
    )
    def test_moments_and_tails(self, init, shape, fan_in):
        made = jax.jit(init, static_argnums=1)(jax.random.key(1), shape)
        weights = np.asarray(made, np.float64).ravel()
        n, sigma = weights.size, np.sqrt(2 / fan_in)
        assert n > 15_000
        # Five standard errors: a right initialiser passes all but once in a million.
        assert abs(weights.mean()) < 5 * sigma / np.sqrt(n)
        assert abs(weights.var() / sigma**2 - 1) < 5 * np.sqrt(2 / n)
        beyond = np.mean(np.abs(weights) > 2 * sigma)
        expected = 2 * stats.norm.sf(2)  # 4.6%; a Gaussian truncated at 2 sigma has none
        assert abs(beyond - expected) < 5 * np.sqrt(expected / n)

    def test_is_the_layers_default(self):
        for layer, init in (
            (nn.Conv(3, 3), nn.he_normal),
            (nn.LocalConv(3, 3), nn.he_normal_local),
            (nn.Dense(3), nn.he_normal),
        ):
            assert layer.kernel_init is init
            counted = layer.clone(kernel_init=lambda key, shape: jnp.full(shape, 7.0))
            params = jax.jit(counted.init)(jax.random.key(0), jnp.ones((1, 2, 2, 1)))["params"]
            assert (params["kernel"] == 7).all()
            assert not params["bias"].any()


class TestShapes:
    def test_conv(self):
        assert shapes(nn.Conv(6, 3), 1, 8, 8, 4) == {"kernel": (3, 3, 4, 6), "bias": (6,)}
        assert shapes(nn.Conv(6, (3, 5), use_bias=False), 1, 8, 8, 4) == {"kernel": (3, 5, 4, 6)}
        assert shapes(nn.Conv(6, 3, groups=2), 1, 8, 8, 4)["kernel"] == (3, 3, 2, 6)

    @pytest.mark.parametrize(("fit", "height", "width"), [("crop", 3, 4), ("pad", 4, 5)])
    def test_local_conv_under_each_fit(self, fit, height, width):
        """Along 8 and 10 pixels 3 taps at stride 2 leave one over."""
        layer = nn.LocalConv(6, 3, stride=2, padding=0, fit=fit)
        assert shapes(layer, 1, 8, 10, 4) == {
            "kernel": (height, width, 3, 3, 4, 6),
            "bias": (height, width, 6),
        }

    def test_local_conv_that_does_not_fit(self):
        with pytest.raises(DoesNotFit, match=r"= 3\.5"):
            shapes(nn.LocalConv(6, 3, stride=2, padding=0, fit="error"), 1, 8, 8, 4)
        exact = nn.LocalConv(6, 3, stride=2, padding=0, fit="error", use_bias=False)
        assert shapes(exact, 1, 9, 9, 4) == {"kernel": (4, 4, 3, 3, 4, 6)}

    def test_default_padding_keeps_the_size(self):
        x = jax.ShapeDtypeStruct((2, 9, 7, 3), jnp.float32)
        for layer in (
            nn.Conv(4, 5),
            nn.Conv(4, 3, dilation=2),
            nn.Conv(4, (1, 7)),
            nn.LocalConv(4, 3),
        ):
            y, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
            assert y.shape == (2, 9, 7, 4)

    def test_dense_flattens(self):
        x, w, b = normal((2, 3, 4, 5), (60, 7), (7,))
        y = nn.Dense(7).apply({"params": {"kernel": w, "bias": b}}, x)
        np.testing.assert_allclose(y, np.reshape(x, (2, 60)) @ w + b, rtol=1e-5, atol=1e-5)

    def test_norms_and_pools(self):
        assert shapes(nn.BatchNorm(), 2, 4, 4, 3) == {"scale": (3,), "bias": (3,)}
        for layer in (nn.MaxPool(), nn.AvgPool(), nn.L2Pool(), nn.GlobalAvgPool(), nn.ReLU()):
            assert shapes(layer, 2, 4, 4, 3) == {}


class TestAgainstOps:
    """A layer hands its numbers on to its operation, each to the right place."""

    def test_conv(self):
        x, kernel, bias = normal((2, 9, 9, 4), (3, 3, 2, 6), (6,))
        layer = nn.Conv(6, 3, stride=2, padding=1, dilation=2, groups=2)
        y = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
        z = ops.conv2d(x, kernel, bias, stride=2, padding=1, dilation=2, groups=2)
        np.testing.assert_array_equal(y, z)

    def test_local_conv(self):
        x, kernel, bias = normal((2, 8, 8, 2), (5, 5, 3, 3, 2, 3), (5, 5, 3))
        layer = nn.LocalConv(3, 3, stride=2, fit="pad")
        y = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
        z = ops.local_conv2d(x, kernel, bias, stride=2, padding=1, fit="pad")
        np.testing.assert_array_equal(y, z)

    @pytest.mark.parametrize(
        ("layer", "op"),
        [(nn.MaxPool, ops.max_pool), (nn.AvgPool, ops.avg_pool), (nn.L2Pool, ops.l2_pool)],
    )
    def test_pools(self, layer, op):
        (x,) = normal((1, 7, 7, 2))
        y = layer(3, 2, 1, "pad").apply({}, x)
        np.testing.assert_array_equal(y, op(x, kernel=3, stride=2, padding=1, fit="pad"))
        np.testing.assert_array_equal(layer(2).apply({}, x), op(x, kernel=2, stride=2, fit="crop"))

    def test_the_others(self):
        (x,) = normal((1, 3, 3, 6))
        lrn = {"size": 3, "k": 1.0, "alpha": 0.1, "beta": 0.5}
        np.testing.assert_array_equal(
            nn.LocalResponseNorm(**lrn).apply({}, x), ops.local_response_norm(x, **lrn)
        )
        np.testing.assert_array_equal(nn.GlobalAvgPool().apply({}, x), ops.global_avg_pool(x))
        np.testing.assert_array_equal(nn.ReLU().apply({}, x), np.maximum(x, 0))


def test_bfloat16_computes_but_does_not_remember():
    """Parameters and running statistics stay float32, what is computed is bfloat16."""
    model = models.pattern(EVERY_LAYER, classes=3, fit="crop", dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, 13, 13, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    train = partial(model.apply, train=True, mutable=["batch_stats"])
    key = jax.random.key(1)
    logits, updates = jax.eval_shape(partial(train, rngs={"dropout": key}), variables, x)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    for layer in (nn.Conv(2, 3), nn.LocalConv(2, 3), nn.Dense(2)):
        narrow = layer.clone(dtype=jnp.bfloat16)
        y, params = jax.eval_shape(narrow.init_with_output, jax.random.key(0), x)
        assert y.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


class TestBatchNorm:
    def steps(self, layer, batches):
        variables = layer.init(jax.random.key(0), batches[0], train=True)
        start = variables["batch_stats"]
        step = jax.jit(partial(layer.apply, train=True, mutable=["batch_stats"]))
        for x in batches:
            _, updates = step(variables, x)
            variables = variables | updates
        return start, variables

    @pytest.mark.parametrize("momentum", [0.9, 0.99])
    def test_one_step(self, momentum):
        """`momentum` is the part of the old statistic that stays; init moves nothing."""
        x = jnp.asarray([3.0, 7.0]).reshape(2, 1, 1, 1)  # mean 5, variance 4
        start, variables = self.steps(nn.BatchNorm(momentum=momentum), [x])
        assert (float(start["mean"][0]), float(start["var"][0])) == (0, 1)
        stats = variables["batch_stats"]
        np.testing.assert_allclose(stats["mean"], (1 - momentum) * 5, rtol=1e-5)
        np.testing.assert_allclose(stats["var"], momentum + (1 - momentum) * 4, rtol=1e-5)

    def test_default_momentum_and_epsilon(self):
        assert (nn.BatchNorm().momentum, nn.BatchNorm().epsilon) == (0.9, 1e-5)

    def test_evaluation_after_many_steps_and_few(self):
        """Running statistics start at (0, 1): after k steps (1 - 0.9^k) of the way is gone."""
        rng = np.random.default_rng(0)
        batches = [jnp.asarray(rng.normal(5, 3, (512, 2)), jnp.float32) for _ in range(60)]
        layer = nn.BatchNorm()
        _, few = self.steps(layer, batches[:3])
        gone = 1 - 0.9**3
        np.testing.assert_allclose(few["batch_stats"]["mean"], 5 * gone, rtol=0.05)
        np.testing.assert_allclose(few["batch_stats"]["var"], 1 - gone + 9 * gone, rtol=0.05)
        _, many = self.steps(layer, batches)
        y = layer.apply(many, batches[0])
        np.testing.assert_allclose(y.mean(axis=0), 0, atol=0.15)
        np.testing.assert_allclose(y.std(axis=0), 1, atol=0.1)

    def test_evaluation_leaves_the_statistics(self):
        layer, x = nn.BatchNorm(), jnp.full((4, 2), 5.0)
        _, variables = self.steps(layer, [x])
        _, after = layer.apply(variables, x, train=False, mutable=["batch_stats"])
        np.testing.assert_array_equal(
            after["batch_stats"]["mean"], variables["batch_stats"]["mean"]
        )

    def test_scale_and_offset(self):
        variables = {
            "params": {"scale": jnp.asarray([2.0]), "bias": jnp.asarray([-1.0])},
            "batch_stats": {"mean": jnp.asarray([1.0]), "var": jnp.asarray([4.0])},
        }
        y = nn.BatchNorm(epsilon=0.0).apply(variables, jnp.asarray([[5.0]]))
        np.testing.assert_allclose(y, 2 * (5 - 1) / 2 - 1)


class TestDropout:
    x = np.ones((400, 25), np.float32)

    def drop(self, seed, rate=0.25):
        rngs = {"dropout": jax.random.key(seed)}
        return np.asarray(nn.Dropout(rate).apply({}, jnp.asarray(self.x), train=True, rngs=rngs))

    def test_training(self):
        y = self.drop(0)
        np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75])
        assert abs(np.mean(y == 0) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / y.size)

    def test_is_a_function_of_the_rng(self):
        np.testing.assert_array_equal(self.drop(3), self.drop(3))
        assert (self.drop(3) != self.drop(4)).any()

    def test_layers_of_one_net_drop_differently(self):
        model = models.pattern("INPUT -> DROP0.5 -> DROP0.5")
        rngs = {"dropout": jax.random.key(0)}
        y = model.apply({}, jnp.asarray(self.x), train=True, rngs=rngs)
        assert abs(np.mean(np.asarray(y) == 0) - 0.75) < 0.05

    def test_evaluation_and_rate_zero_need_no_rng(self):
        x = jnp.asarray(self.x)
        np.testing.assert_array_equal(nn.Dropout(0.5).apply({}, x), x)
        np.testing.assert_array_equal(nn.Dropout(0.0).apply({}, x, train=True), x)


@pytest.mark.parametrize(
    ("layer", "notation"),
    [
        (nn.Conv(64, 3), "CONV3-64"),
        (nn.Conv(64, 3, padding=1), "CONV3-64p1"),
        (nn.Conv(96, 11, stride=4, padding=0), "CONV11-96/4p0"),
        (nn.Conv(8, (1, 7)), "CONV1x7-8"),
        (nn.LocalConv(16, 5, stride=2), "LOCAL5-16/2"),
        (nn.MaxPool(), "POOL2"),
        (nn.MaxPool(2, 2), "POOL2"),
        (nn.MaxPool(3, 2, 1), "POOL3/2p1"),
        (nn.AvgPool(8), "AVGPOOL8"),
        (nn.L2Pool(2, 1), "L2POOL2/1"),
        (nn.BatchNorm(), "BN"),
        (nn.ReLU(), "RELU"),
        (nn.GELU(), "GELU"),
        (nn.Whiten(3), "WHITEN3"),
        (nn.LocalResponseNorm(), "LRN"),
        (nn.GlobalAvgPool(), "GAP"),
        (nn.Dropout(0.5), "DROP0.5"),
        (nn.Dropout(0.0), "DROP0"),
        (nn.Dense(4096), "FC-4096"),
    ],
)
def test_notation(layer, notation):
    assert layer.notation == notation
    if "x" not in notation:
        (read,) = models.pattern(f"INPUT -> {notation}").layers
        assert read.notation == notation


def test_a_norm_without_a_scale_only_offsets():
    (x,) = normal((6, 3, 3, 16))
    layer = nn.BatchNorm(use_scale=False)
    variables = layer.init(jax.random.key(0), x)
    assert set(variables["params"]) == {"bias"}
    offset = jnp.arange(16.0)
    given = {"params": {"bias": offset}, "batch_stats": variables["batch_stats"]}
    y, _ = layer.apply(given, x, train=True, mutable=["batch_stats"])
    mean, std = x.mean((0, 1, 2)), x.std((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / std + np.arange(16.0), atol=1e-3)


def test_whitening_is_by_what_the_network_was_made_with():
    """Both signs of the filters, put over the images without padding; no parameters."""
    made, x = normal((6, 5, 5, 3), (2, 5, 5, 3))
    layer = nn.Whiten(2)
    variables = layer.init(jax.random.key(0), made)
    assert set(variables) == {"batch_stats"}
    y = np.asarray(layer.apply(variables, x))
    half = ops.whitening_filters(jnp.asarray(made), 2)
    assert y.shape == (2, 4, 4, 24)
    np.testing.assert_allclose(y[..., :12], ops.conv2d(jnp.asarray(x), half), atol=1e-4)
    np.testing.assert_array_equal(y[..., 12:], -y[..., :12])
    (row,) = summarize(layer, (5, 5, 3)).rows[1:]
    assert (row.weights, row.macs) == (0, 2 * 2 * 3 * 24 * 4 * 4)


def test_gelu_is_a_number_times_the_share_of_a_normal_below_it():
    (x,) = normal((50, 4))
    expected = x * stats.norm.cdf(x)
    np.testing.assert_allclose(nn.GELU().apply({}, x), expected, atol=5e-4)


def test_every_parameter_gets_a_gradient():
    model = models.pattern(EVERY_LAYER, classes=3, fit="crop")
    (x,) = normal((8, 9, 9, 3))
    made = jax.eval_shape(model.init, jax.random.key(0), x)
    draw = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: np.float32(draw.normal(size=leaf.shape) / 3), made["params"])
    stats = {
        name: {"mean": np.zeros(s["mean"].shape, "f4"), "var": np.ones(s["var"].shape, "f4")}
        for name, s in made["batch_stats"].items()
    }

    def loss(params, stats):
        logits, _ = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(2)},
        )
        return jnp.square(logits - jnp.arange(3.0)).sum()

    gradients = jax.jit(jax.grad(loss))(params, stats)
    assert len(jax.tree.leaves(gradients)) == 7
    for path, gradient in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        assert np.abs(gradient).max() > 1e-6, name


def test_branches_meet():
    """ADD is a sum in one place; CONCAT lays branches side by side in the order given."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2, 3, 3, k)).astype(np.float32) for k in (2, 2))
    np.testing.assert_allclose(nn.Add().apply({}, a, b), a + b)
    joined = nn.Concat().apply({}, a, b, a[..., :1])
    assert joined.shape == (2, 3, 3, 5)
    np.testing.assert_array_equal(joined[..., 2:4], b)
