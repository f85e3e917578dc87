"""The arms of each claim: what they share, and that a control is equal in what it controls."""

import pytest
from config_files import CASES, ablation, summaries

from cnnlab.training.optimizer import learning_rate
from cnnlab.training.recipe import plan

EQUAL = 0.02
"""The part by which equal weights or MACs may differ: filters are whole numbers."""


def presets(name):
    return pytest.mark.parametrize("preset", [each for config, each in CASES if config == name])


def arms(name, preset):
    """Summaries on images of the channels that the preset's data have."""
    return summaries(name, preset, (32, 32, 1 if preset == "digits" else 3))


def layers(summary, *kinds):
    """Notations, in order, of the layers of some kinds."""
    return [row.notation for row in summary.rows if row.notation.startswith(kinds)]


def map_before(summary, kind):
    """Height and width of what the first layer of a kind gets."""
    rows = summary.rows
    i = next(i for i, row in enumerate(rows) if row.notation.startswith(kind))
    return rows[i - 1].shape[:2]


def rate_at(recipe, examples=45_000):
    schedule = learning_rate(recipe, plan(recipe, examples))
    return lambda step: float(schedule(step))


def comparisons(name, preset):
    return ablation(name, preset).claim.comparisons


class TestAllConvolutional:
    @presets("all_convolutional")
    def test_pairs_of_equal_weights(self, preset):
        found = arms("all_convolutional", preset)
        for base in {arm[0] for arm in found}:
            for pair in (("all", "convpool"), ("strided", "base")):
                one, other = (found[f"{base}_{name}"] for name in pair)
                assert one.params == other.params
            assert {map_before(found[arm], "GAP") for arm in found} in ({(8, 8)}, {(4, 4)})

    @presets("all_convolutional")
    def test_only_two_of_four_pool(self, preset):
        for arm, summary in arms("all_convolutional", preset).items():
            pools = layers(summary, "POOL")
            assert len(pools) == (2 if arm.endswith(("base", "convpool")) else 0)
            strided = [conv for conv in layers(summary, "CONV") if "/2" in conv]
            assert len(strided) == 2 - len(pools)

    def test_small_nets_are_base_c_in_narrow(self):
        """The layers of the paper's C nets, a third of the filters, BN, and no dropout."""
        paper, small = (arms("all_convolutional", preset) for preset in ("paper", "cpu"))
        for arm, summary in small.items():
            narrow = [
                conv.replace("192", "64").replace("96", "32")
                for conv in layers(paper[arm], "CONV", "POOL")
            ]
            assert layers(summary, "CONV", "POOL") == narrow
            assert layers(summary, "DROP") == []

    def test_schedule_of_the_paper(self):
        """0.1 of the rate at epochs 200, 250, 300 of 350; 351 whole batches of 128 an epoch."""
        recipe = ablation("all_convolutional", "paper").recipe("a_base", 0)
        recipe, epoch = recipe.override({"optimizer.learning_rate": 0.25}), 351
        rate = rate_at(recipe)
        for drops, last in enumerate((200, 250, 300, 350)):
            assert rate(last * epoch - 1) == pytest.approx(0.25 * 0.1**drops)
            assert rate(last * epoch) == pytest.approx(0.25 * 0.1 ** min(drops + 1, 3))
        assert (recipe.data.preprocess, recipe.optimizer.weight_decay) == ("gcn_zca", 1e-3)

    def test_every_base_has_its_figures(self):
        found = {c.treatment: c.paper.value for c in comparisons("all_convolutional", "paper")}
        assert found["c_all"].startswith("-0.23 points")
        assert found["a_strided"].startswith("+0.99 points")
        assert len(found) == 6


