"""Checks of the claims about sizes: how many windows fit, and what padding keeps."""

from __future__ import annotations

import itertools
import re

import jax
import jax.numpy as jnp
from jax import lax

from cnnlab import ops
from cnnlab.evidence.arithmetic.finding import Finding, agreement, slip
from cnnlab.geometry import DoesNotFit, fit_padding, output_size, same_padding


def output_sizes() -> Finding:
    """The notes' four settings; the last one is refused, and the settings offered instead fit."""
    found = [_size(7, 3, 1, 0), _size(7, 3, 2, 0), _size(5, 3, 2, 1), _size(10, 3, 2, 0)]
    offers = _offers(10, 3, 2, 0)
    fits = bool(offers) and all(_size(*setting).isdigit() for setting in offers.values())
    return agreement(
        found == ["5", "3", "3", "4.5"] and fits,
        f"{', '.join(found[:3])}; {found[3]} is refused, nearest that fit: {', '.join(offers)}",
    )


def floor_form() -> Finding:
    """`fit="crop"` against the formula and against the shapes that XLA infers."""
    settings = list(itertools.product((5, 10, 11, 32), (1, 3, 5), (1, 2, 3), (0, 1, 2)))
    equal = [
        output_size(i, kernel=k, stride=s, padding=p, fit="crop")
        == (i + 2 * p - k) // s + 1
        == _size_in_xla(i, k, s, p)
        for i, k, s, p in settings
    ]
    cropped = output_size(10, kernel=3, stride=2, fit="crop")
    return agreement(
        all(equal) and cropped == 4,
        f"XLA and ours equal the floor form in {sum(equal)} of {len(settings)} settings; "
        f"4.5 becomes {cropped}",
    )


def same_size() -> Finding:
    """Every odd F up to 15, on several sizes; `conv2d` itself on the largest."""
    filters, sizes = range(1, 16, 2), (1, 7, 32, 224)
    x = jax.ShapeDtypeStruct((1, 224, 224, 1), jnp.float32)
    kept = [
        output_size(size, kernel=f, padding=same_padding(f)) == size
        for f, size in itertools.product(filters, sizes)
    ]
    for f in filters:
        kernel = jax.ShapeDtypeStruct((f, f, 1, 1), jnp.float32)
        y = jax.eval_shape(lambda x, w, p=(f - 1) // 2: ops.conv2d(x, w, padding=p), x, kernel)
        kept.append(y.shape == x.shape)
    return agreement(
        all(kept) and all(2 * same_padding(f) == f - 1 for f in filters),
        f"size kept in {sum(kept)} of {len(kept)} settings, F = {filters[0]}..{filters[-1]}; "
        f"F=3: P={same_padding(3)}, F=5: P={same_padding(5)}",
    )


def two_filters_in_a_row() -> Finding:
    """N1's example: 7x7 at stride 1, then 5x5 at stride 2."""
    valid, first, second = _size(32, 5, 1, 0), _size(32, 7, 1, 0), _size(26, 5, 2, 0)
    cropped = output_size(26, kernel=5, stride=2, fit="crop")
    return slip(
        (valid, first, second, cropped) == ("28", "26", "11.5", 11),
        f"{valid}; {first}, then {second}",
        f"(26 - 5)/2 + 1 = {second} is no whole number: the filters do not fit, and the note's "
        f"{cropped} comes only by cropping.",
    )


def pooling_discards() -> Finding:
    """The share of activations that 2x2/2 drops; where 3x3/2 does not fit."""
    x = jnp.zeros((1, 32, 32, 3))
    discarded = 1 - ops.max_pool(x, kernel=2, fit="error").size / x.size
    unpadded = _size(32, 3, 2, 0)
    evenly = [_size(32, 3, 2, p).isdigit() for p in range(3)]
    zeros = fit_padding(32, kernel=3, stride=2, padding=0, fit="pad")
    padded = output_size(32 + sum(zeros), kernel=3, stride=2)
    return agreement(
        (discarded, unpadded, evenly, zeros) == (0.75, "15.5", [False] * 3, (0, 1)),
        f"{discarded:.0%}; {unpadded} does not fit, nor does any padding equal on both sides: "
        f"{zeros[1]} pixel of zeros at the end gives {padded}",
    )


def _size(size: int, kernel: int, stride: int, padding: int) -> str:
    """The output size; where the windows do not fit, the fraction that the error names."""
    try:
        return str(output_size(size, kernel=kernel, stride=stride, padding=padding))
    except DoesNotFit as error:
        named = re.search(r"= (\d+\.\d+) is not a whole number", str(error))
        return named[1] if named else str(error)


def _offers(size: int, kernel: int, stride: int, padding: int) -> dict[str, tuple[int, ...]]:
    """The settings that the error offers in place of one that does not fit."""
    setting = {"input size": size, "kernel": kernel, "stride": stride, "padding": padding}
    try:
        output_size(size, kernel=kernel, stride=stride, padding=padding)
    except DoesNotFit as error:
        offered = re.findall(rf"({'|'.join(setting)}) (\d+)(?: or (\d+))?", str(error))
        return {
            f"{name} {value}": tuple((setting | {name: int(value)}).values())
            for name, *values in offered
            for value in values
            if value
        }
    return {}


def _size_in_xla(size: int, kernel: int, stride: int, padding: int) -> int:
    x, w = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 1, size), (1, 1, kernel)))
    y = jax.eval_shape(
        lambda x, w: lax.conv_general_dilated(x, w, (stride,), [(padding, padding)]), x, w
    )
    return y.shape[2]
