from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cnnlab.evidence.costs import costs
from cnnlab.training.record import Record


def test_means_and_costs_of_every_arm(records: list[Record]) -> None:
    picture = costs(iter(records))
    assert picture.arrays["arm"].tolist() == ["one_7x7", "three_3x3", "linear"]
    np.testing.assert_allclose(picture.arrays["accuracy"], [72.0, 75.0, 72.5])
    assert picture.arrays["weights"].tolist() == [118_090, 50_890, 50_890]
    assert picture.arrays["macs"].tolist() == [19_300_000, 8_900_000, 8_900_000]
    assert picture.arrays["memory"].tolist() == [480_000, 1_400_000, 1_400_000]
    for axes, name in zip(picture.figure.axes, ("weights", "macs", "memory"), strict=True):
        dots = np.concatenate([points.get_offsets() for points in axes.collections])
        assert sorted(dots[:, 1]) == sorted(100 - r.metrics["test_error"] for r in records)
        marks = [line.get_data() for line in axes.lines if len(line.get_xdata()) == 1]
        assert ((picture.arrays[name][1],), (75.0,)) in [
            (tuple(x), tuple(y)) for x, y in marks if y[0] == 75.0
        ]
    assert picture.figure.get_suptitle() == "CIFAR-10 (JPEG q75 copy)"
    assert picture._repr_png_().startswith(b"\x89PNG")


def test_the_line_leaves_out_what_is_dearer_and_no_better(
    records_of: Callable[..., list[Record]],
) -> None:
    sizes = {"small": (1, 60.0), "worse": (2, 58.0), "good": (3, 70.0), "same": (3, 65.0)}
    records = [
        replace(record, network=dict.fromkeys(("weights", "macs", "activations"), size))
        for arm, (size, accuracy) in sizes.items()
        for record in records_of({arm: [100 - accuracy]})
    ]
    axes = costs(records).figure.axes[0]
    assert np.stack(axes.lines[0].get_data(), axis=-1).tolist() == [[1, 60], [3, 70]]


def test_what_cannot_be_compared_is_refused(records: list[Record]) -> None:
    with pytest.raises(ValueError, match="no records"):
        costs([])
    other = replace(records[0], dataset={"title": "MNIST"})
    with pytest.raises(
        ValueError, match=r"several data sets .*: CIFAR-10 \(JPEG q75 copy\), MNIST"
    ):
        costs([*records, other])
    with pytest.raises(
        ValueError, match=r"'one_7x7' is of several networks, weights \[7, 118090\]"
    ):
        costs([*records, replace(records[0], network=dict(records[0].network, weights=7))])
    chose = replace(records[0], seed=1000, config={"seed": 1000, "optimizer": {"learning_rate": 9}})
    with pytest.raises(ValueError, match=r"'one_7x7' has several recipes: .*rate = None, not 9"):
        costs([replace(records[0], config={"optimizer": {}, "seed": 0}), chose])


def test_names_are_drawn_as_they_are(records: list[Record]) -> None:
    picture = costs([replace(records[0], arm="$x^$")])
    (key,) = picture.figure.legends
    assert [text.get_text() for text in key.get_texts()] == [r"\$x^\$"]
    picture._repr_png_()
