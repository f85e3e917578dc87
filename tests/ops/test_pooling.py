"""Pooling against NumPy loops and by hand."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab import ops
from cnnlab.geometry import DoesNotFit

reductions = {
    "max": (ops.max_pool, lambda pixels: pixels.max(axis=1)),
    "avg": (ops.avg_pool, lambda pixels: pixels.mean(axis=1)),
    "l2": (ops.l2_pool, lambda pixels: np.sqrt((pixels**2).sum(axis=1))),
}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", reductions)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_against_loops(name, data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    op, reduce = reductions[name]
    x = np.random.default_rng(draw(0, 99)).normal(size=(2, draw(4, 8), draw(4, 8), 3))
    kernel = (draw(1, 4), draw(1, 4))
    options = {
        "kernel": kernel,
        "stride": tuple(draw(1, f) for f in kernel),
        "padding": tuple(draw(0, f // 2) for f in kernel),
        "fit": data.draw(st.sampled_from(["crop", "pad"])),
    }
    windows = [
        numpy_loops.windows_along(size, f, s, p, fit=options["fit"])[-1]
        for size, f, s, p in zip(x.shape[1:3], *list(options.values())[:3], strict=True)
    ]
    if any(last[0] >= size for last, size in zip(windows, x.shape[1:3], strict=True)):
        with pytest.raises(ValueError, match="nothing but padding"):
            op(jnp.asarray(x, jnp.float32), **options)
        return
    y = jax.jit(partial(op, **options))(jnp.asarray(x, jnp.float32))
    expected = numpy_loops.pool(x, reduce, **options)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)


def test_discards_three_quarters():
    """N0: 2x2 windows at stride 2, the default stride, keep depth and a quarter of the values."""
    x = jnp.ones((1, 32, 32, 3))
    for op in (ops.max_pool, ops.avg_pool, ops.l2_pool):
        y = op(x, kernel=2)
        assert y.shape == (1, 16, 16, 3)
        assert 1 - y.size / x.size == 0.75


@pytest.mark.usefixtures("backend")
def test_max_pool_of_the_note():
    """The 4x4 example of N0's picture of max pooling."""
    x = jnp.asarray([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], jnp.float32)
    y = ops.max_pool(x[None, :, :, None], kernel=2, stride=2)
    np.testing.assert_array_equal(y[0, :, :, 0], [[6, 8], [3, 4]])


@pytest.mark.usefixtures("backend")
def test_padding_never_wins_a_maximum():
    x = -jnp.ones((1, 4, 4, 1))
    np.testing.assert_array_equal(ops.max_pool(x, kernel=3, stride=2, padding=1, fit="pad"), -1.0)


@pytest.mark.parametrize(
    ("count_padding", "corner", "edge", "inside"),
    [(False, 9 / 9, 9 / 9, 9 / 9), (True, 4 / 9, 6 / 9, 9 / 9)],
)
def test_average_at_the_border(count_padding, corner, edge, inside):
    x = jnp.ones((1, 4, 4, 1))
    y = ops.avg_pool(x, kernel=3, stride=1, padding=1, count_padding=count_padding)[0, :, :, 0]
    row = [corner, edge, edge, corner]
    middle = [edge, inside, inside, edge]
    np.testing.assert_allclose(y, [row, middle, middle, row], rtol=1e-6)


def test_zeros_added_to_fit_never_count():
    x = jnp.ones((1, 3, 3, 1))
    kept = ops.avg_pool(x, kernel=2, fit="pad")[0, :, :, 0]
    np.testing.assert_array_equal(kept, np.ones((2, 2)))
    counted = ops.avg_pool(x, kernel=2, fit="pad", count_padding=True)[0, :, :, 0]
    np.testing.assert_array_equal(counted, np.ones((2, 2)))


def test_l2_pool_is_the_norm():
    x = jnp.asarray([[3.0, 4.0], [0.0, 12.0]]).reshape(1, 2, 2, 1)
    assert ops.l2_pool(x, kernel=2).item() == 13.0