class TestResidualDepth:
    @pytest.mark.parametrize("preset", ["digits", "cpu"])  # `paper` has the register's own nets
    def test_kinds_of_equal_weights_and_macs(self, preset):
        """Claim A21, at every depth."""
        found = arms("residual_depth", preset)
        for arm in found:
            twin = found[arm.replace("plain", "resnet")]
            assert (found[arm].params, found[arm].macs) == (twin.params, twin.macs)
            weighted = [row for row in found[arm].rows if row.macs]
            assert f"plain{len(weighted)}" == arm.replace("resnet", "plain")

    @presets("residual_depth")
    def test_verdict_is_the_interaction(self, preset):
        first, *_ = comparisons("residual_depth", preset)
        deep, shallow = (
            int(arm.removeprefix("plain")) for arm in (first.treatment, first.baseline)
        )
        assert deep > shallow
        assert first.beyond == (f"resnet{deep}", f"resnet{shallow}")
        assert first.expect == "worse"

    @pytest.mark.parametrize("arm", ["plain110", "resnet110", "resnet56"])
    def test_schedule_of_the_paper(self, arm):
        rate = rate_at(ablation("residual_depth", "paper").recipe(arm, 0))
        low = 0.01 if "110" in arm else 0.1
        expected = {0: low, 399: low, 400: 0.1, 31_999: 0.1, 32_000: 0.01, 48_000: 0.001}
        assert {step: rate(step) for step in expected} == pytest.approx(expected)


class TestZeroPadding:
    @presets("zero_padding")
    def test_padding_is_all_that_differs(self, preset):
        found = arms("zero_padding", preset)
        padded, valid = found["padded"], found["valid"]
        assert layers(padded, "") == [text.replace("p0", "") for text in layers(valid, "")]
        assert padded.params == valid.params
        assert (map_before(padded, "GAP"), map_before(valid, "GAP")) == ((8, 8), (1, 1))

    @presets("zero_padding")
    def test_equal_macs(self, preset):
        found = arms("zero_padding", preset)
        assert found["valid_wide"].macs == pytest.approx(found["padded"].macs, rel=EQUAL)
        assert found["valid"].macs < found["padded"].macs / 2


class TestPoolingKind:
    @presets("pooling_kind")
    def test_pooling_is_all_that_differs(self, preset):
        nets = [
            [(row.notation.replace(kind, "POOL2"), row.shape, row.macs) for row in summary.rows]
            for kind, summary in zip(
                ("POOL2", "AVGPOOL2", "L2POOL2"), arms("pooling_kind", preset).values(), strict=True
            )
        ]
        start = 2 if preset == "digits" else 0  # the stem
        assert nets[0][start:] == nets[1][start:] == nets[2][start:]
        assert [notation for notation, *_ in nets[0][start:]].count("POOL2") == 3


class TestPoolingWindow:
    @presets("pooling_window")
    def test_windows_are_all_that_differs(self, preset):
        found = arms("pooling_window", preset)
        nets = {arm: layers(summary, "CONV") for arm, summary in found.items()}
        assert nets["pool2"] == nets["pool3"] == nets["pool4"] == nets["pool5"] == nets["pool8"]
        assert len(nets["pool2"]) == len(nets["pool4_wide"]) == 5
        assert {map_before(summary, "GAP") for summary in found.values()} == {(4, 4)}
        assert {arm: layers(summary, "POOL") for arm, summary in found.items()} == {
            "pool2": ["POOL2"] * 3,
            "pool3": ["POOL3/2p1"] * 3,
            "pool4": ["POOL4", "POOL2"],
            "pool5": ["POOL5/2p2"] * 3,
            "pool8": ["POOL8"],
            "pool4_wide": ["POOL4", "POOL2"],
        }

    @presets("pooling_window")
    def test_equal_macs(self, preset):
        found = arms("pooling_window", preset)
        assert found["pool4_wide"].macs == pytest.approx(found["pool2"].macs, rel=EQUAL)


