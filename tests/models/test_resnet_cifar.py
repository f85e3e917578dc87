"""The CIFAR residual networks against the counts and figures of their papers."""

import functools

import jax
import jax.numpy as jnp
import pytest

import cnnlab
from cnnlab import models
from cnnlab.geometry import ReceptiveField

ORDERS = ("original", "bn_after_add", "relu_before_add", "relu_preact", "full_preact")


@functools.cache
def summary(name, **options):
    return cnnlab.summarize(models.create(name, **options), (32, 32, 3))


def rows(name, **options):
    return {row.path: row for row in summary(name, **options).rows}


class TestTotals:
    @pytest.mark.parametrize(
        ("n", "params", "macs"),
        [
            (3, 269_722, 40_551_040),
            (5, 464_154, 68_862_592),
            (7, 658_586, 97_174_144),
            (9, 853_018, 125_485_696),
            (18, 1_727_962, 252_887_680),
            pytest.param(200, 19_421_274, 2_829_238_912, marks=pytest.mark.slow),
        ],
    )
    def test_table_6(self, n, params, macs):
        """6n + 2 layers; each pair of 3x3 adds 2 (F-1) steps to the field: 4 + 8 + 16 a block."""
        total = summary(f"resnet{6 * n + 2}")
        assert (total.params, total.macs) == (params, macs)
        field = 3 + n * 4 + (2 + 4) + (n - 1) * 8 + (4 + 8) + (n - 1) * 16
        assert total.receptive_field == ReceptiveField(field, 4)
        weighted = [row for row in total.rows if row.macs]
        assert len(weighted) == 6 * n + 2

    @pytest.mark.parametrize(("n", "params"), [(1, 75_290), (2, 172_506)])
    def test_shallower_than_the_paper(self, n, params):
        """A block of each stage fewer has 18 (K^2) + 4 K numbers fewer in each."""
        block = sum(18 * k**2 + 4 * k for k in (16, 32, 64))
        assert summary(f"resnet{6 * n + 2}").params == 269_722 - (3 - n) * block == params

    @pytest.mark.parametrize("kind", ["plain", "resnet"])
    def test_narrow_nets_on_small_maps(self, kind):
        """Half the filters, and a stride that leaves stages of 16, 8 and 4 pixels."""
        total = summary(f"{kind}8", filters=8, stem_stride=2)
        assert total.rows[1].notation == "CONV3-8/2"
        last_of_stage = [r.shape for r in total.rows if r.path.endswith("block1/relu2")]
        assert last_of_stage == [(16, 16, 8), (8, 8, 16), (4, 4, 32)]
        convs = 27 * 8 + 9 * (2 * 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32)
        norms = 2 * (3 * 8 + 2 * 16 + 2 * 32)
        assert total.params == convs + norms + 33 * 10
        macs = 27 * 8 * 256 + 9 * (2 * 8 * 8 * 256 + 3 * 8 * 16 * 64 + 3 * 16 * 32 * 16) + 320
        assert total.macs == macs

    @pytest.mark.parametrize("option", ["filters", "stem_stride"])
    def test_no_filters(self, option):
        with pytest.raises(ValueError, match=f"{option}.*0"):
            models.create("resnet8", **{option: 0})

    @pytest.mark.parametrize(
        ("name", "field"),
        [
            ("resnet20", 81),
            ("resnet32", 137),
            ("resnet44", 193),
            ("resnet56", 249),
            ("resnet110", 501),
            pytest.param("resnet1202", 5597, marks=pytest.mark.slow),
        ],
    )
    def test_fields(self, name, field):
        assert summary(name).receptive_field == ReceptiveField(field, 4)

    @pytest.mark.parametrize("depth", [20, 44, 110])
    def test_plain_twins(self, depth):
        """A21: the parameters, by path and shape, and the MACs of option A, without a sum."""
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        plain, residual = (
            jax.eval_shape(models.create(f"{kind}{depth}").init, jax.random.key(0), image)
            for kind in ("plain", "resnet")
        )
        assert plain == residual
        assert summary(f"plain{depth}").macs == summary(f"resnet{depth}").macs
        assert summary(f"plain{depth}").activations == summary(f"resnet{depth}").activations
        assert not {"ADD", "SHORTCUT-32/2"} & {
            row.notation for row in summary(f"plain{depth}").rows
        }

    @pytest.mark.parametrize(
        ("name", "params"), [("resnet20", 272_474), ("resnet56", 855_770), ("resnet110", 1_730_714)]
    )
    def test_option_b(self, name, params):
        assert summary(name, shortcut="B").params == params

    def test_option_c(self):
        """A projection with its norm in each of the nine blocks."""
        projections = 3 * (16 * 16 + 32) + (16 * 32 + 64) + 2 * (32 * 32 + 64)
        projections += (32 * 64 + 128) + 2 * (64 * 64 + 128)
        assert summary("resnet20", shortcut="C").params == 269_722 + projections

    @pytest.mark.parametrize("order", ORDERS)
    def test_every_order_has_as_many(self, order):
        assert summary("resnet20", order=order).params == 269_722
        assert summary("resnet20", order=order).macs == 40_551_040

    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("preact110", 1_727_962),
            ("preact164", 1_703_258),
            pytest.param("preact1001", 10_327_706, marks=pytest.mark.slow),
        ],
    )
    def test_preact(self, name, params):
        total = summary(name)
        assert total.params == params
        projections = [row for row in total.rows if "shortcut_conv" in row.path]
        weighted = [row for row in total.rows if row.macs]
        assert len(weighted) - len(projections) == int(name.removeprefix("preact"))

    def test_bottlenecks_of_the_paper(self):
        """Stages of 64, 128, 256 filters; the first 1x1 steps; projections without a norm."""
        table = rows("preact164")
        assert [table[f"stage{s}_block18/add"].shape for s in (1, 2, 3)] == [
            (32, 32, 64),
            (16, 16, 128),
            (8, 8, 256),
        ]
        assert [path for path, row in table.items() if "/2" in row.notation] == [
            f"stage{s}_block1/{conv}" for s in (2, 3) for conv in ("conv1", "shortcut_conv")
        ]
        projections = [path for path in table if "shortcut" in path]
        assert projections == [f"stage{s}_block1/shortcut_conv" for s in (1, 2, 3)]