def test_l2_pool_has_a_gradient_at_zero():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(2.0)
    gradient = jax.grad(lambda x: ops.l2_pool(x, kernel=2).sum())(x)
    np.testing.assert_array_equal(gradient, (x > 0).astype(jnp.float32))


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [("max", [2, 4, 6]), ("avg", [1.5, 3.5, 5.5]), ("l2", [5**0.5, 5, 61**0.5])],
)
def test_channel_pool(reduce, expected):
    """N3, "Pooling Layer": width and height stay, channels become fewer."""
    x = jnp.broadcast_to(jnp.arange(1.0, 7.0), (2, 3, 4, 6))
    y = ops.channel_pool(x, kernel=2, reduce=reduce)
    assert y.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-6)


def test_channel_pool_with_overlap():
    x = jnp.asarray([[1.0, 5.0, 2.0, 0.0, 3.0]])
    np.testing.assert_array_equal(ops.channel_pool(x, kernel=3, stride=2), [[5, 3]])


def test_channel_pool_drops_no_channel():
    with pytest.raises(DoesNotFit, match=r"2\.5"):
        ops.channel_pool(jnp.ones((1, 2, 2, 5)), kernel=2)


def test_channel_pool_names_its_reductions():
    with pytest.raises(ValueError, match=r"'mux'; choices: .*; did you mean 'max'"):
        ops.channel_pool(jnp.ones((1, 2, 2, 4)), kernel=2, reduce="mux")


def test_global_average():
    x = jnp.arange(24.0).reshape(1, 3, 4, 2)
    np.testing.assert_array_equal(ops.global_avg_pool(x), [[11, 12]])


@pytest.mark.parametrize("op", [ops.max_pool, ops.avg_pool, ops.l2_pool])
class TestErrors:
    def test_rank(self, op, untyped):
        with pytest.raises(ValueError, match=r"\[N, H, W, C\]; got shape \(4, 4, 1\)"):
            op(jnp.ones((4, 4, 1)), kernel=2)

    def test_window_of_padding(self, op):
        for options in ({"padding": 2}, {"stride": 3, "fit": "pad"}):
            with pytest.raises(ValueError, match="nothing but padding: input 3, kernel 2"):
                op(jnp.ones((1, 3, 3, 1)), kernel=2, **options)

    def test_refuses_to_crop(self, op):
        with pytest.raises(DoesNotFit, match=r"15\.5"):
            op(jnp.ones((1, 32, 32, 1)), kernel=3, stride=2, fit="error")


def test_global_average_rank(untyped):
    with pytest.raises(ValueError, match=r"got shape \(4, 4, 1\)"):
        ops.global_avg_pool(jnp.ones((4, 4, 1)))


class TestAdaptive:
    @pytest.mark.parametrize(
        ("shape", "size"), [((7, 5), (3, 4)), ((2, 9), (5, 1)), ((6, 6), (6, 6))]
    )
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_windows_of_the_closed_form(self, shape, size, dtype):
        """Window i of n goes from floor(i H / n) to ceil((i + 1) H / n)."""
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *shape, 3)), dtype)
        wide = np.float64(x)
        (h, w), (rows, columns) = shape, size
        expected = [
            [
                wide[
                    :,
                    math.floor(i * h / rows) : math.ceil((i + 1) * h / rows),
                    math.floor(j * w / columns) : math.ceil((j + 1) * w / columns),
                ].mean(axis=(1, 2))
                for j in range(columns)
            ]
            for i in range(rows)
        ]
        y = jax.jit(partial(ops.adaptive_avg_pool, size=size))(x)
        assert (y.shape, y.dtype) == ((2, *size, 3), dtype)
        expected = np.moveaxis(expected, 2, 0)
        np.testing.assert_allclose(
            np.float64(y), expected, rtol=1e-2 if dtype == "bfloat16" else 1e-5
        )

    def test_its_own_size_is_left_as_it_is(self):
        x = jnp.ones((1, 3, 4, 2))
        assert ops.adaptive_avg_pool(x, size=(3, 4)) is x

    @pytest.mark.parametrize("size", [0, -1, (2, 0), 1.5, True])
    @pytest.mark.usefixtures("untyped")
    def test_no_size(self, size):
        with pytest.raises(ValueError, match="size must be a whole number, at least 1"):
            ops.adaptive_avg_pool(jnp.ones((1, 3, 4, 2)), size=size)

    @pytest.mark.usefixtures("untyped")
    def test_no_images(self):
        with pytest.raises(ValueError, match=r"x must be \[N, H, W, C\]"):
            ops.adaptive_avg_pool(jnp.ones((3, 4, 2)), size=2)