class TestFirstStride:
    @presets("first_stride")
    def test_the_rest_adapts(self, preset):
        found = arms("first_stride", preset)
        for arm, stride in (("stride1", 1), ("stride2", 2), ("stride4", 4)):
            first, *others = layers(found[arm], "CONV")
            assert first.partition("/")[2] == ("" if stride == 1 else str(stride))
            assert others == layers(found["stride1"], "CONV")[1:]
            assert stride * 2 ** len(layers(found[arm], "POOL")) == 4
            assert found[arm].params == found["stride1"].params
        assert {map_before(summary, "GAP") for summary in found.values()} == {(8, 8)}

    @presets("first_stride")
    def test_equal_macs(self, preset):
        found = arms("first_stride", preset)
        assert found["stride4_wide"].macs == pytest.approx(found["stride1"].macs, rel=EQUAL)


class TestBatchNorm:
    @presets("batch_norm")
    def test_norms_are_all_that_differs(self, preset):
        found = arms("batch_norm", preset)
        for name in ("low", "middle", "high"):
            one, other = found[f"with_{name}"], found[f"without_{name}"]
            assert [text for text in layers(one, "") if text != "BN"] == layers(other, "")
            assert len(layers(one, "BN")) == len(layers(one, "CONV")) == 12
            scales = sum(row.shape[-1] for row in one.rows if row.notation == "BN")
            assert one.params == other.params + scales

    @presets("batch_norm")
    def test_rates_ten_times_apart(self, preset):
        recipes = ablation("batch_norm", preset).arms
        for arm in ("with", "without"):
            low, middle, high = (
                recipes[f"{arm}_{name}"].optimizer.learning_rate
                for name in ("low", "middle", "high")
            )
            assert (middle, high) == pytest.approx((10 * low, 100 * low))
        assert {recipe.train.on_divergence for recipe in recipes.values()} == {"chance"}


class TestWithoutFC:
    @presets("without_fc")
    def test_head_is_all_that_differs(self, preset):
        found = arms("without_fc", preset)
        bodies = [layers(summary, "CONV", "BN", "POOL") for summary in found.values()]
        assert bodies == [bodies[0]] * 4
        heads = {arm: layers(summary, "FC", "DROP") for arm, summary in found.items()}
        assert [len(heads[arm]) for arm in ("hidden_fc", "one_fc", "gap")] == [5, 1, 1]
        assert heads["no_dropout"] == heads["hidden_fc"][::2]
        assert found["gap"].params < found["one_fc"].params < found["hidden_fc"].params / 2


class TestConvsPerPool:
    @presets("convs_per_pool")
    def test_convolutions_are_all_that_differs(self, preset):
        found = arms("convs_per_pool", preset)
        convs = {arm: layers(summary, "CONV") for arm, summary in found.items()}
        once = convs["one"]
        assert convs["two"] == [conv for conv in once for _ in range(2)]
        assert convs["three"] == [conv for conv in once for _ in range(3)]
        assert len(once) == len(convs["one_wide"]) == 3
        pools = [layers(summary, "POOL") for summary in found.values()]
        assert pools == [["POOL2"] * 3] * 4

    @presets("convs_per_pool")
    def test_equal_weights(self, preset):
        found = arms("convs_per_pool", preset)
        assert found["one_wide"].params == pytest.approx(found["two"].params, rel=EQUAL)


class TestVGGDepth:
    @presets("vgg_depth")
    def test_depths(self, preset):
        found = arms("vgg_depth", preset)
        for arm, summary in found.items():
            convs = layers(summary, "CONV")
            assert len(convs) == int(arm.removeprefix("conv").removesuffix("_wide"))
            assert {conv.partition("-")[0] for conv in convs} == {"CONV3"}
            assert layers(summary, "POOL") == ["POOL2"] * 2
        assert len({frozenset(layers(found[arm], "CONV")) for arm in found if "_" not in arm}) == 1

    @presets("vgg_depth")
    def test_equal_weights(self, preset):
        found = arms("vgg_depth", preset)
        assert found["conv4_wide"].params == pytest.approx(found["conv13"].params, rel=EQUAL)
