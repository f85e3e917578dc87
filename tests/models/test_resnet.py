"""The ImageNet residual networks against table 1 of He et al. 2015 and figures of others' code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import cnnlab
from cnnlab import models, nn
from cnnlab.geometry import ReceptiveField
from cnnlab.models.resnet import ResNet


@functools.cache
def summary(name, **options):
    return cnnlab.summarize(models.create(name, **options), (224, 224, 3))


def rows(name, **options):
    return {row.path: row for row in summary(name, **options).rows}


class TestTotals:
    @pytest.mark.parametrize(
        ("name", "params", "macs", "field"),
        [
            ("resnet18", 11_689_512, 1_814_073_344, 435),
            ("resnet34", 21_797_672, 3_663_761_408, 899),
            ("resnet50", 25_557_032, 4_089_184_256, 427),
            ("resnet101", 44_549_160, 7_801_405_440, 971),
            ("resnet152", 60_192_808, 11_513_626_624, 1451),
        ],
    )
    def test_torchvision(self, name, params, macs, field):
        """The parameters and MACs that torchvision's networks have."""
        total = summary(name)
        assert (total.params, total.macs) == (params, macs)
        assert total.receptive_field == ReceptiveField(field, 32)

    @pytest.mark.parametrize(
        ("name", "params", "gigamacs", "field"),
        [
            ("resnet50", 25_557_032, 3.8, 483),
            ("resnet101", 44_549_160, 7.6, 1027),
            ("resnet152", 60_192_808, 11.3, 1507),
        ],
    )
    def test_paper(self, name, params, gigamacs, field):
        """Table 1's 3.8, 7.6 and 11.3 GFLOPs; the fields Google's table gives resnet_v1."""
        total = summary(name, version="v1")
        assert total.params == params
        assert abs(total.macs / 1e9 - gigamacs) < 0.06
        assert total.receptive_field == ReceptiveField(field, 32)
        assert summary(name).macs - total.macs == 231_211_008

    def test_preact(self):
        """timm's resnetv2_50 has 25,549,352: the four projections have no norm."""
        norms = 2 * (256 + 512 + 1024 + 2048)
        assert summary("resnet50", version="preact").params == 25_549_352 == 25_557_032 - norms
        norms = 2 * (128 + 256 + 512)
        assert summary("resnet18", version="preact").params == 11_689_512 - norms

    def test_shortcuts(self):
        """A costs nothing, C a projection and its norm in every block."""
        projections = lambda *sizes: sum(c * k + 2 * k for c, k in sizes)  # noqa: E731
        changes = [(64, 256), (256, 512), (512, 1024), (1024, 2048)]
        rest = [(256, 256)] * 2 + [(512, 512)] * 3 + [(1024, 1024)] * 5 + [(2048, 2048)] * 2
        plain = 25_557_032 - projections(*changes)
        assert summary("resnet50", shortcut="A").params == plain
        assert summary("resnet50", shortcut="C").params == plain + projections(*changes, *rest)

    def test_classes(self):
        assert summary("resnet18", classes=10).params == 11_689_512 - 990 * 513


