"""Integer arithmetic of windows that slide over images: sizes, padding, receptive fields.

Everything here is about one spatial axis and plain Python integers; no array is ever touched.
Letters as in the notes: W size of the input, F filter size, S stride, P padding, D dilation.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import SupportsIndex

from cnnlab.errors import Mistake, unknown

FITS = ("error", "crop", "pad")


class DoesNotFit(Mistake):
    """The windows do not tile the input neatly (N0, "Spatial arrangement")."""


def output_size(
    size: int,
    *,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    fit: str = "error",
) -> int:
    """Number of windows along one axis, (W - F + 2P)/S + 1 (N0, "Spatial arrangement").

    A dilated filter reaches over D(F - 1) + 1 pixels, and that reach stands for F. When the
    division leaves a remainder, `fit` says what to do; the notes name all three answers.

    Args:
        size: W, pixels of the input along this axis.
        kernel: F, pixels of the window.
        stride: S, pixels between neighbouring windows.
        padding: P, pixels of zeros on each of the two sides.
        dilation: D, pixels between neighbouring taps of the window.
        fit: "error" refuses a remainder; "crop" ignores the last pixels that fill no window
            (the floor form of N3, "Zero Padding"); "pad" adds zeros at the end until one more
            window fits, be it the first and only one of an input smaller than the filter.

    Returns:
        The number of windows, at least 1.

    Raises:
        DoesNotFit: a remainder under "error", or a filter that reaches further than the padded
            input under "error" and "crop".
        ValueError: an argument that is no whole number or out of range, or an unknown `fit`.
    """
    axis = _checked_axis(size, kernel, stride, padding, dilation)
    if fit not in FITS:
        raise ValueError(unknown("fit", fit, FITS))
    if fit == "pad":
        return max(-(-axis.span // axis.stride), 0) + 1
    if axis.span < 0:
        raise DoesNotFit(_too_large(axis))
    if fit == "error" and not axis.fits:
        raise DoesNotFit(_leaves_remainder(axis))
    return axis.span // axis.stride + 1


def fits(
    size: int,
    *,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    fit: str = "error",
) -> bool:
    """Whether `output_size` has an answer; arguments as there."""
    axis = _checked_axis(size, kernel, stride, padding, dilation)
    return fit == "pad" or (axis.span >= 0 if fit == "crop" else axis.fits)


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Padding that keeps the size at stride 1, P = (F - 1)/2 (N0, "Spatial arrangement").

    Args:
        kernel: F, pixels; odd.
        dilation: D, pixels; the padding grows in proportion.

    Returns:
        Pixels of padding on each side.

    Raises:
        DoesNotFit: F is even, so that no padding equal on both sides keeps the size.
        ValueError: an argument that is no positive whole number.
    """
    kernel = whole("kernel", kernel, at_least=1)
    dilation = whole("dilation", dilation, at_least=1)
    if kernel % 2 == 0:
        raise DoesNotFit(
            f"no symmetric padding keeps the size under an even filter: (F-1)/2 = ({kernel}-1)/2 "
            f"= {(kernel - 1) / 2:g}; the nearest odd filters are {kernel - 1} and {kernel + 1}"
        )
    return dilation * (kernel - 1) // 2


def fit_padding(
    size: int, *, kernel: int, stride: int, padding: int, dilation: int = 1, fit: str
) -> tuple[int, int]:
    """Padding to apply before and after an axis, so that the floor form gives `output_size`.

    Only "pad" makes the two differ: its extra zeros go at the end (bottom, right), so that the
    first window stays where it is under the other answers.

    Args:
        size: W, pixels.
        kernel: F, pixels.
        stride: S, pixels.
        padding: P, pixels on each side.
        dilation: D, pixels.
        fit: as for `output_size`.

    Returns:
        Pixels of padding (low, high).

    Raises:
        DoesNotFit: as for `output_size`.
        ValueError: as for `output_size`.
    """
    windows = output_size(
        size, kernel=kernel, stride=stride, padding=padding, dilation=dilation, fit=fit
    )
    reach = (windows - 1) * stride + dilation * (kernel - 1) + 1
    return padding, max(padding, reach - size - padding)


