"""OneDNN's convolutions against XLA's in float32: values, derivatives, transformations."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from cnnlab.native import convolution, library

# x, kernel, stride, padding, dilation, groups
CASES: dict[str, tuple[Any, ...]] = {
    "plain": ((2, 8, 8, 16), (3, 3, 16, 16), 1, ((1, 1), (1, 1)), 1, 1),
    "an image's three channels": ((5, 9, 7, 3), (3, 3, 3, 16), 1, ((1, 1), (1, 1)), 1, 1),
    "stride, uneven padding": ((1, 9, 7, 5), (3, 3, 5, 10), 2, ((1, 0), (1, 1)), 1, 1),
    "cropped by the stride": ((2, 8, 8, 16), (1, 1, 16, 32), 2, ((0, -1), (0, -1)), 1, 1),
    "1x1": ((2, 8, 8, 16), (1, 1, 16, 10), 1, ((0, 0), (0, 0)), 1, 1),
    "7x7": ((2, 19, 21, 3), (7, 7, 3, 8), 2, ((3, 2), (3, 3)), 1, 1),
    "dilated": ((2, 12, 12, 16), (3, 3, 16, 16), 1, ((2, 2), (2, 2)), 2, 1),
    "groups": ((2, 8, 8, 16), (3, 3, 4, 32), 1, ((1, 1), (1, 1)), 1, 4),
    "a filter for each channel": ((2, 8, 8, 12), (3, 3, 1, 12), 1, ((1, 1), (1, 1)), 1, 12),
    "one number": ((1, 1, 1, 1), (1, 1, 1, 1), 1, ((0, 0), (0, 0)), 1, 1),
    "mostly padding": ((2, 3, 3, 4), (3, 3, 4, 4), 1, ((5, 5), (5, 5)), 1, 1),
    "not square": ((2, 10, 6, 8), (3, 1, 8, 8), (2, 1), ((1, 1), (0, 0)), 1, 1),
    "a large batch": ((35, 6, 6, 8), (3, 3, 8, 16), 1, ((1, 1), (1, 1)), 1, 1),
    "no image": ((0, 8, 8, 3), (3, 3, 3, 4), 1, ((1, 1), (1, 1)), 1, 1),
    "no filter": ((2, 8, 8, 3), (3, 3, 3, 0), 1, ((1, 1), (1, 1)), 1, 1),
    "no output": ((2, 2, 2, 3), (3, 3, 3, 4), 1, ((0, 0), (0, 0)), 1, 1),
    "cropped by more": ((2, 9, 9, 3), (3, 3, 3, 4), 2, ((-1, -2), (0, 0)), 1, 1),
}
by_xla = {"no image", "no filter", "no output", "cropped by more"}

Function = Callable[..., Any]


def normal(shape: tuple[int, ...], dtype: Any = jnp.float32, seed: int = 0) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def functions(case: str) -> tuple[Function, Function]:
    """The convolution by oneDNN and by XLA."""
    _, _, stride, padding, dilation, groups = CASES[case]
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    options = {"padding": padding, "groups": groups}
    native = partial(convolution.conv2d, stride=strides, dilation=(dilation, dilation), **options)
    xla = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return native, xla


def operands(case: str, dtype: Any = jnp.float32) -> tuple[Array, Array]:
    return normal(CASES[case][0], dtype), normal(CASES[case][1], dtype, seed=1)


def assert_close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        limit = tolerance * max(1, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=limit)


def value_and_gradients(function: Function, upstream: Array) -> Function:
    def compute(x: Array, kernel: Array) -> Any:
        y, pull_back = jax.vjp(function, x, kernel)
        return y, pull_back(upstream.astype(y.dtype))

    return jax.jit(compute)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.016)])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, dtype: Any, tolerance: float) -> None:
    native, xla = functions(case)
    x, kernel = operands(case, dtype)
    wide = x.astype(jnp.float32), kernel.astype(jnp.float32)
    upstream = normal(jax.eval_shape(xla, x, kernel).shape, dtype, seed=2)
    found = value_and_gradients(native, upstream)(x, kernel)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
    assert_close(found, value_and_gradients(xla, upstream)(*wide), tolerance)


@pytest.mark.parametrize("case", CASES)
def test_onednn_computes_it(case: str) -> None:
    native, _ = functions(case)
    total = lambda *given: native(*given).sum()  # noqa: E731
    text = jax.jit(jax.grad(total, (0, 1))).lower(*operands(case)).as_text()
    for name in ("conv_backward_data", "conv_backward_filters"):
        assert (f"@cnnlab_{name}" in text) is (case not in by_xla)


@pytest.mark.parametrize("case", ["plain", "stride, uneven padding"])
def test_forward_mode_and_second_derivative(case: str) -> None:
    native, xla = functions(case)
    given = operands(case)
    directions = jnp.sin(given[0]), jnp.cos(given[1])

    def second(function: Function) -> Function:
        def inner(x: Array, kernel: Array) -> Array:
            total = lambda *given: jnp.sum(function(*given) ** 3) * 1e-4  # noqa: E731
            by_x, by_kernel = jax.grad(total, (0, 1))(x, kernel)
            return ((by_x**2).sum() + (by_kernel**2).sum()) * 1e-4

        return jax.jit(jax.grad(inner, (0, 1)))

    def forward(function: Function) -> Any:
        return jax.jit(partial(jax.jvp, function))(given, directions)

    assert_close(forward(native), forward(xla))
    assert_close(second(native)(*given), second(xla)(*given), 2e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap(axes: tuple[int | None, int | None]) -> None:
    native, xla = functions("plain")
    given = [
        array if axis is None else jnp.stack([array, -2 * array])
        for array, axis in zip(operands("plain"), axes, strict=True)
    ]

    def gradients(function: Function) -> Any:
        total = lambda *given: jnp.sum(jax.vmap(function, axes)(*given) ** 2)  # noqa: E731
        return jax.jit(jax.value_and_grad(total, (0, 1)))(*given)

    assert_close(gradients(native), gradients(xla), 2e-5)


def test_checkpoint_scan_and_no_jit() -> None:
    native, xla = functions("plain")
    x, kernel = operands("plain")

    def deep(function: Function) -> Any:
        layer = jax.checkpoint(lambda x, k: jnp.tanh(function(x, k)))
        total = lambda k: lax.scan(lambda a, _: (layer(a, k), None), x, length=3)[0].sum()  # noqa: E731
        return jax.jit(jax.grad(total))(kernel)

    assert_close(deep(native), deep(xla), 5e-5)
    with jax.disable_jit():
        assert_close(native(x, kernel), xla(x, kernel))


def test_from_several_threads() -> None:
    native, xla = functions("plain")
    given = operands("plain")
    upstream = jnp.ones((2, 8, 8, 16))
    compute, expected = (value_and_gradients(f, upstream) for f in (native, xla))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert_close(compute(*given), expected(*given))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


def test_bfloat16_is_xlas_where_the_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    native, _ = functions("plain")
    program = lambda dtype: jax.jit(native).lower(*operands("plain", dtype)).as_text()  # noqa: E731
    monkeypatch.setattr(library, "convolves_bfloat16", lambda: False)
    assert "@cnnlab_conv_forward" not in program(jnp.bfloat16)
    assert "@cnnlab_conv_forward" in program(jnp.float32)


BFLOAT16 = """
import jax.numpy as jnp
from cnnlab import ops
from cnnlab.native import library

