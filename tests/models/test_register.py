"""Networks by name."""

import jax.numpy as jnp
import pytest

from cnnlab import models


def test_names_are_sorted_and_can_be_created():
    assert "resnet20" in models.names()
    assert list(models.names()) == sorted(models.names())
    for name in models.names():
        made = models.create(name, classes=7)
        assert made == models.create(name, classes=7)  # one value, for jit's caches
        assert hash(made) == hash(models.create(name, classes=7))


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
        ValueError, match=r"unknown model.* 'resnt110'; .*did you mean 'resnet110'\?"
    ):
        models.create("resnt110")
    with pytest.raises(
        ValueError, match=r"INPUT -> \.\.\..*'transformer'; choices: alexnet, .*zfnet$"
    ):
        models.create("transformer")


def test_network():
    """What the register keeps: an input, and where the network is described."""
    vgg = models.network("vgg16")
    assert vgg.input_shape == (224, 224, 3)
    assert "1409.1556" in vgg.source or "Simonyan" in vgg.source
    assert vgg.build(classes=7) == models.create("vgg16", classes=7)


def test_a_broken_pattern_is_no_unknown_name():
    with pytest.raises(models.PatternError, match=r"column 10: .*nearest to 'CNV': CONV"):
        models.create("INPUT -> CNV3-4")
