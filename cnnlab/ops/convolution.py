"""Convolution with filters shared over the image, and with a filter of its own per position."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from cnnlab.native import convolution as native
from cnnlab.ops import backend
from cnnlab.ops.checks import check_axes, check_shape
from cnnlab.ops.windows import Size, image_padding, pair


def conv2d(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "Fh Fw Cg K"],
    bias: Float[Array, " K"] | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    fit: str = "crop",
) -> Float[Array, "N Ho Wo K"]:
    """Convolve images with K filters that are shared by all positions.

    As everywhere in the field this is a cross-correlation, the filter is not flipped:
    z(i, j, k) = sum over u, v, c of x(i S + u, j S + v, c) w(u, v, c, k), plus the bias
    (N3, "Convolutional layer"; N0, "Case study").

    Args:
        x: images [N, H, W, C].
        kernel: filters [F, F, C / groups, K].
        bias: one number per filter [K].
        stride: S, pixels.
        padding: P, pixels of zeros on each side.
        dilation: pixels between neighbouring taps of a filter.
        groups: G; filters of the g-th K/G see only the g-th C/G channels.
        fit: what to do with pixels left over, as for `geometry.output_size`.

    Returns:
        Activation maps [N, H', W', K], with H' and W' by `geometry.output_size`.

    Raises:
        DoesNotFit: as for `geometry.output_size`.
        ValueError: shapes that do not go together, or groups that divide C or K unevenly.
    """
    check_axes("x", x, "N H W C")
    check_axes("kernel", kernel, "F F C/groups K")
    _check_channels(x, kernel, groups)
    strides, dilations = pair(stride), pair(dilation)
    pads = image_padding(
        x.shape[1:3],
        kernel=kernel.shape[:2],
        stride=strides,
        padding=pair(padding),
        dilation=dilations,
        fit=fit,
    )
    convolve = native.conv2d if backend.current() == "onednn" else _by_xla
    y = convolve(
        x,
        kernel.astype(x.dtype),
        stride=strides,
        padding=pads,
        dilation=dilations,
        groups=groups,
    )
    if bias is not None:
        check_shape("bias", bias, kernel.shape[3:], "K")
        y = y + bias
    return y.astype(x.dtype)


def local_conv2d(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "Ho Wo Fh Fw C K"],
    bias: Float[Array, "Ho Wo K"] | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    fit: str = "crop",
) -> Float[Array, "N Ho Wo K"]:
    """Convolve images with K filters for each position, none of them shared.

    N2, "Parameter Sharing": the locally-connected layer, for images whose parts differ by where
    they are, such as centred faces.

    Args:
        x: images [N, H, W, C].
        kernel: filters [H', W', F, F, C, K], those of the output position (i, j) at [i, j].
        bias: [H', W', K].
        stride: S, pixels.
        padding: P, pixels of zeros on each side.
        fit: what to do with pixels left over, as for `geometry.output_size`.

    Returns:
        Activation maps [N, H', W', K], with H' and W' by `geometry.output_size`.

    Raises:
        DoesNotFit: as for `geometry.output_size`.
        ValueError: shapes that do not go together.
    """
    check_axes("x", x, "N H W C")
    check_axes("kernel", kernel, "H' W' F F C K")
    strides, window = pair(stride), kernel.shape[2:4]
    pads = image_padding(
        x.shape[1:3], kernel=window, stride=strides, padding=pair(padding), fit=fit
    )
    seen = patches(x, window, strides, pads)
    expected = (seen.shape[1], seen.shape[3], *window, x.shape[3], kernel.shape[5])
    check_shape("kernel", kernel, expected, "H' W' F F C K")
    y = jnp.einsum(
        "nhuwvc,hwuvck->nhwk",
        seen,
        kernel.astype(x.dtype),
    )
    if bias is not None:
        check_shape("bias", bias, y.shape[1:], "H' W' K")
        y = y + bias
    return y.astype(x.dtype)


def _by_xla(
    x: Array,
    kernel: Array,
    *,
    stride: tuple[int, int],
    padding: list[tuple[int, int]],
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _check_channels(x: Array, kernel: Array, groups: int) -> None:
    channels, (per_group, filters) = x.shape[3], kernel.shape[2:]
    if groups < 1 or channels % groups or filters % groups:
        raise ValueError(
            f"groups must divide the channels C and the filters K; got groups {groups}, "
            f"C {channels} of x {x.shape}, K {filters} of kernel {kernel.shape}"
        )
    if per_group * groups != channels:
        raise ValueError(
            f"kernel must take C/groups = {channels}/{groups} = {channels // groups} channels, "
            f"not {per_group}; got x {x.shape} and kernel {kernel.shape}"
        )


def patches(
    x: Array, window: tuple[int, ...], strides: tuple[int, int], pads: list[tuple[int, int]]
) -> Array:
    """What each output position sees, [N, H', F, W', F, C].

    Slices rather than a convolution with one-hot filters: exact at every matrix precision, and
    no multiplications for an analysis to count.
    """
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows = _slide(padded, 1, window[0], strides[0])
    return _slide(rows, 3, window[1], strides[1])


def _slide(x: Array, axis: int, kernel: int, stride: int) -> Array:
    """Replace an axis of pixels by two, windows and the pixels in each."""
    end = x.shape[axis] - kernel + 1
    taps = [lax.slice_in_dim(x, tap, end + tap, stride, axis) for tap in range(kernel)]
    return jnp.stack(taps, axis=axis + 1)