x, kernel = jnp.ones((2, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 16), jnp.bfloat16)
with ops.using("onednn"):
    print(ops.conv2d(x, kernel)[0, 4, 4, 0], library.convolves_bfloat16())
"""


@pytest.mark.parametrize(("instructions", "able"), [("AVX2", False), ("ALL", True)])
def test_onednn_is_asked_what_the_processor_can(instructions: str, able: bool) -> None:
    """And told of an older one, it is one."""
    if able and "avx512bw" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("a processor without AVX-512")
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-c", BFLOAT16]
    assert subprocess.check_output(command, env=environment, text=True) == f"144 {able}\n"


def test_onednns_error_is_pythons() -> None:
    call = jax.ffi.ffi_call("cnnlab_conv_forward", jax.ShapeDtypeStruct((1, 5, 5, 4), jnp.float32))
    window = np.array([1, 1, 0, 0, 0, 0, 1, 1, 1])
    with pytest.raises(jax.errors.JaxRuntimeError, match="oneDNN"):
        call(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4)), window=window).block_until_ready()


def test_an_accelerator_is_given_xlas() -> None:
    native, _ = functions("plain")
    gradients = jax.jit(jax.grad(lambda *given: native(*given).sum(), (0, 1)))
    exported = jax.export.export(gradients, platforms=["cuda", "tpu"])(*operands("plain"))
    assert "@cnnlab_" not in exported.mlir_module()
    assert "stablehlo.convolution" in exported.mlir_module()
