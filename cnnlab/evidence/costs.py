"""What accuracy costs: of each arm, in weights, multiply-adds and memory."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from cnnlab.analysis.counts import UNKNOWN
from cnnlab.analysis.pictures import Picture
from cnnlab.analysis.pictures.picture import COLOURS, GREY, blank, dress, plain
from cnnlab.evidence.tables import FLOAT32_BYTES
from cnnlab.training import Record
from cnnlab.training.folder import differences

_MARKERS = "osD^vPX"


def costs(records: Iterable[Record]) -> Picture:
    """Test accuracy against weights, MACs and activation memory: a dot a run, a mark an arm's mean.

    The grey line goes through the arms that are better than all that are cheaper.

    Args:
        records: of a table, or of several, on one data set; what diverged counts as guessing.

    Returns:
        Arrays `arm` [arms], `accuracy` [arms], the mean in percent, `weights`, `macs` and `memory`
        [arms]: trainable numbers, multiply-adds and bytes of float32 activations of one image; nan
        where a count is not known, and its panel names the arm instead.

    Raises:
        ValueError: no records; records on several data sets; an arm whose runs differ in more than
            the seed, as those that chose its learning rate do, or another table's arm of its name.
    """
    records = list(records)
    _check(records)
    arms = list(dict.fromkeys(record.arm for record in records))
    of = {arm: [record for record in records if record.arm == arm] for arm in arms}
    accuracies = {arm: [_accuracy(record) for record in of[arm]] for arm in arms}
    means = np.array([np.mean(accuracies[arm]) for arm in arms])
    found = {name: np.array([_cost(of[arm], name) for arm in arms]) for name in _COSTS}
    figure = blank(10.5, 3.9)
    panels = figure.subplots(1, len(_COSTS), sharey=True)
    for axes, (name, values) in zip(panels, found.items(), strict=True):
        _frontier(axes, values, means)
        _name_unknown(axes, values, arms)
        for i, arm in enumerate(arms):
            runs = accuracies[arm]
            axes.scatter([values[i]] * len(runs), runs, s=14, color=_colour(i), alpha=0.4,
                         linewidths=0, zorder=2)  # fmt: skip
            axes.plot(values[i], means[i], _marker(i), color=_colour(i), markersize=7,
                      markeredgecolor="white", zorder=3)  # fmt: skip
        _dress(axes, name, values)
    panels[0].set_ylabel("test accuracy, %")
    figure.suptitle(str(records[0].dataset["title"]), fontsize=10)
    marks = [Line2D([], [], color=_colour(i), marker=_marker(i), linestyle="")
             for i in range(len(arms))]  # fmt: skip
    figure.legend(marks, [*map(plain, arms)], loc="outside right center", frameon=False, fontsize=8)
    return Picture(figure, {"arm": np.array(arms), "accuracy": means, **found})


def _accuracy(record: Record) -> float:
    return 100 - record.metrics["test_error"]


_COSTS = {
    "weights": ("weights", 1),
    "macs": ("macs", 1),
    "memory": ("activations", FLOAT32_BYTES),
}
"""What each panel shows: a count of the record's, so many times."""


def _cost(records: Sequence[Record], name: str) -> float:
    """Nan where it is not known."""
    count, times = _COSTS[name]
    found = {record.network.get(count) for record in records}
    if len(found) > 1:
        known = [str(each) for each in sorted(int(each) for each in found if each is not None)]
        known += [UNKNOWN] * (None in found)
        raise ValueError(
            f"arm {records[0].arm!r} is of several networks, {name} [{', '.join(known)}]"
        )
    (value,) = found
    return np.nan if value is None else float(value) * times


def _check(records: Sequence[Record]) -> None:
    titles = sorted({str(record.dataset["title"]) for record in records})
    if not titles:
        raise ValueError("no records to draw")
    if len(titles) > 1:
        raise ValueError(f"records of several data sets cannot be compared: {', '.join(titles)}")
    for record in records:
        first = next(each for each in records if each.arm == record.arm)
        if differing := list(differences(_recipe(first), _recipe(record))):
            raise ValueError(f"arm {record.arm!r} has several recipes: {'; '.join(differing)}")


def _recipe(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.config.items() if key != "seed"}


def _name_unknown(axes: Axes, values: NDArray[np.floating], arms: Sequence[str]) -> None:
    names = [plain(arm) for arm, value in zip(arms, values, strict=True) if np.isnan(value)]
    if names:
        said = f"{UNKNOWN}: {', '.join(names)}"
        axes.text(0.5, 0.02, said, transform=axes.transAxes, ha="center", fontsize=7, wrap=True)


def _frontier(axes: Axes, values: NDArray[np.floating], means: NDArray[np.floating]) -> None:
    order = [i for i in np.lexsort((-means, values)) if np.isfinite(values[i])]
    best = [i for at, i in enumerate(order) if at == 0 or means[i] > means[order[:at]].max()]
    axes.plot(values[best], means[best], color=GREY, linewidth=0.9, zorder=1,
              drawstyle="steps-post")  # fmt: skip


def _dress(axes: Axes, name: str, values: NDArray[np.floating]) -> None:
    labels = {"weights": "weights", "macs": "MACs of an image", "memory": "activations of an image"}
    if np.isfinite(values).any():
        axes.set_xscale("log")
    axes.set_xlabel(labels[name])
    unit = "B" if name == "memory" else ""
    axes.xaxis.set_major_formatter(EngFormatter(unit))
    axes.xaxis.set_minor_formatter(EngFormatter(unit))
    axes.tick_params(axis="x", which="both", labelsize=7, rotation=45)
    dress(axes)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _marker(i: int) -> str:
    return _MARKERS[(i + i // len(_MARKERS)) % len(_MARKERS)]
