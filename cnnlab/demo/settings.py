"""The numbers that make a demo, each with its letter and its limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnlab import geometry

SEED = 0
"""Of the numbers shown, which are the same in every page."""


@dataclass(frozen=True)
class Setting:
    """A whole number of a demo, an argument of its function and a box in its page.

    Attributes:
        name: as the function calls it.
        letter: as the notes call it.
        meaning: a word or two.
        low: the smallest that is shown.
        high: the largest that is still readable.
    """

    name: str
    letter: str
    meaning: str
    low: int
    high: int


SIZE = Setting("size", "W", "input size", 1, 10)
DEPTH = Setting("depth", "C", "depth", 1, 4)
STRIDE = Setting("stride", "S", "stride", 1, 5)


def check(settings: tuple[Setting, ...], values: dict[str, int]) -> None:
    """Check what a demo is asked for, before anything is made.

    Args:
        settings: of the demo; without "padding" there is none.
        values: of every setting, by its name.

    Raises:
        ValueError: a value that is no whole number, or beyond its setting's limits.
        DoesNotFit: windows that do not fit the input, as for `geometry.output_size`.
    """
    for setting in settings:
        number = geometry.whole(setting.name, values[setting.name], at_least=setting.low)
        if number > setting.high:
            raise ValueError(
                f"{setting.name} must be at most {setting.high}, to be readable; got {number}"
            )
    size, kernel, stride = (values[name] for name in ("size", "kernel", "stride"))
    try:
        geometry.output_size(size, kernel=kernel, stride=stride, padding=values.get("padding", 0))
    except geometry.DoesNotFit as misfit:  # a demo takes no `fit`: it shows what fits
        raise geometry.DoesNotFit(str(misfit).partition("; or fit=")[0]) from None


def slices(volume: np.ndarray) -> list[list[list[int | float]]]:
    """A volume [H, W, C] slice by slice, [C][H][W], as the page's script has it."""
    return np.moveaxis(volume, -1, 0).tolist()
