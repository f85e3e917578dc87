"""What a network says of some images: its best answers (as in Krizhevsky et al. 2012, fig. 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cnnlab.analysis.pictures.picture import (
    BLUE,
    GREY,
    ORANGE,
    Picture,
    blank,
    named,
    show,
    stretched,
)

_ACROSS, _BEST = 4, 5


def scores(
    model: linen.Module,
    variables: Mapping[str, Any],
    images: Array,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """Each image with its five likeliest classes; blue is the right one, orange a wrong first one.

    Args:
        model: gives logits [N, classes].
        variables: parameters and running statistics.
        images: [N, H, W, C], as the network takes them.
        labels: [N], the right classes, if they are known.
        names: of the classes; their numbers if left out.

    Returns:
        Array `probabilities` [N, classes]: the softmax of the scores.

    Raises:
        ValueError: there are not as many names as classes, or labels as images.
    """
    logits = jax.jit(lambda x: model.apply(variables, x, train=False))(images)
    probabilities = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)))
    names = named(probabilities.shape[1], names)
    answers = [None] * len(images) if labels is None else list(labels)
    across = min(_ACROSS, len(images))
    rows = -(-len(images) // across)
    figure = blank(0.3 + 1.9 * across, 2.7 * rows)
    grid = figure.add_gridspec(2 * rows, across, height_ratios=[3, 2] * rows)
    for i, (image, each, answer) in enumerate(
        zip(np.asarray(images), probabilities, answers, strict=True)
    ):
        row, column = divmod(i, across)
        picture = figure.add_subplot(grid[2 * row, column])
        show(picture, stretched(image))
        if answer is not None:
            picture.set_title(names[answer], fontsize=9)
        draw_best(figure.add_subplot(grid[2 * row + 1, column]), each, names, answer)
    return Picture(figure, {"probabilities": probabilities})


def draw_best(
    axes: Axes, probabilities: NDArray[Any], names: Sequence[str], answer: int | None
) -> None:
    """Bars of the likeliest of the classes [classes], the first on top, each named and in %."""
    best = np.argsort(-probabilities, kind="stable")[:_BEST]
    wrong = answer is not None and best[0] != answer
    colours = [BLUE if each == answer or answer is None else GREY for each in best]
    if wrong:
        colours[0] = ORANGE
    axes.barh(range(len(best)), probabilities[best], color=colours, alpha=0.55, height=0.82)
    for row, each in enumerate(best):
        axes.text(0.02, row, names[each], fontsize=7.5, va="center")
        axes.text(0.99, row, f"{probabilities[each]:.0%}", fontsize=6.5, va="center", ha="right")
    axes.set_xlim(0, 1)
    axes.set_ylim(_BEST - 0.5, -0.5)
    axes.axis("off")
