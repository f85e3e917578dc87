"""Networks by name."""

import jax.numpy as jnp
import pytest

from cnnlab import models


def test_names_are_sorted_and_can_be_created():
    assert "resnet20" in models.names()
    assert list(models.names()) == sorted(models.names())
    for name in models.names():
        assert models.create(name, classes=7).classes == 7


def test_by_pattern():
    """Options of `pattern` pass through, white space before INPUT does not matter."""
    model = models.create("  INPUT -> CONV3-4 -> POOL? -> FC", classes=5, pool=False)
    assert model == models.pattern("  INPUT -> CONV3-4 -> POOL? -> FC", classes=5, pool=False)
    assert [layer.notation for layer in model.layers] == ["CONV3-4", "FC-5"]


def test_options():
    model = models.create("resnet20", classes=100, dtype=jnp.bfloat16)
    assert (model.classes, model.dtype) == (100, jnp.bfloat16)
    with pytest.raises(
        TypeError, match=r"unknown option of resnet20: 'clases'; .*mean 'classes'\?"
    ):
        models.create("resnet20", clases=10)
    with pytest.raises(TypeError, match=r"unknown option of INPUT -> FC: 'poll'; .*mean 'pool'\?"):
        models.create("INPUT -> FC", poll=True)


def test_unknown_names():
    with pytest.raises(
        ValueError, match=r"unknown model.* 'resnet2O'; .*did you mean 'resnet20'\?"
    ):
        models.create("resnet2O")
    with pytest.raises(ValueError, match=r"INPUT -> \.\.\..*'transformer'; choices: .*resnet20"):
        models.create("transformer")


def test_a_broken_pattern_is_no_unknown_name():
    with pytest.raises(models.PatternError, match=r"column 10: .*nearest to 'CNV': CONV"):
        models.create("INPUT -> CNV3-4")
