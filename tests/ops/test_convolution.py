"""Convolutions against NumPy loops, the notes' examples, and each other."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnlab import ops
from cnnlab.geometry import DoesNotFit, output_size


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.usefixtures("backend")
class TestConv2d:
    def test_case_study(self, rng):
        """N0, "Case study": X (11, 11, 4), F 5, S 2, P 0, element by element as written."""
        X = rng.normal(size=(11, 11, 4))
        W0, W1 = rng.normal(size=(2, 5, 5, 4))
        b0, b1 = rng.normal(size=2)
        kernel = jnp.asarray(np.stack([W0, W1], axis=-1), jnp.float32)
        V = ops.conv2d(
            jnp.asarray(X[None], jnp.float32), kernel, jnp.asarray([b0, b1], jnp.float32), stride=2
        )[0]
        assert V.shape == (4, 4, 2)
        written = {
            (0, 0, 0): np.sum(X[:5, :5, :] * W0) + b0,
            (1, 0, 0): np.sum(X[2:7, :5, :] * W0) + b0,
            (2, 0, 0): np.sum(X[4:9, :5, :] * W0) + b0,
            (3, 0, 0): np.sum(X[6:11, :5, :] * W0) + b0,
            (0, 0, 1): np.sum(X[:5, :5, :] * W1) + b1,
            (1, 0, 1): np.sum(X[2:7, :5, :] * W1) + b1,
            (2, 0, 1): np.sum(X[4:9, :5, :] * W1) + b1,
            (3, 0, 1): np.sum(X[6:11, :5, :] * W1) + b1,
            (0, 1, 1): np.sum(X[:5, 2:7, :] * W1) + b1,
            (2, 3, 1): np.sum(X[4:9, 6:11, :] * W1) + b1,
        }
        for position, value in written.items():
            np.testing.assert_allclose(V[position], value, rtol=1e-4, atol=1e-5)

    def test_conv_demo(self, rng):
        """N0, "Convolution Demo": integers as there, so that every number is exact."""
        x = rng.integers(0, 3, size=(1, 5, 5, 3))
        kernel = rng.integers(-1, 2, size=(3, 3, 3, 2))
        bias = np.array([1, 0])
        y = ops.conv2d(
            *(jnp.asarray(a, jnp.float32) for a in (x, kernel, bias)), stride=2, padding=1
        )
        assert y.shape == (1, 3, 3, 2)
        expected = numpy_loops.conv2d(x, kernel, bias, stride=2, padding=1)
        np.testing.assert_array_equal(y, expected)

    def test_pattern_moves_with_the_image(self):
        """N3, "Parameter sharing": 0,3,2,0,0 gives 0,1,0,0, and 0,0,3,2,0 gives 0,0,1,0."""
        kernel = jnp.asarray([1.0, 0.0]).reshape(1, 2, 1, 1)

        def detector(*pixels):
            x = jnp.asarray(pixels, jnp.float32).reshape(1, 1, 5, 1)
            return jax.nn.relu(ops.conv2d(x, kernel, jnp.asarray([-2.0]))).ravel().tolist()

        assert detector(0, 3, 2, 0, 0) == [0, 1, 0, 0]
        assert detector(0, 0, 3, 2, 0) == [0, 0, 1, 0]

    def test_filter_is_not_flipped(self):
        """N3: a cross-correlation; a single 1 at tap (0, 1) reads the pixel to the right."""
        x = jnp.arange(9.0).reshape(1, 3, 3, 1)
        kernel = jnp.zeros((2, 2, 1, 1)).at[0, 1].set(1.0)
        np.testing.assert_array_equal(ops.conv2d(x, kernel)[0, :, :, 0], [[1, 2], [4, 5]])

    def test_corner_at_stride_2(self):
        """Padding of one pixel on each side: the first window is centred on pixel 0.

        XLA's "SAME" would put its only padding at the end of an even image, and read 9 here.
        """
        x = jnp.ones((1, 4, 4, 1))
        y = ops.conv2d(x, jnp.ones((3, 3, 1, 1)), stride=2, padding=1)
        np.testing.assert_array_equal(y[0, :, :, 0], [[4, 6], [6, 9]])

    @settings(deadline=None, max_examples=25)
    @given(st.data())
    def test_against_loops(self, data):
        draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
        rng = np.random.default_rng(draw(0, 99))
        groups, size = draw(1, 2), (draw(1, 8), draw(1, 8))
        x = normal(rng, 2, *size, groups * draw(1, 2))
        kernel = normal(rng, draw(1, 3), draw(1, 3), x.shape[3] // groups, groups * draw(1, 2))
        bias = normal(rng, kernel.shape[3])
        options = {
            "stride": (draw(1, 3), draw(1, 3)),
            "padding": (draw(0, 2), draw(0, 2)),
            "dilation": (draw(1, 2), draw(1, 2)),
            "groups": groups,
            "fit": data.draw(st.sampled_from(["crop", "pad"])),
        }
        axes = zip(*(options[name] for name in ("dilation", "padding")), strict=True)
        fits = all(
            d * (f - 1) < s + 2 * p
            for s, f, (d, p) in zip(size, kernel.shape[:2], axes, strict=True)
        )
        assume(fits or options["fit"] == "pad")
        y = jax.jit(partial(ops.conv2d, **options))(x, kernel, bias)
        expected = numpy_loops.conv2d(x, kernel, bias, **options)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(("size", "stride", "padding"), [(7, 1, 0), (11, 2, 1), (9, 4, 2)])
    def test_size_is_that_of_geometry(self, rng, size, stride, padding):
        y = ops.conv2d(
            normal(rng, 1, size, 9, 1), normal(rng, 3, 3, 1, 1), stride=stride, padding=padding
        )
        settings_ = {"kernel": 3, "stride": stride, "padding": padding, "fit": "crop"}
        assert y.shape[1:3] == (output_size(size, **settings_), output_size(9, **settings_))

    def test_one_by_one_is_dense_at_every_position(self, rng):
        """N3, "1x1 Convolutional layer"."""
        x, kernel, bias = normal(rng, 2, 4, 5, 3), normal(rng, 1, 1, 3, 6), normal(rng, 6)
        y = ops.conv2d(x, kernel, bias)
        for i in range(4):
            for j in range(5):
                one = ops.dense(x[:, i, j], kernel[0, 0], bias)
                np.testing.assert_allclose(y[:, i, j], one, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y, ops.dense(x, kernel[0, 0], bias), rtol=1e-5, atol=1e-6)

    @settings(deadline=None, max_examples=10)
    @given(st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 99))
    def test_equivariant_to_translation_on_a_circle(self, down, right, seed):
        """N3, "Parameter sharing": shift and convolve in either order, wrapping around."""
        rng = np.random.default_rng(seed)
        x, kernel = normal(rng, 1, 8, 8, 2), normal(rng, 3, 3, 2, 2)

        def on_a_circle(images):
            return ops.conv2d(jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "wrap"), kernel)

        def shift(images):
            return jnp.roll(images, (down, right), axis=(1, 2))

        np.testing.assert_allclose(
            on_a_circle(shift(x)), shift(on_a_circle(x)), rtol=1e-5, atol=1e-5
        )

    def test_error_by_default_crops_and_can_refuse(self, rng):
        x, kernel = normal(rng, 1, 10, 10, 1), normal(rng, 3, 3, 1, 1)
        assert ops.conv2d(x, kernel, stride=2).shape == (1, 4, 4, 1)
        assert ops.conv2d(x, kernel, stride=2, fit="pad").shape == (1, 5, 5, 1)
        with pytest.raises(DoesNotFit, match=r"4\.5"):
            ops.conv2d(x, kernel, stride=2, fit="error")
        with pytest.raises(DoesNotFit, match="does not fit into 2"):
            ops.conv2d(x[:, :2, :2], kernel)
        with pytest.raises(ValueError, match="mean 'crop'"):
            ops.conv2d(x, kernel, fit="crops")

    @pytest.mark.parametrize(
        ("x", "kernel", "bias", "groups", "message"),
        [
            ((8, 8, 3), (3, 3, 3, 4), None, 1, "x must be [N, H, W, C]; got shape (8, 8, 3)"),
            ((1, 8, 8, 3), (3, 3, 3), None, 1, "kernel must be [F, F, C/groups, K]"),
            ((1, 8, 8, 3), (3, 3, 2, 4), None, 1, "3/1 = 3 channels, not 2"),
            ((1, 8, 8, 4), (3, 3, 4, 4), None, 2, "4/2 = 2 channels, not 4"),
            ((1, 8, 8, 3), (3, 3, 3, 4), None, 2, "groups 2, C 3"),
            ((1, 8, 8, 4), (3, 3, 2, 3), None, 2, "K 3 of kernel (3, 3, 2, 3)"),
            ((1, 8, 8, 3), (3, 3, 3, 4), None, 0, "groups 0"),
            ((1, 8, 8, 3), (3, 3, 3, 4), (3,), 1, "bias must be [K] = (4,); got shape (3,)"),
        ],
    )
    def test_shapes_that_do_not_go_together(self, untyped, x, kernel, bias, groups, message):
        bias = bias and jnp.ones(bias)
        with pytest.raises(ValueError, match=re.escape(message)):
            ops.conv2d(jnp.ones(x), jnp.ones(kernel), bias, groups=groups)

    def test_size_that_is_no_pair(self, untyped):
        with pytest.raises(ValueError, match=r"\(height, width\); got \(1, 2, 3\)"):
            ops.conv2d(jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 1)), stride=(1, 2, 3))


class TestLocalConv2d:
    @settings(deadline=None, max_examples=12)
    @given(st.data())
    def test_against_loops(self, data):
        draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
        rng = np.random.default_rng(draw(0, 99))
        size, window = (draw(3, 7), draw(3, 7)), (draw(1, 3), draw(1, 3))
        options = {
            "stride": (draw(1, 3), draw(1, 3)),
            "padding": (draw(0, 2), draw(0, 2)),
            "fit": data.draw(st.sampled_from(["crop", "pad"])),
        }
        shape = [
            len(numpy_loops.windows_along(s, f, stride, p, fit=options["fit"]))
            for s, f, stride, p in zip(
                size, window, options["stride"], options["padding"], strict=True
            )
        ]
        x, kernel = normal(rng, 2, *size, 2), normal(rng, *shape, *window, 2, 3)
        bias = normal(rng, *shape, 3)
        y = jax.jit(partial(ops.local_conv2d, **options))(x, kernel, bias)
        expected = numpy_loops.local_conv2d(x, kernel, bias, **options)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)

    def test_shared_filter_is_conv2d(self, rng):
        """N2: parameter sharing is all that tells the two layers apart."""
        x, shared, bias = normal(rng, 2, 7, 9, 3), normal(rng, 3, 3, 3, 4), normal(rng, 4)
        y = ops.conv2d(x, shared, bias, stride=2, padding=1)
        kernel = jnp.broadcast_to(shared, (*y.shape[1:3], *shared.shape))
        local = ops.local_conv2d(
            x, kernel, jnp.broadcast_to(bias, y.shape[1:]), stride=2, padding=1
        )
        np.testing.assert_allclose(local, y, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("x", "kernel", "bias", "message"),
        [
            ((8, 8, 3), (6, 6, 3, 3, 3, 4), None, "x must be [N, H, W, C]"),
            ((1, 8, 8, 3), (3, 3, 3, 4), None, "kernel must be [H', W', F, F, C, K]; got"),
            ((1, 8, 8, 3), (5, 6, 3, 3, 3, 4), None, "= (6, 6, 3, 3, 3, 4); got shape (5, 6,"),
            ((1, 8, 8, 3), (6, 6, 3, 3, 2, 4), None, "= (6, 6, 3, 3, 3, 4); got shape (6, 6,"),
            ((1, 8, 8, 3), (6, 6, 3, 3, 3, 4), (4,), "bias must be [H', W', K] = (6, 6, 4); got"),
        ],
    )
    def test_shapes_that_do_not_go_together(self, untyped, x, kernel, bias, message):
        bias = bias and jnp.ones(bias)
        with pytest.raises(ValueError, match=re.escape(message)):
            ops.local_conv2d(jnp.ones(x), jnp.ones(kernel), bias)
