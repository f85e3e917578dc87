"""How runs went: loss and accuracy over the epochs, from what each left in its folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cnnlab.analysis.pictures import Picture
from cnnlab.analysis.pictures.picture import COLOURS, GREY, blank, dress, plain
from cnnlab.training import UnusableFolder, journal, recipe_of

_Lines = list[dict[str, float]]


class _Run(NamedTuple):
    arm: str
    name: str
    curves: dict[str, NDArray[np.floating]]
    """Of each metric, [points, 2]: epoch and value."""


def curves(folders: Iterable[Path]) -> Picture:
    """Loss and accuracy of some runs, finished or not; runs of one arm have one colour.

    Thin lines are over the epoch's training images so far, as augmented; dots over the validation
    images.

    Args:
        folders: of runs, as `training.run` fills them.

    Returns:
        By run and metric, `<arm>/<folder> train_loss`, arrays [points, 2] of epoch and value; the
        metrics are `train_loss`, `train_accuracy`, `validation_loss` and `validation_accuracy`, the
        accuracies in percent.

    Raises:
        UnusableFolder: there is no run in a folder, or it has not logged anything yet.
        ValueError: no folders.
    """
    runs = [_read(Path(folder)) for folder in folders]
    if not runs:
        raise ValueError("no runs to draw")
    arms = list(dict.fromkeys(run.arm for run in runs))
    figure = blank(9.0, 3.6)
    axes = figure.subplots(1, 2)
    for panel, what in zip(axes, ("loss", "accuracy"), strict=True):
        for run in runs:
            _draw(panel, run.curves, what, COLOURS[arms.index(run.arm) % len(COLOURS)])
        _dress(panel, what)
    _key(figure, arms)
    arrays = {f"{run.name} {metric}": each for run in runs for metric, each in run.curves.items()}
    return Picture(figure, arrays)


def _read(folder: Path) -> _Run:
    arm = recipe_of(folder).arm
    lines = journal.read(folder)
    epochs = [line for line in lines if "epoch" in line]
    if not epochs:
        raise UnusableFolder(f"{folder}: nothing has been logged there yet")
    per_step = epochs[-1]["epoch"] / epochs[-1]["step"]
    found = {
        f"{split}_{name}": _curve(lines, f"{split}_{metric}", per_step)
        for split in ("train", "validation")
        for name, metric in (("loss", "loss"), ("accuracy", "error"))
    }
    for metric in ("train_accuracy", "validation_accuracy"):
        found[metric][:, 1] = 100 - found[metric][:, 1]
    return _Run(arm, f"{folder.parent.name}/{folder.name}", found)


def _curve(lines: _Lines, metric: str, per_step: float) -> NDArray[np.floating]:
    points = [(line["step"] * per_step, line[metric]) for line in lines if metric in line]
    return np.array(points, float).reshape(-1, 2)


def _draw(axes: Axes, found: dict[str, NDArray[Any]], what: str, colour: str) -> None:
    axes.plot(*found[f"train_{what}"].T, color=colour, linewidth=0.7, alpha=0.6)
    axes.plot(*found[f"validation_{what}"].T, "o-", color=colour, linewidth=1.3, markersize=4,
              alpha=0.8)  # fmt: skip


def _dress(axes: Axes, what: str) -> None:
    axes.set_title("loss, nats per image" if what == "loss" else "accuracy, %", fontsize=10)
    axes.set_xlabel("epoch")
    dress(axes)


def _key(figure: Figure, arms: list[str]) -> None:
    lines = [Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=2) for i in range(len(arms))]
    lines += [
        Line2D([], [], color=GREY, linewidth=0.8),
        Line2D([], [], color=GREY, linewidth=1.6, marker="o", markersize=4),
    ]
    labels = [*map(plain, arms), "training", "validation"]
    figure.legend(lines, labels, loc="outside right center", frameon=False, fontsize=8)
