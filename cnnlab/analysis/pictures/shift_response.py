"""How a trained network answers to images that move (claim E18)."""

from collections.abc import Mapping, Sequence

import numpy as np

from cnnlab.analysis.pictures.picture import COLOURS, Picture, blank, dress, plain


def shift_response(responses: Mapping[str, Sequence[tuple[float, float]]]) -> Picture:
    """Error and change of the logits against the distance that images are moved by.

    Args:
        responses: of each network by name, for images moved by 0, 1, 2, ... pixels, the error in
            percent and the change of the logits, as `training.probes.shift_responses` measures
            them with `analysis.shift`.

    Returns:
        By the networks' names, arrays [distances, 2] of error and change.

    Raises:
        ValueError: no network.
    """
    if not responses:
        raise ValueError("no network's responses to draw")
    arrays = {name: np.array(each, float) for name, each in responses.items()}
    figure = blank(7.0, 3.0)
    error, change = figure.subplots(1, 2)
    for i, values in enumerate(arrays.values()):
        for axes, column in ((error, 0), (change, 1)):
            axes.plot(values[:, column], "o-", color=COLOURS[i % len(COLOURS)], markersize=4)
    for axes, label in ((error, "error, %"), (change, "change of the logits")):
        axes.set_xlabel("image moved by, pixels")
        axes.set_title(label, fontsize=10)
        axes.set_xticks(range(max(map(len, arrays.values()))))
        axes.set_ylim(0, 1.1 * axes.dataLim.ymax or 1)
        dress(axes)
    error.legend(error.lines, [*map(plain, arrays)], frameon=False, fontsize=8)
    return Picture(figure, arrays)