@dataclass(frozen=True)
class ReceptiveField:
    """What one neuron sees of the input along one axis.

    Attributes:
        size: pixels of the input that can reach the neuron, border effects aside.
        step: pixels of the input between the fields of two neighbouring neurons.
    """

    size: int = 1
    step: int = 1

    def then(self, kernel: int, stride: int = 1, dilation: int = 1) -> ReceptiveField:
        """The field of a neuron one layer further up (N0, "Prefer a stack of small filter CONV").

        Args:
            kernel: F of the added layer, in pixels of its own input.
            stride: S of the added layer.
            dilation: D of the added layer.

        Returns:
            A field of size + (F - 1) D step pixels, with S times the step.

        Raises:
            ValueError: an argument that is no positive whole number.
        """
        kernel = whole("kernel", kernel, at_least=1)
        stride = whole("stride", stride, at_least=1)
        dilation = whole("dilation", dilation, at_least=1)
        return ReceptiveField(
            size=self.size + (kernel - 1) * dilation * self.step, step=self.step * stride
        )


def receptive_field(layers: Iterable[tuple[int, int] | tuple[int, int, int]]) -> ReceptiveField:
    """Receptive field of a stack of layers, from the input up.

    Args:
        layers: (kernel, stride) or (kernel, stride, dilation) of each layer, the first one first.

    Returns:
        The field of a neuron of the last layer; one pixel for no layer at all.

    Raises:
        ValueError: a number that is no positive whole number.
    """
    field = ReceptiveField()
    for layer in layers:
        field = field.then(*layer)
    return field


def whole(name: str, value: SupportsIndex, *, at_least: int) -> int:
    """The number as a plain integer.

    Args:
        name: what it is, for the error.
        value: an integer, NumPy's too.
        at_least: the smallest allowed.

    Raises:
        ValueError: it is no whole number, or smaller; a truth value is none.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < at_least:
        raise ValueError(f"{name} must be a whole number, at least {at_least}; got {value!r}")
    return number


@dataclass(frozen=True)
class _Axis:
    """The checked numbers of one axis."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def reach(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def span(self) -> int:
        """Pixels the window can travel; negative where it does not fit even once."""
        return self.size - self.reach + 2 * self.padding

    @property
    def fits(self) -> bool:
        return self.span >= 0 and self.span % self.stride == 0

    @property
    def formula(self) -> str:
        dilated = f" (F = {self.dilation}*({self.kernel}-1)+1 = {self.reach} as dilated)"
        return (
            f"(W-F+2P)/S+1 = ({self.size}-{self.reach}+2*{self.padding})/{self.stride}+1 = "
            f"{self.span / self.stride + 1:g}{dilated if self.dilation > 1 else ''}"
        )


def _checked_axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> _Axis:
    return _Axis(
        size=whole("size", size, at_least=1),
        kernel=whole("kernel", kernel, at_least=1),
        stride=whole("stride", stride, at_least=1),
        padding=whole("padding", padding, at_least=0),
        dilation=whole("dilation", dilation, at_least=1),
    )


def _leaves_remainder(axis: _Axis) -> str:
    crop = axis.span // axis.stride + 1
    return (
        f"{axis.formula} is not a whole number: the windows do not fit. "
        f'{_nearest_settings(axis)}; or fit="crop" ({crop}) or fit="pad" ({crop + 1})'
    )


def _too_large(axis: _Axis) -> str:
    return (
        f"{axis.formula}: a filter that reaches over {axis.reach} pixels does not fit into "
        f"{axis.size + 2 * axis.padding} ({axis.size} of input, 2*{axis.padding} of padding). "
        f'{_nearest_settings(axis)}; or fit="pad" (1)'
    )


def _nearest_settings(axis: _Axis) -> str:
    """Which single numbers could change, each to its nearest values that fit exactly."""
    # Remainders repeat every stride, and a filter too large is cured within its excess; a stride
    # only fits where it divides the span.
    far = axis.stride + max(-axis.span, 0)
    found = {
        "stride": _around(axis, "stride", 1, axis.span),
        "padding": _around(axis, "padding", 0, axis.padding + far),
        "kernel": _around(axis, "kernel", 1, axis.kernel + far),
        "input size": _around(axis, "size", 1, axis.size + far),
    }
    offers = [f"{name} {' or '.join(map(str, values))}" for name, values in found.items() if values]
    return f"Nearest that fit, one changed at a time: {', '.join(offers)}"


def _around(axis: _Axis, name: str, low: int, high: int) -> list[int]:
    """The nearest values below and above that fit when they alone replace the present one."""
    start = getattr(axis, name)
    downwards, upwards = range(start - 1, low - 1, -1), range(start + 1, high + 1)
    candidates = (
        next((value for value in values if replace(axis, **{name: value}).fits), None)
        for values in (downwards, upwards)
    )
    return [value for value in candidates if value is not None]
