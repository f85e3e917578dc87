"""Residual blocks against each figure written out in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from residual_numpy import Numpy, block, image, relu, shapes_of, subsampled, variables_of

import cnnlab
from cnnlab import nn, ops


def original(x, net, shortcut):
    """Fig. 4(a)."""
    conv, norm = net.conv, net.norm
    y = relu(norm("bn1", conv("conv1", x)))
    return relu(shortcut(x) + norm("bn2", conv("conv2", y)))


def bn_after_add(x, net, shortcut):
    """Fig. 4(b)."""
    conv, norm = net.conv, net.norm
    y = relu(norm("bn1", conv("conv1", x)))
    return relu(norm("bn2", shortcut(x) + conv("conv2", y)))


def relu_before_add(x, net, shortcut):
    """Fig. 4(c)."""
    conv, norm = net.conv, net.norm
    y = relu(norm("bn1", conv("conv1", x)))
    return shortcut(x) + relu(norm("bn2", conv("conv2", y)))


def relu_preact(x, net, shortcut):
    """Fig. 4(d)."""
    conv, norm = net.conv, net.norm
    y = norm("bn1", conv("conv1", relu(x)))
    return shortcut(x, relu(x)) + norm("bn2", conv("conv2", relu(y)))


def full_preact(x, net, shortcut):
    """Fig. 4(e)."""
    conv, norm = net.conv, net.norm
    preact = relu(norm("bn1", x))
    y = conv("conv1", preact)
    return shortcut(x, preact) + conv("conv2", relu(norm("bn2", y)))


FIGURES = {
    figure.__name__: figure
    for figure in (original, bn_after_add, relu_before_add, relu_preact, full_preact)
}
PREACTIVATION = {
    "relu_preact": lambda net, x: relu(x),
    "full_preact": lambda net, x: relu(net.norm("bn1", x)),
}
NORMALISED = {"original", "relu_before_add", "relu_preact"}
"""The orders in which a projection has a norm, as F has one right before the sum."""


def compare(module, x, strides, figure, shortcut, train=False):
    """`shortcut(net, x, preact)` and `figure(x, net, shortcut)` against the module."""
    variables = variables_of(module, x)
    y, updates = jax.jit(partial(module.apply, train=train, mutable=["batch_stats"]))(variables, x)
    net = Numpy(variables, strides, train)
    expected = figure(
        x, net, lambda x, preact=None: shortcut(net, x, x if preact is None else preact)
    )
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)
    moved = jax.tree.map(
        lambda a, b: bool((a != b).all()), updates["batch_stats"], variables["batch_stats"]
    )
    assert set(jax.tree.leaves(moved)) == {train}


def strides(stride):
    return {"conv1": stride, "conv2": 1, "shortcut_conv": stride}


def projection(order):
    def shortcut(net, x, preact):
        y = net.conv("shortcut_conv", preact)
        return net.norm("shortcut_bn", y) if order in NORMALISED else y

    return shortcut


@pytest.mark.parametrize("order", FIGURES)
class TestOrders:
    """He et al. 2016, fig. 4."""

    @pytest.mark.parametrize("train", [False, True])
    def test_identity(self, order, train):
        """The shape stays: A and B leave x as it is, before any activation."""
        for option in ("A", "B"):
            module = block(3, 1, order=order, shortcut=option)
            compare(module, image(), strides(1), FIGURES[order], lambda net, x, _: x, train)

    def test_subsampled(self, order):
        """A where the shape changes; it starts behind the pre-activation."""
        compare(
            block(6, 2, order=order),
            image(7),
            strides(2),
            FIGURES[order],
            lambda net, x, preact: subsampled(preact, 6, 2),
        )

    @pytest.mark.parametrize(("option", "filters", "stride"), [("B", 6, 2), ("C", 3, 1)])
    def test_projected(self, order, option, filters, stride):
        module = block(filters, stride, order=order, shortcut=option)
        compare(module, image(6), strides(stride), FIGURES[order], projection(order))

    def test_plain(self, order):
        """No shortcut, no sum, and the parameters of option A."""
        plain = block(6, 2, order=order, shortcut="none")
        compare(plain, image(6), strides(2), FIGURES[order], lambda net, x, _: 0)
        assert shapes_of(plain, 3) == shapes_of(block(6, 2, order=order), 3)
        notations = [row.notation for row in cnnlab.summarize(plain, (8, 8, 3)).rows]
        assert not {"ADD", "SHORTCUT-6/2"} & set(notations)

    def test_activated_elsewhere(self, order):
        """Fed its own pre-activation, a block without one gives F(x) of the block with it."""
        x = image()
        own = block(3, 1, order=order, shortcut="none")
        given = block(3, 1, order=order, shortcut="none", activated=True)
        variables = variables_of(own, x)
        y = np.float32(PREACTIVATION.get(order, lambda net, x: x)(Numpy(variables, {}), x))
        before, after = jax.jit(own.apply)(variables, x), jax.jit(given.apply)(variables, y)
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
        assert ("bn1" in shapes_of(given, 3)) == (order != "full_preact")


class TestParameters:
    @pytest.mark.parametrize(("filters", "stride"), [(4, 1), (8, 2)])
    def test_shortcut_a_has_none(self, filters, stride):
        """A21: two convolutions without biases, two norms, nothing else."""
        norm = {"scale": (filters,), "bias": (filters,)}
        assert shapes_of(block(filters, stride), 4) == {
            "conv1": {"kernel": (3, 3, 4, filters)},
            "bn1": norm,
            "conv2": {"kernel": (3, 3, filters, filters)},
            "bn2": norm,
        }

    def test_projections(self):
        """B only where the shape changes (in channels or in size), C everywhere."""
        has = lambda *sizes, **options: {  # noqa: E731
            name: leaf
            for name, leaf in shapes_of(block(*sizes, **options), 4).items()
            if name.startswith("shortcut")
        }
        assert has(4, 1, shortcut="B") == {}
        for filters, stride, option in [(4, 1, "C"), (4, 2, "B"), (8, 1, "B"), (8, 2, "C")]:
            assert has(filters, stride, shortcut=option) == {
                "shortcut_conv": {"kernel": (1, 1, 4, filters)},
                "shortcut_bn": {"scale": (filters,), "bias": (filters,)},
            }
        assert set(has(8, 2, shortcut="B", order="full_preact")) == {"shortcut_conv"}
        assert set(has(8, 2, shortcut="B", order="bn_after_add")) == {"shortcut_conv"}

    def test_constructors_are_given_not_chosen(self):
        """What the block is made of comes from outside: here biases and another momentum."""
        module = nn.ResidualBlock(4, 1, nn.Conv, partial(nn.BatchNorm, momentum=0.0))
        x = jnp.ones((2, 4, 4, 4))
        variables = variables_of(module, x)
        assert variables["params"]["conv1"]["bias"].shape == (4,)
        apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
        _, updates = apply(variables, x)
        kernel, bias = (variables["params"]["conv1"][name] for name in ("kernel", "bias"))
        first = ops.conv2d(x, kernel, bias, padding=1)
        np.testing.assert_allclose(
            updates["batch_stats"]["bn1"]["mean"], np.mean(first, axis=(0, 1, 2)), rtol=1e-4
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"order": "preact"}, r"unknown order: 'preact'; .*did you mean 'relu_preact'\?"),
            ({"shortcut": "a"}, "unknown shortcut: 'a'; choices: none, A, B, C"),
            ({"survival": 0.0}, r"survival is a probability in \(0, 1\]; got 0.0"),
            ({"survival": 1.5}, "got 1.5"),
            ({"survival": 0.5, "shortcut": "none"}, r"left out without a shortcut; .*survival=0.5"),
        ],
    )
    def test_refused_when_made(self, options, message):
        with pytest.raises(ValueError, match=message):
            block(4, 1, **options)


def table(module, channels, size=8):
    rows = cnnlab.summarize(module, (size, size, channels)).rows[1:]
    return [(row.path, row.notation) for row in rows]


class TestTable:
    """Every step is a row, in the order of the figure."""

    def test_original(self):
        assert table(block(8, 2), 4) == [
            ("conv1", "CONV3-8/2"),
            ("bn1", "BN"),
            ("relu1", "RELU"),
            ("conv2", "CONV3-8"),
            ("bn2", "BN"),
            ("shortcut", "SHORTCUT-8/2"),
            ("add", "ADD"),
            ("relu2", "RELU"),
        ]

    def test_preactivated_bottleneck_survives(self):
        module = block(4, 2, "bottleneck", order="full_preact", shortcut="B", survival=0.5)
        assert table(module, 4) == [
            ("bn1", "BN"),
            ("relu1", "RELU"),
            ("conv1", "CONV1-4"),
            ("bn2", "BN"),
            ("relu2", "RELU"),
            ("conv2", "CONV3-4/2"),
            ("bn3", "BN"),
            ("relu3", "RELU"),
            ("conv3", "CONV1-16"),
            ("shortcut_conv", "CONV1-16/2"),
            ("stochastic_depth", "SURVIVE0.5"),
            ("add", "ADD"),
        ]

    def test_shortcut_needs_no_memory(self):
        with_shortcut, plain = (
            cnnlab.summarize(block(8, 2, shortcut=s), (8, 8, 4)).activations for s in ("A", "none")
        )
        assert with_shortcut == plain


class TestBottleneck:
    @pytest.mark.parametrize(("kind", "strided"), [("bottleneck", "conv2"), ("v1", "conv1")])
    @pytest.mark.parametrize("train", [False, True])
    def test_written_out(self, kind, strided, train):
        """Fig. 5 right, with the projection of the first block of a stage."""

        def figure(x, net, shortcut):
            conv, norm = net.conv, net.norm
            y = relu(norm("bn1", conv("conv1", x)))
            y = relu(norm("bn2", conv("conv2", y)))
            return relu(shortcut(x) + norm("bn3", conv("conv3", y)))

        module = block(2, 2, kind, shortcut="B")
        steps = {"conv1": 1, "conv2": 1, "conv3": 1, "shortcut_conv": 2, strided: 2}
        compare(module, image(7), steps, figure, projection("original"), train)

    def test_parameters(self):
        """1x1 down, 3x3, 1x1 up, and the identity on 4K channels."""
        expected = {
            "conv1": {"kernel": (1, 1, 16, 4)},
            "bn1": {"scale": (4,), "bias": (4,)},
            "conv2": {"kernel": (3, 3, 4, 4)},
            "bn2": {"scale": (4,), "bias": (4,)},
            "conv3": {"kernel": (1, 1, 4, 16)},
            "bn3": {"scale": (16,), "bias": (16,)},
        }
        for kind in ("bottleneck", "v1"):
            assert shapes_of(block(4, 1, kind, shortcut="B"), 16) == expected

    def test_written_out_preactivated(self):
        def figure(x, net, shortcut):
            conv, norm = net.conv, net.norm
            y = conv("conv1", relu(norm("bn1", x)))
            y = conv("conv2", relu(norm("bn2", y)))
            return shortcut(x) + conv("conv3", relu(norm("bn3", y)))

        module = block(2, 1, "bottleneck", order="full_preact", shortcut="B")
        steps = {"conv1": 1, "conv2": 1, "conv3": 1}
        compare(module, image(4, channels=8), steps, figure, lambda net, x, _: x)


class TestShortcutA:
    def test_subsamples_and_pads_with_zero_channels(self):
        x = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3)
        np.testing.assert_array_equal(nn.ShortcutA(5, 2).apply({}, x), subsampled(x, 5, 2))

    def test_notation(self):
        assert nn.ShortcutA(32, 2).notation == "SHORTCUT-32/2"
        assert nn.ShortcutA(64).notation == "SHORTCUT-64"

    def test_is_the_identity_where_nothing_changes(self):
        x = jnp.arange(32.0).reshape(1, 4, 4, 2)
        np.testing.assert_array_equal(nn.ShortcutA(2).apply({}, x), x)
