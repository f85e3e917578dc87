"""Network in Network against the authors' CIFAR-10 definition."""

import jax
import jax.numpy as jnp
import numpy as np

import cnnlab
from cnnlab import models
from cnnlab.geometry import ReceptiveField


def test_row_by_row():
    table = cnnlab.summarize(models.create("nin"), models.network("nin").input_shape)
    rows = [(row.notation, row.shape, row.weights + row.biases) for row in table.rows]
    assert [row for row in rows if row[0] != "RELU"] == [
        ("INPUT", (32, 32, 3), 0),
        ("CONV5-192", (32, 32, 192), 14_592),
        ("CONV1-160", (32, 32, 160), 30_880),
        ("CONV1-96", (32, 32, 96), 15_456),
        ("POOL3/2", (16, 16, 96), 0),
        ("DROP0.5", (16, 16, 96), 0),
        ("CONV5-192", (16, 16, 192), 460_992),
        ("CONV1-192", (16, 16, 192), 37_056),
        ("CONV1-192", (16, 16, 192), 37_056),
        ("POOL3/2", (8, 8, 192), 0),
        ("DROP0.5", (8, 8, 192), 0),
        ("CONV3-192", (8, 8, 192), 331_968),
        ("CONV1-192", (8, 8, 192), 37_056),
        ("CONV1-10", (8, 8, 10), 1_930),
        ("GAP", (10,), 0),
    ]
    kinds = [row[0] for row in rows]
    assert all(kinds[i + 1] == "RELU" for i, kind in enumerate(kinds) if kind.startswith("CONV"))
    assert table.params == 966_986
    assert table.macs == 1024 * (14_400 + 30_720 + 15_360) + 256 * (460_800 + 2 * 36_864) + 64 * (
        331_776 + 36_864 + 1_920
    )
    assert table.receptive_field == ReceptiveField(27, 4)


def test_pooling_windows_hang_over_the_end():
    """Ceil mode: the first window starts at pixel 0, the last one holds two rows of the image."""
    pool = models.create("nin").layers[6]
    assert pool.notation == "POOL3/2"
    image = np.random.default_rng(0).normal(size=(32, 32))
    y = jax.jit(pool.apply)({}, jnp.asarray(image, jnp.float32)[None, :, :, None])
    expected = [[image[2 * i :, 2 * j :][:3, :3].max() for j in range(16)] for i in range(16)]
    np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-6)


def test_classes_are_the_last_maps():
    rows = cnnlab.summarize(models.create("nin", classes=100), (32, 32, 3)).rows
    assert [(row.notation, row.shape) for row in rows[-3:]] == [
        ("CONV1-100", (8, 8, 100)),
        ("RELU", (8, 8, 100)),
        ("GAP", (100,)),
    ]