class TestLayers:
    def test_stages(self):
        table = rows("resnet20")
        assert (table["conv1"].notation, table["conv1"].shape) == ("CONV3-16", (32, 32, 16))
        shapes = [(path, row.shape) for path, row in table.items() if path.endswith("add")]
        assert shapes == [
            (f"stage{s}_block{i}/add", (size, size, k))
            for s, size, k in ((1, 32, 16), (2, 16, 32), (3, 8, 64))
            for i in (1, 2, 3)
        ]
        assert [path for path, row in table.items() if "/2" in row.notation] == [
            f"stage{s}_block1/{layer}" for s in (2, 3) for layer in ("conv1", "shortcut")
        ]

    @pytest.mark.parametrize(
        ("order", "first", "last"),
        [
            ("original", ["conv1", "bn1", "relu1"], ["bn2", "add", "relu2", "gap"]),
            ("bn_after_add", ["conv1", "bn1", "relu1"], ["add", "bn2", "relu2", "gap"]),
            ("relu_before_add", ["conv1", "bn1", "relu1"], ["bn2", "relu2", "add", "gap"]),
            ("relu_preact", ["conv1", "bn1", "relu2"], ["bn2", "add", "relu", "gap"]),
            ("full_preact", ["conv1", "bn2", "relu2"], ["conv2", "add", "bn", "relu", "gap"]),
        ],
    )
    def test_both_ends(self, order, first, last):
        """He et al. 2016, appendix: conv1's activation comes before the first split, and the
        last sum's before the GAP, so that every order has as many norms and ReLUs."""
        paths = list(rows("resnet20", order=order))
        assert paths[1:4] == ["conv1", "bn1", "relu1"]
        assert paths[4:7] == [f"stage1_block1/{step}" for step in first]
        assert [path.rpartition("/")[-1] for path in paths[:-1][-len(last) :]] == last
        notations = [row.notation for row in summary("resnet20", order=order).rows]
        assert (notations.count("BN"), notations.count("RELU")) == (19, 19)

    def test_survival_falls_linearly(self):
        """Nine blocks down to 0.1: a tenth less with each (Huang et al. 2016, eq. 4)."""
        notations = [row.notation for row in summary("resnet20", survival=0.1).rows]
        assert [n for n in notations if n.startswith("SURVIVE")] == [
            f"SURVIVE0.{n}" for n in range(9, 0, -1)
        ]
        assert not [row for row in summary("resnet20").rows if row.notation.startswith("SURVIVE")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "pre"}, "unknown order: 'pre'; choices: original, bn_after_add"),
        ({"shortcut": "D"}, "unknown shortcut: 'D'; choices: none, A, B, C"),
        ({"survival": 0}, "survival is a probability"),
    ],
)
def test_refused_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("resnet20", **options)


def test_plain_takes_no_shortcut():
    with pytest.raises(TypeError, match="unknown option of plain20: 'shortcut'"):
        models.create("plain20", shortcut="A")
