"""Every operation under jit, vmap, grad, and in bfloat16 (dropout: in its own file)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnnlab import ops

# Each operation as a function of arrays alone, with the shapes of those arrays.
CASES = {
    "conv2d": (
        lambda x, kernel, bias: ops.conv2d(x, kernel, bias, stride=2, padding=1),
        [(2, 6, 5, 4), (3, 3, 4, 2), (2,)],
    ),
    "conv2d, grouped and dilated": (
        lambda x, kernel: ops.conv2d(x, kernel, dilation=2, groups=2, fit="pad"),
        [(2, 6, 5, 4), (3, 3, 2, 2)],
    ),
    "local_conv2d": (
        lambda x, kernel, bias: ops.local_conv2d(x, kernel, bias, stride=2, padding=1),
        [(2, 6, 5, 4), (3, 3, 3, 3, 4, 2), (3, 3, 2)],
    ),
    "dense": (ops.dense, [(3, 4), (4, 5), (5,)]),
    "max_pool": (lambda x: ops.max_pool(x, kernel=3, stride=2, padding=1), [(2, 6, 5, 4)]),
    "avg_pool": (lambda x: ops.avg_pool(x, kernel=3, stride=2, padding=1), [(2, 6, 5, 4)]),
    "avg_pool, padding counts": (
        lambda x: ops.avg_pool(x, kernel=3, stride=2, padding=1, count_padding=True),
        [(2, 6, 5, 4)],
    ),
    "l2_pool": (lambda x: ops.l2_pool(x, kernel=3, stride=2, padding=1), [(2, 6, 5, 4)]),
    "channel_pool, max": (lambda x: ops.channel_pool(x, kernel=2), [(2, 3, 3, 4)]),
    "channel_pool, avg": (lambda x: ops.channel_pool(x, kernel=2, reduce="avg"), [(2, 3, 3, 4)]),
    "channel_pool, l2": (lambda x: ops.channel_pool(x, kernel=2, reduce="l2"), [(2, 3, 3, 4)]),
    "global_avg_pool": (ops.global_avg_pool, [(2, 6, 5, 4)]),
    "batch_norm, train": (
        lambda *arrays: ops.batch_norm(*arrays, jnp.ones(4), train=True),
        [(2, 3, 3, 4), (4,), (4,), (4,)],
    ),
    "batch_norm, test": (
        lambda *arrays: ops.batch_norm(*arrays, jnp.ones(4), train=False)[0],
        [(2, 3, 3, 4), (4,), (4,), (4,)],
    ),
    "local_response_norm": (lambda x: ops.local_response_norm(x, alpha=0.1), [(2, 2, 2, 8)]),
}
cases = pytest.mark.parametrize(("op", "shapes"), CASES.values(), ids=CASES)


def arrays(shapes, dtype=jnp.float32):
    rng = np.random.default_rng(1)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_finite_differences(name):
    """In float64; where they change with x, second derivatives too."""
    op, shapes = CASES[name]
    curved = name in {"l2_pool", "batch_norm, train", "local_response_norm"}
    order = 2 if curved else 1
    with jax.enable_x64(True):
        given = arrays(shapes, jnp.float64)
        assert first(op(*given)).dtype == jnp.float64
        # A lambda of its own keeps what was traced here from calls in float32.
        check_grads(
            jax.jit(lambda *args: op(*args)), given, order=order, modes=["rev"], eps=1e-4, rtol=1e-3
        )


@cases
def test_jit_changes_nothing(op, shapes):
    given = arrays(shapes)
    for eager, jitted in zip(
        jax.tree.leaves(op(*given)), jax.tree.leaves(jax.jit(op)(*given)), strict=True
    ):
        assert eager.dtype == jitted.dtype == jnp.float32
        np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-6)


@cases
def test_vmap_is_a_loop(op, shapes):
    """Over every argument at once, as over the seeds of an ensemble."""
    given = arrays([(3, *shape) for shape in shapes])
    together = jax.tree.leaves(jax.jit(jax.vmap(op))(*given))
    one = jax.jit(op)
    alone = [jax.tree.leaves(one(*(array[i] for array in given))) for i in range(3)]
    for output, singles in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(output, jnp.stack(singles), rtol=1e-4, atol=1e-5)


@cases
def test_bfloat16(op, shapes):
    """bfloat16 comes out of it, within its three digits of float32; so do the gradients."""
    given = arrays(shapes, jnp.bfloat16)
    wide = [array.astype(jnp.float32) for array in given]

    def close(narrow, reference):
        reference = np.asarray(reference)
        scale = np.abs(reference).max() + 1e-3
        np.testing.assert_allclose(np.asarray(narrow, np.float32), reference, atol=0.02 * scale)

    def total(*args):
        y = first(op(*args))
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        return (y.astype(jnp.float32) * weights).sum(), y

    run = jax.jit(jax.grad(total, tuple(range(len(given))), has_aux=True))
    for narrow, reference in zip(
        jax.tree.leaves(run(*given)), jax.tree.leaves(run(*wide)), strict=True
    ):
        assert narrow.dtype == jnp.bfloat16
        close(narrow, reference)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (lambda x: ops.conv2d(x, jnp.ones((32, 32, 1, 1))), 1024),
        (lambda x: ops.local_conv2d(x.reshape(1, 2, 4, 128), jnp.ones((1, 1, 2, 4, 128, 1))), 1024),
        (lambda x: ops.dense(x.reshape(1, -1), jnp.ones((1024, 1))), 1024),
        (lambda x: ops.avg_pool(x, kernel=32), 1),
        (lambda x: ops.l2_pool(x, kernel=32), 32),
        (ops.global_avg_pool, 1),
        (lambda x: ops.channel_pool(x.reshape(1, 1, 1, -1), kernel=1024, reduce="l2"), 32),
        (
            lambda x: ops.batch_norm(
                x, *[jnp.ones(1)] * 2, *[jnp.zeros(1)] * 2, train=True, momentum=0.0
            )[1],
            1,
        ),
    ],
)
def test_adds_up_in_float32(op, expected):
    """A sum of ones kept in bfloat16 would stop at 256, where 256 + 1 rounds to 256."""
    assert jax.jit(op)(jnp.ones((1, 32, 32, 1), jnp.bfloat16)).item() == expected


def test_products_are_added_up_in_float32_and_rounded_once():
    """A sum of ones kept in bfloat16 would stop at 256; 516 is a bfloat16 number."""
    x, four = jnp.ones((1, 1, 1, 512), jnp.bfloat16), jnp.full(1, 4, jnp.bfloat16)
    kernel = jnp.ones((1, 1, 512, 1), jnp.bfloat16)
    assert ops.conv2d(x, kernel, four).item() == 516
    assert ops.local_conv2d(x, kernel[None, None], four[None, None]).item() == 516
    assert ops.dense(x, kernel[0, 0], four).item() == 516


def test_parameters_in_float32_leave_bfloat16_images_bfloat16():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    assert ops.conv2d(x, jnp.ones((3, 3, 2, 2)), jnp.ones(2)).dtype == jnp.bfloat16
    assert ops.dense(x, jnp.ones((2, 2)), jnp.ones(2)).dtype == jnp.bfloat16


def test_conv2d_is_one_convolution_for_the_compiler():
    """Whoever walks the program to count multiplications finds them in one place."""
    jaxpr = jax.make_jaxpr(ops.conv2d)(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4)))
    names = [equation.primitive.name for equation in jaxpr.eqns]
    assert names.count("conv_general_dilated") == 1
