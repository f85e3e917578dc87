"""What a trained network loses with each of its blocks (Veit et al. 2016, fig. 4)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Patch

from cnnlab.analysis.lesion import Block
from cnnlab.analysis.pictures.picture import BLUE, GREY, ORANGE, Picture, blank, dress


def lesions(blocks: Sequence[Block], errors: Sequence[float], whole: float) -> Picture:
    """The error without each block, as a bar; the dashed line is that of the whole network.

    Args:
        blocks: as `analysis.lesion.blocks` gives them.
        errors: without each of them, in percent, as `training.probes.lesion_errors` measures.
        whole: without none.

    Returns:
        Arrays `errors` [blocks] and `whole` [1].

    Raises:
        ValueError: not as many errors as blocks.
    """
    if len(errors) != len(blocks):
        raise ValueError(f"{len(errors)} errors for {len(blocks)} blocks")
    figure = blank(max(4.0, 1.0 + 0.45 * len(blocks)), 3.2)
    axes = figure.add_subplot()
    colours = [BLUE if block.keeps_shape else ORANGE for block in blocks]
    axes.bar(range(len(blocks)), errors, color=colours, width=0.75)
    axes.axhline(whole, color=GREY, linestyle=(0, (4, 3)), linewidth=1.0)
    axes.annotate(f"whole: {whole:.1f}", (1, whole), (2, 0), xycoords=axes.get_yaxis_transform(),
                  textcoords="offset points", fontsize=8, color=GREY, va="center")  # fmt: skip
    axes.set_xticks(range(len(blocks)), [block.name for block in blocks], rotation=60, ha="right",
                    rotation_mode="anchor", fontsize=7)  # fmt: skip
    axes.set_ylim(0, 1.15 * max(*errors, whole))
    axes.set_ylabel("test error without it, %", fontsize=9)
    dress(axes)
    if not all(block.keeps_shape for block in blocks):
        kinds = [Patch(color=BLUE), Patch(color=ORANGE)]
        axes.legend(kinds, ["keeps the shape", "down-sampling"], frameon=False, fontsize=8, ncols=2)
    return Picture(figure, {"errors": np.array(errors), "whole": np.array([whole])})
