"""What a layer does not say is unknown: no 0 in any row, total, share or form of the table."""

import io
import json
from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import pandas as pd
import pytest
from flax import linen

import cnnlab
from cnnlab import models, nn
from cnnlab.analysis.counts import known, total
from cnnlab.analysis.receptive_field import ALL, UnknownField
from cnnlab.analysis.rendering import FORMS
from cnnlab.errors import Mistake
from cnnlab.geometry import ReceptiveField


class Mixer(nn.Layer):
    """A layer of a user's own, which multiplies and does not say how often."""

    @linen.compact
    def __call__(self, x, *, train=False):
        return jnp.einsum("nhwc,ck->nhwk", x, self.param("kernel", nn.he_normal, (x.shape[-1], 5)))


class Counted(Mixer):
    """The same, and says it."""

    notation = "COUNTED-5"

    def macs(self, weights, shape):
        return weights * shape[0] * shape[1]


class Shift(nn.NoMacs):
    """A layer of a user's own that multiplies nothing."""

    def __call__(self, x, *, train=False):
        return x + 1


class Miscounted(Mixer):
    result: object

    def macs(self, weights, shape):
        return self.result


class Net(linen.Module):
    layer: Callable[..., nn.Layer]

    @linen.compact
    def __call__(self, x, *, train=False):
        x = self.layer(name="own")(nn.Conv(3, 3, name="conv")(x))
        return nn.Dense(2, name="fc")(nn.GlobalAvgPool(name="gap")(x))


@pytest.fixture(scope="module")
def summary():
    return cnnlab.summarize(Net(Mixer), (4, 4, 2))


CONV, FC = 3 * 3 * 2 * 3 * 16, 5 * 2


class TestALayerOfOnesOwn:
    def test_is_unknown_and_so_is_the_total(self, summary):
        assert [row.macs for row in summary.rows] == [0, CONV, None, 0, FC]
        assert summary.macs is None
        assert (summary.params, summary.activations) == (57 + 15 + 12, 32 + 48 + 80 + 5 + 2)
        assert summary.rows[2].notation == "MIXER"

    def test_what_it_says_counts(self):
        summary = cnnlab.summarize(Net(Counted), (4, 4, 2))
        assert [row.macs for row in summary.rows] == [0, CONV, 15 * 16, 0, FC]
        assert summary.macs == CONV + 15 * 16 + FC
        assert summary.rows[2].notation == "COUNTED-5"

    def test_none_where_it_says_none(self):
        summary = cnnlab.summarize(Net(Shift), (4, 4, 2))
        assert [row.macs for row in summary.rows] == [0, CONV, 0, 0, 3 * 2]

    @pytest.mark.parametrize("result", [-1, 2.5, "many", True, float("nan")])
    def test_what_is_no_count_is_refused(self, result):
        with pytest.raises(ValueError, match=f"macs of own must be a whole number.*got {result!r}"):
            cnnlab.summarize(Net(partial(Miscounted, result)), (4, 4, 2))

    def test_its_memory_is_known(self, summary):
        assert summary.memory(8).activations == 8 * 4 * (48 + 80 + 5 + 2)

    def test_one_that_gives_more_than_an_array_is_refused(self):
        class Pair(nn.Layer):
            def __call__(self, x, *, train=False):
                return x, x

        with pytest.raises(Mistake, match="pair puts out a tuple; a layer's is one array"):
            cnnlab.summarize(Pair(), (4, 4, 2))


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_the_word_stands_in_every_table(self, summary, form):
        chosen = ("path", "macs", "macs_share")
        text = summary.table(form, chosen)
        # The row and the total; no row has a share of what is not known.
        assert text.count("unknown") == 2 + len(summary.rows)
        assert f"{CONV}" in text
        assert "unknown" not in summary.table(form, ("path", "weights", "activations_share"))

    def test_missing_in_frames_and_their_files(self, summary):
        frame = summary.to_frame()
        assert str(frame["macs"].dtype) == "Int64"
        assert list(frame["macs"].isna()) == [False, False, True, False, False]
        assert frame["macs_share"].isna().all()
        assert list(frame["weights_share"].isna()) == [False] * 5
        read = pd.read_csv(io.StringIO(frame.to_csv(index=False)), dtype=str, keep_default_na=False)
        assert list(read["macs"]) == ["0", str(CONV), "", "0", str(FC)]
        rows = json.loads(frame.to_json(orient="records"))
        assert [row["macs"] for row in rows] == [0, CONV, None, 0, FC]


def below(cls):
    return {cls}.union(*map(below, cls.__subclasses__()))


def test_every_layer_here_says_what_it_has():
    layers = {cls for cls in below(nn.Layer) if cls.__module__.startswith("cnnlab.")}
    silent = {cls.__name__ for cls in layers if cls.macs is nn.Layer.macs}
    assert len(layers) > 20
    assert silent == {"Layer", "_Filters"}


def test_sums():
    assert total([1, 2]) == 3
    assert total([]) == 0
    assert total([1, None, 2]) is None
    assert known(0, "MACs") == 0
    with pytest.raises(Mistake, match="MACs of a net: unknown"):
        known(None, "MACs of a net")


class Gated(linen.Module):
    """The last map sees the whole image by a gate, though the one before it does not."""

    @linen.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(2, 3, name="conv")(x)
        x = Of(name="gate")(x)
        return nn.Dense(2, name="fc")(x)


class Of(nn.NoMacs):
    def __call__(self, x, *, train=False):
        return x * x.mean(axis=(1, 2), keepdims=True)


class Pooled(linen.Module):
    """A head of 1x1 convolutions behind an average that keeps its axes."""

    @linen.compact
    def __call__(self, x, *, train=False):
        x = nn.AvgPool(4, name="pool")(nn.Conv(2, 3, name="conv")(x))
        x = nn.Conv(2, 1, name="head")(Of(name="mean")(x))
        return nn.GlobalAvgPool(name="gap")(x)


class Sorted(nn.NoMacs):
    def __call__(self, x, *, train=False):
        return jnp.sort(x, axis=1)


class TestReceptiveField:
    """Of the last map, be it the whole image."""

    @pytest.mark.parametrize("model", [Gated(), Pooled()])
    def test_all(self, model):
        summary = cnnlab.summarize(model, (8, 8, 1))
        assert summary.receptive_field is None
        assert summary.sees == ALL == "all"

    @pytest.mark.parametrize(
        ("text", "field"),
        [
            ("INPUT -> CONV3-2 -> CONV3-2 -> GAP -> FC-2", (5, 1)),
            ("INPUT -> CONV3-2 -> POOL2 -> FC-4 -> RELU -> FC-2", (4, 2)),
            ("INPUT -> FC-4 -> RELU -> FC-2", (1, 1)),
            ("INPUT -> CONV8-4p0", (8, 1)),
        ],
    )
    def test_pixels(self, text, field):
        summary = cnnlab.summarize(models.pattern(text), (8, 8, 1))
        assert summary.receptive_field == ReceptiveField(*field)
        assert summary.sees == field[0]

    def test_where_it_is_not_known_a_launcher_says_so_in_a_line(self):
        with pytest.raises(UnknownField, match="receptive field behind sort"):
            cnnlab.summarize(Net(Sorted), (8, 8, 1))
        assert issubclass(UnknownField, Mistake)
