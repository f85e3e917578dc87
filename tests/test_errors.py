"""The nearest of the choices: whatever the case, and the first of equally near ones."""

import pytest

from cnnlab import models
from cnnlab.errors import unknown


@pytest.mark.parametrize(
    ("name", "choices", "near"),
    [
        ("VGG16", models.names(), "vgg16"),
        ("NIN", models.names(), "nin"),
        ("GAP", ("fc", "gap"), "gap"),
        ("b", ("none", "A", "B", "C"), "B"),
        ("v2", ("v1", "v1.5", "preact"), "v1"),
        ("crp", ("error", "crop", "pad"), "crop"),
        ("ab", ("ax", "ay", "az"), "ax"),
        ("ab", ("az", "ay", "ax"), "az"),
    ],
)
def test_hint(name, choices, near):
    assert unknown("thing", name, choices).endswith(f"; did you mean {near!r}?")


@pytest.mark.parametrize(("name", "choices"), [("zzz", models.names()), (3, ("a", "b")), ("x", ())])
def test_nothing_is_near(name, choices):
    assert unknown("thing", name, choices) == (
        f"unknown thing: {name!r}; choices: {', '.join(choices)}"
    )
