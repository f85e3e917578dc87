"""Which images give a map of a size: what to say where weights were made for another one."""

from collections.abc import Iterator, Sequence
from typing import Any

from cnnlab import geometry, nn
from cnnlab.ops import pair

LARGEST = 4096
"""Pixels along an axis of the largest image that is looked at."""


def hint(error: Exception, layers: Sequence[nn.Layer]) -> str:
    """Of weights that were made for a map of another size, the images that give it, in words.

    Args:
        error: what the last of the layers refuses its input with.
        layers: one after another, from the image on.

    Returns:
        E.g. `; images of 207 to 238 pixels a side give it`; nothing where the map is not known, or
        no image gives it.
    """
    if not isinstance(error, nn.OtherSize) or error.map_size is None:
        return ""
    height, width = (
        _spoken(list(_sizes(layers, size, axis))) for axis, size in enumerate(error.map_size)
    )
    if not height or not width:
        return ""
    sides = f"{height} pixels a side" if height == width else f"{height} by {width} pixels"
    return f"; images of {sides} give it"


def _sizes(layers: Sequence[nn.Layer], wanted: int, axis: int) -> Iterator[int]:
    """Pixels of the images along an axis that the layers turn into so many."""
    for size in range(1, LARGEST + 1):
        found = _through(layers, size, axis)
        if found == wanted:
            yield size
        if found and found > wanted:
            return


def _through(layers: Sequence[nn.Layer], size: int, axis: int) -> int | None:
    """Pixels behind the layers; None where one does not fit."""
    for layer in layers:
        if window := nn.window(layer):
            kernel, stride, padding = (pair(each)[axis] for each in window)
            numbers: dict[str, Any] = {
                "kernel": kernel,
                "stride": stride,
                "padding": padding,
                "dilation": pair(getattr(layer, "dilation", 1))[axis],
                "fit": getattr(layer, "fit", "crop"),
            }
            if not geometry.fits(size, **numbers):
                return None
            size = geometry.output_size(size, **numbers)
    return size


def _spoken(sizes: Sequence[int]) -> str:
    """`5`, `5 to 9`, `4, 6 or 8`, or the first and last of many."""
    if len(sizes) < 2:
        return "".join(map(str, sizes))
    if sizes[-1] - sizes[0] == len(sizes) - 1:
        return f"{sizes[0]} to {sizes[-1]}"
    first = list(map(str, sizes if len(sizes) < 5 else [*sizes[:3], "...", sizes[-1]]))
    return f"{', '.join(first[:-1])} or {first[-1]}"
