"""What a picture is, and the hand that all of them are drawn in."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cnnlab.analysis.maps import checked, last_of_each_size
from cnnlab.analysis.summary import summarize
from cnnlab.errors import Mistake
from cnnlab.files import write_whole

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")

DPI = 150


class NothingToShow(Mistake):
    """A network that has nothing of what a picture shows."""


@dataclass(frozen=True)
class Picture:
    """A figure, and the numbers in it; as the last line of a notebook's cell it is shown.

    Attributes:
        figure: matplotlib's.
        arrays: what is drawn, by name.
    """

    figure: Figure
    arrays: dict[str, NDArray[Any]] = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the figure to `path`, as PNG, SVG or PDF by its ending; gives the path back."""
        path = Path(path)
        write_whole(path, drawn(self.figure, path.suffix.removeprefix(".") or "png"))
        return path

    def _repr_png_(self) -> bytes:
        return drawn(self.figure, "png")


def drawn(figure: Figure, form: str, **options: Any) -> bytes:
    """A figure as the content of a file: png, svg, pdf; the options are those of `savefig`."""
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=DPI, **options)
    return file.getvalue()


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def stretched(image: NDArray[Any]) -> NDArray[Any]:
    """An image [H, W, C] as it can be shown: its range brought to [0, 1], one channel as grey.

    Of other than one or three channels the mean is shown.
    """
    image = np.asarray(image, np.float32)
    image = (image - image.min()) / (np.ptp(image) or 1)
    return image if image.shape[-1] == 3 else image.mean(axis=-1)


def show(axes: Axes, image: NDArray[Any], **options: Any) -> Any:
    """Draw pixels as squares, without ticks."""
    drawn = axes.imshow(image, interpolation="nearest", **{"cmap": "gray"} | options)
    axes.set_xticks([])
    axes.set_yticks([])
    return drawn


def tiles(
    axes: Axes, images: NDArray[Any], across: int, *, room: float = 0.12, **options: Any
) -> list[tuple[float, float]]:
    """Draw images [n, H, W] or [n, H, W, 3] in rows of so many, one by one from the top left.

    Between rows there is `room`, a part of H. Gives the middle of each image's lower edge.
    """
    height, width = images.shape[1:3]
    edges = []
    for i, image in enumerate(images):
        row, column = divmod(i, across)
        left, top = column * 1.12 * width, row * (1 + room) * height
        show(axes, image, extent=(left, left + width, top + height, top), **options)
        edges.append((left + width / 2, top + height))
    axes.set_xlim(-0.03 * width, max(x for x, _ in edges) + 0.53 * width)
    axes.set_ylim(max(y for _, y in edges) + (room - 0.09) * height, -0.03 * height)
    axes.axis("off")
    return edges


def frame(axes: Axes, rows: range, columns: range, colour: str) -> None:
    """Outline some pixels; what lies outside the image is cut off."""
    corner = (columns.start - 0.5, rows.start - 0.5)
    axes.add_patch(
        Rectangle(corner, len(columns), len(rows), fill=False, edgecolor=colour, linewidth=1.8)
    )


def dress(axes: Axes) -> None:
    """Faint lines to read heights by, behind what is drawn, and no box around it."""
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def mapped(
    model: linen.Module, image_shape: Sequence[int], layers: Sequence[str] | None
) -> dict[str, str]:
    """Layers with a feature map and their notation; the last of each size if none are asked for.

    Raises:
        NothingToShow: the network has no feature maps.
        ValueError: no such layer.
    """
    summary = summarize(model, tuple(image_shape))
    chosen = last_of_each_size(summary) if layers is None else checked(layers, summary)
    if not chosen:
        raise NothingToShow("the network has no layer with a feature map")
    notation = {row.path: row.notation for row in summary.rows}
    return {layer: notation[layer] for layer in chosen}


def plain(name: str) -> str:
    """A name that is drawn as it is: no dollar in it begins a formula."""
    return name.replace("$", r"\$")


def named(classes: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names of so many classes; their numbers where there are none.

    Raises:
        ValueError: there are not as many names as classes.
    """
    if names is None:
        names = [str(number) for number in range(classes)]
    if len(names) != classes:
        raise ValueError(f"{len(names)} names for {classes} classes: {', '.join(names)}")
    return tuple(map(plain, names))
