"""Windows that step by 2 over padding, against the numbers PyTorch 2.14.1 gives.

x is 1, 2, 3, ... row by row, a filter w 1, 2, 3, ... likewise; the call stands beside the numbers.
Where padding goes shows in the corners: XLA's "SAME" puts all of it at the end of an even image.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import ops


def count(size):
    return jnp.arange(1.0, size * size + 1).reshape(size, size)


def image(size):
    return count(size)[None, :, :, None]


def filters(size):
    return count(size)[:, :, None, None]


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "expected"),
    [  # F.conv2d(x, w, stride=2, padding=padding)
        (4, 3, 1, [[111, 217], [363, 573]]),
        (6, 3, 1, [[145, 265, 343], [519, 789, 879], [915, 1329, 1419]]),
        (4, 7, 3, [[5612, 5340], [3708, 3436]]),
        (6, 7, 3, [[7668, 12130, 10060], [15570, 23829, 19410], [9700, 14540, 11500]]),
        (6, 1, 0, [[1, 3, 5], [13, 15, 17], [25, 27, 29]]),
    ],
)
def test_conv2d(size, kernel, padding, expected):
    y = ops.conv2d(image(size), filters(kernel), stride=2, padding=padding)
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [  # F.max_pool2d(-x, 3, 2, 1)
        (4, [[-1, -2], [-5, -6]]),
        (6, [[-1, -2, -4], [-7, -8, -10], [-19, -20, -22]]),
    ],
)
def test_max_pool(size, expected):
    y = ops.max_pool(-image(size), kernel=3, stride=2, padding=1)
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [  # F.max_pool2d(x, 3, 2, ceil_mode=True)
        (4, [[11, 12], [15, 16]]),
        (6, [[15, 17, 18], [27, 29, 30], [33, 35, 36]]),
    ],
)
def test_max_pool_that_rounds_up(size, expected):
    y = ops.max_pool(image(size), kernel=3, stride=2, fit="pad")
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


@pytest.mark.parametrize(
    ("size", "count_padding", "expected"),
    [  # F.avg_pool2d(9 * x, 3, 2, 1, count_include_pad=count_padding)
        (4, False, [[31.5, 45.0], [85.5, 99.0]]),
        (4, True, [[14, 30], [57, 99]]),
        (6, False, [[40.5, 54, 72], [121.5, 135, 153], [229.5, 243, 261]]),
        (6, True, [[18, 36, 48], [81, 135, 153], [153, 243, 261]]),
    ],
)
def test_avg_pool(size, count_padding, expected):
    y = ops.avg_pool(9 * image(size), kernel=3, stride=2, padding=1, count_padding=count_padding)
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


@pytest.mark.parametrize(
    ("size", "window", "count_padding", "expected"),
    [  # F.avg_pool2d(36 * x, *window, ceil_mode=True, count_include_pad=count_padding), 2.13.0
        (4, (3, 2, 0), True, [[216, 270], [432, 486]]),
        (4, (3, 2, 0), False, [[216, 270], [432, 486]]),
        (4, (3, 2, 1), True, [[56, 120, 72], [228, 396, 216], [162, 270, 144]]),
        (4, (3, 2, 1), False, [[126, 180, 216], [342, 396, 432], [486, 540, 576]]),
        (5, (3, 2, 1), True, [[64, 132, 112], [276, 468, 348], [304, 492, 352]]),
        (5, (4, 3, 2), True, [[36, 108, 45], [252, 576, 210], [129, 282, 100]]),
        (5, (4, 3, 2), False, [[144, 216, 270], [504, 576, 630], [774, 846, 900]]),
    ],
)
def test_avg_pool_that_rounds_up(size, window, count_padding, expected):
    """Padding counts where it is asked to, and what hangs over it never does."""
    names = ("kernel", "stride", "padding")
    options = dict(zip(names, window, strict=True), count_padding=count_padding)
    y = ops.avg_pool(36 * image(size), fit="pad", **options)
    np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [  # F.adaptive_avg_pool2d(36 * x, size), 2.13.0
        ((5, 4), 3, [[126, 162, 198], [342, 378, 414], [558, 594, 630]]),
        ((3, 5), (2, 4), [[144, 180, 216, 252], [324, 360, 396, 432]]),
        ((2, 3), (3, 2), [[54, 90], [108, 144], [162, 198]]),
        ((1, 1), 2, [[36, 36], [36, 36]]),
        ((2, 2), 2, [[36, 72], [108, 144]]),
        (
            (4, 9),
            6,
            [
                [54, 90, 162, 198, 270, 306],
                [216, 252, 324, 360, 432, 468],
                [378, 414, 486, 522, 594, 630],
                [702, 738, 810, 846, 918, 954],
                [864, 900, 972, 1008, 1080, 1116],
                [1026, 1062, 1134, 1170, 1242, 1278],
            ],
        ),
    ],
)
def test_adaptive_avg_pool(shape, size, expected):
    x = 36 * jnp.arange(1.0, shape[0] * shape[1] + 1).reshape(1, *shape, 1)
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, size=size)[0, :, :, 0], expected, rtol=1e-6)