class TestLayers:
    @pytest.mark.parametrize(
        ("name", "blocks", "growth"),
        [
            ("resnet18", (2, 2, 2, 2), 1),
            ("resnet34", (3, 4, 6, 3), 1),
            ("resnet50", (3, 4, 6, 3), 4),
            ("resnet101", (3, 4, 23, 3), 4),
            ("resnet152", (3, 8, 36, 3), 4),
        ],
    )
    def test_table_1(self, name, blocks, growth):
        table = rows(name)
        assert (table["conv1"].notation, table["conv1"].shape) == ("CONV7-64/2", (112, 112, 64))
        assert (table["pool1"].notation, table["pool1"].shape) == ("POOL3/2p1", (56, 56, 64))
        stages = [
            (f"stage{s}_block{i}", (size, size, k * growth))
            for s, (count, size, k) in enumerate(
                zip(blocks, (56, 28, 14, 7), (64, 128, 256, 512), strict=True), 1
            )
            for i in range(1, count + 1)
        ]
        sums = [(path, row.shape) for path, row in table.items() if path.endswith("/add")]
        assert sums == [(f"{path}/add", shape) for path, shape in stages]
        assert list(table)[-2:] == ["gap", "fc"]
        assert [table[path].notation for path in ("gap", "fc")] == ["GAP", "FC-1000"]
        # The name counts the weighted layers, projections not among them.
        weighted = [row for path, row in table.items() if row.macs and "shortcut" not in path]
        assert len(weighted) == int(name.removeprefix("resnet"))

    @pytest.mark.parametrize(
        ("name", "version", "strided"),
        [
            ("resnet50", "v1", "conv1"),
            ("resnet50", "v1.5", "conv2"),
            ("resnet50", "preact", "conv2"),
            ("resnet18", "v1", "conv1"),
            ("resnet18", "v1.5", "conv1"),
        ],
    )
    def test_where_they_step(self, name, version, strided):
        stepping = [
            path for path, row in rows(name, version=version).items() if "/2" in row.notation
        ]
        assert stepping == ["conv1", "pool1"] + [
            f"stage{stage}_block1/{conv}"
            for stage in (2, 3, 4)
            for conv in (strided, "shortcut_conv")
        ]

    def test_preactivation(self):
        """conv1 is activated once, before the pool; the last sum once more, before the GAP."""
        paths = list(rows("resnet50", version="preact"))
        assert paths[1:7] == [
            "conv1",
            "bn1",
            "relu1",
            "pool1",
            "stage1_block1/conv1",
            "stage1_block1/bn2",
        ]
        assert paths[-5:] == ["stage4_block3/add", "bn", "relu", "gap", "fc"]
        assert "stage1_block2/bn1" in paths
        assert not [path for path in paths if "shortcut_bn" in path]

    def test_survival_falls_linearly(self):
        """Eight blocks down to 0.2: a tenth less with each."""
        notations = [row.notation for row in summary("resnet18", survival=0.2).rows]
        assert [n for n in notations if n.startswith("SURVIVE")] == [
            f"SURVIVE0.{n}" for n in range(9, 1, -1)
        ]


def test_corner_of_the_stem():
    """Padding is 3 and 1 on every side: the first pixel sees a 4x4, the first pool 2x2 of these."""
    model = ResNet(nn.ResidualBlock, blocks=(1,), classes=2)
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    # Channel 0 gets the image's first channel at the kernel's centre, everything else nothing.
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    kernel = variables["params"]["conv1"]["kernel"].at[3, 3, 0, 0].set(1)
    variables["params"]["conv1"]["kernel"] = kernel
    variables["params"]["bn1"]["scale"] = jnp.ones(64)
    variables["batch_stats"]["bn1"]["var"] = jnp.full(64, 1 - 1e-5)
    named = lambda module, _: module.name == "pool1"  # noqa: E731
    _, state = jax.jit(functools.partial(model.apply, capture_intermediates=named))(variables, x)
    pooled = state["intermediates"]["pool1"]["__call__"][0][0, ..., 0]
    image = np.maximum(x[0, ::2, ::2, 0], 0)
    expected = [
        [
            image[max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].max()
            for j in range(4)
        ]
        for i in range(4)
    ]
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_blocks_survive_each_by_itself():
    """As often as they should over 300 steps (4 sigma), and no two always together."""
    sizes = {"blocks": (2, 2), "filters": 4, "stem": (3, 1), "pool": False}
    model = ResNet(nn.ResidualBlock, classes=2, **sizes, shortcut="A", survival=0.2)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    drawn = np.random.default_rng(1).normal
    variables = jax.tree.map(lambda leaf: jnp.asarray(drawn(size=leaf.shape), leaf.dtype), shapes)

    def survived(key):
        named = lambda module, _: isinstance(module, nn.StochasticDepth)  # noqa: E731
        _, state = model.apply(
            variables,
            x,
            train=True,
            rngs={"dropout": key},
            capture_intermediates=named,
            mutable=["batch_stats", "intermediates"],
        )
        branches = traverse_util.flatten_dict(state["intermediates"])
        return jnp.stack([branches[path][0].any() for path in sorted(branches)])

    keys = jax.random.split(jax.random.key(2), 300)
    there = np.asarray(jax.jit(lambda keys: jax.lax.map(survived, keys))(keys))
    expected = np.array([0.8, 0.6, 0.4, 0.2])
    assert there.shape == (300, 4)
    assert (abs(there.mean(axis=0) - expected) < 4 * np.sqrt(expected * (1 - expected) / 300)).all()
    correlation = np.corrcoef(there.T) - np.eye(4)
    assert abs(correlation).max() < 4 / np.sqrt(300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "v2"}, "'v2'; choices: v1, v1.5, preact; did you mean 'v1'"),
        ({"shortcut": "D"}, "unknown shortcut: 'D'; choices: none, A, B, C"),
        ({"survival": 0}, "survival is a probability"),
        ({"survival": "half"}, r"survival is a probability in \(0, 1\]; got 'half'"),
        ({"survival": True}, "survival is a probability .* got True"),
    ],
)
def test_refused_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("resnet50", **options)
