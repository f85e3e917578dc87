"""Networks by name."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
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
        ValueError, match=r"INPUT -> \.\.\..*'transformer'; choices: airbench94, .*zfnet$"
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


class TestOptionsOfEveryNetwork:
    @pytest.mark.parametrize("name", ["resnet20", "linear", "vgg16", "INPUT -> FC"])
    @pytest.mark.parametrize("classes", [0, -3, 2.0, True, "ten", None])
    def test_no_such_classes(self, name, classes):
        words = f"classes must be a whole number, at least 1; got {classes!r}"
        with pytest.raises(ValueError, match=f"^{words}$"):
            models.create(name, classes=classes)

    def test_classes_of_numpy(self):
        for name in ("resnet20", "allcnn_a_base", "INPUT -> FC"):
            assert models.create(name, classes=np.int64(7)) == models.create(name, classes=7)
        assert type(models.create("resnet20", classes=np.int64(7)).classes) is int

    @pytest.mark.parametrize("name", ["resnet20", "mlp", "INPUT -> FC-2"])
    def test_no_such_dtype(self, name):
        words = "; choices: float32, bfloat16, float16, float64"
        with pytest.raises(ValueError, match=f"^unknown dtype: 'BF16'{words}; .*mean 'bfloat16'"):
            models.create(name, dtype="BF16")
        for dtype in (jnp.int32, 3, None):
            with pytest.raises(ValueError, match=f"^unknown dtype: .*{words}"):
                models.create(name, dtype=dtype)

    def test_dtype_by_name(self):
        model = models.create("INPUT -> CONV3-2 -> FC-2", dtype="bfloat16")
        image = jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)
        logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
        assert logits.dtype == jnp.bfloat16

    @pytest.mark.parametrize("name", models.names())
    def test_are_documented(self, name):
        """And all can be asked for: none has to be given, none belongs to the pattern language."""
        build = models.network(name).build
        known = inspect.signature(build).parameters
        own = set(known) - {"classes", "dtype"}
        described = inspect.getdoc(getattr(build, "func", build))
        assert described
        assert not [option for option in own if f"\n    {option}: " not in described]
        assert not own & {"fit", "pool", "text"}
        assert not [p for p in known.values() if p.default is p.empty]
