"""The arms of E12 to E20: what they share, and that a control is equal in what it controls."""

import pytest
from config_files import CASES, ablation, summaries, summary

from cnnlab import models, summarize
from cnnlab.evidence.scaling import DATA

EQUAL = 0.02
"""The part by which equal weights or MACs may differ: filters are whole numbers."""


def presets(name):
    return pytest.mark.parametrize("preset", [each for config, each in CASES if config == name])


def arms(name, preset):
    """Summaries on images of the channels that the preset's data have."""
    return summaries(name, preset, (32, 32, 1 if preset == "digits" else 3))


def layers(found, *kinds):
    """Notations, in order, of the layers of some kinds; of all if none is named."""
    return [row.notation for row in found.rows if row.notation.startswith(kinds or ("",))]


def shape_before(found, kind):
    """Of what the last layer of a kind gets."""
    at = max(i for i, row in enumerate(found.rows) if row.notation.startswith(kind))
    return found.rows[at - 1].shape


def weighted(found):
    return [row for row in found.rows if row.weights and row.notation != "BN"]


class TestParameterSharing:
    @presets("parameter_sharing")
    def test_pairs_differ_in_sharing_alone(self, preset):
        recipes = ablation("parameter_sharing", preset).arms
        for where, data in (
            ("cifar10", "cifar10"),
            ("centred", "mnist"),
            ("shifted", "mnist_shifted"),
        ):
            conv, local = (recipes[f"{layer}_{where}"] for layer in ("conv", "local"))
            assert conv.data.name == local.data.name == data
            assert local.model.name == conv.model.name.replace("CONV", "LOCAL")
            conv, local = (summary(recipe, DATA[data].shape) for recipe in (conv, local))
            assert local.activations == conv.activations
            assert local.macs == conv.macs
            assert local.params > 20 * conv.params

    @presets("parameter_sharing")
    def test_centred_and_shifted_digits_get_the_same_nets(self, preset):
        recipes = ablation("parameter_sharing", preset).arms
        for layer in ("conv", "local"):
            assert recipes[f"{layer}_centred"].model == recipes[f"{layer}_shifted"].model

    @presets("parameter_sharing")
    def test_nothing_moves_the_images(self, preset):
        for recipe in ablation("parameter_sharing", preset).arms.values():
            assert (recipe.augment.crop_padding, recipe.augment.flip) == (0, False)

    @presets("parameter_sharing")
    def test_the_verdict_is_the_interaction(self, preset):
        first = ablation("parameter_sharing", preset).claim.comparisons[0]
        assert first.arms == ("conv_shifted", "local_shifted", "conv_centred", "local_centred")
        assert first.expect == "better"


class TestFullConnectivity:
    @presets("full_connectivity")
    def test_equal_weights_and_layers(self, preset):
        found = arms("full_connectivity", preset)
        assert found["mlp"].params == pytest.approx(found["cnn"].params, rel=EQUAL)
        assert len({len(weighted(each)) for each in found.values()}) == 1
        assert all(row.notation.startswith("FC") for row in weighted(found["mlp"]))
        widths = [[row.shape for row in weighted(found[arm])[:-1]] for arm in ("mlp", "mlp_wide")]
        assert [(4 * width,) for (width,) in widths[0]] == widths[1]

    @presets("full_connectivity")
    def test_nothing_is_augmented(self, preset):
        for recipe in ablation("full_connectivity", preset).arms.values():
            assert not any(recipe.augment.to_dict().values())
            assert recipe.probe == "gap"


class TestBottleneck:
    @presets("bottleneck")
    def test_the_control_costs_as_much(self, preset):
        found = arms("bottleneck", preset)
        assert found["narrow_3x3"].macs == pytest.approx(found["bottleneck"].macs, rel=EQUAL)
        assert found["bottleneck"].macs < found["wide_3x3"].macs / 5

    @presets("bottleneck")
    def test_same_maps_in_and_out_of_each_stage(self, preset):
        found = arms("bottleneck", preset)
        pooled = {
            arm: [row.shape for row in each.rows if row.notation == "POOL2"]
            for arm, each in found.items()
        }
        assert pooled["bottleneck"] == pooled["wide_3x3"]
        sizes = [[shape[:2] for shape in pooled[arm]] for arm in ("bottleneck", "narrow_3x3")]
        assert sizes[0] == sizes[1]
        assert layers(found["narrow_3x3"], "CONV")[0] == layers(found["bottleneck"], "CONV")[0]

    @presets("bottleneck")
    def test_a_quarter_of_the_maps_inside(self, preset):
        convs = layers(arms("bottleneck", preset)["bottleneck"], "CONV")[1:]
        for i in range(0, len(convs), 3):
            width = int(convs[i + 2].removeprefix("CONV1-"))
            assert convs[i : i + 2] == [f"CONV1-{width // 4}", f"CONV3-{width // 4}"]


class TestLesions:
    @presets("lesions")
    def test_the_shortcuts_are_all_that_differs(self, preset):
        found = arms("lesions", preset)
        residual, plain = found["residual"], found["plain"]
        assert (residual.params, residual.macs) == (plain.params, plain.macs)
        without = [each for each in layers(residual) if not each.startswith(("ADD", "SHORTCUT"))]
        assert without == layers(plain)
        assert all(each.probe == "lesion" for each in ablation("lesions", preset).arms.values())


class TestDropoutOrPooling:
    @presets("dropout_or_pooling")
    def test_the_same_convolutions(self, preset):
        found = arms("dropout_or_pooling", preset)
        assert len({each.params for each in found.values()}) == 1
        assert len({shape_before(each, "GAP") for each in found.values()}) == 1
        assert not any(layers(each, "BN", "LRN") for each in found.values())
        unstrided = {
            tuple(each.removesuffix("/2") for each in layers(net, "CONV")) for net in found.values()
        }
        assert len(unstrided) == 1

    @presets("dropout_or_pooling")
    def test_two_factors(self, preset):
        found = arms("dropout_or_pooling", preset)
        for kind in ("strided", "pooled"):
            dropout, bare = found[f"{kind}_dropout"], found[kind]
            assert [each for each in layers(dropout) if "DROP" not in each] == layers(bare)
            assert not layers(bare, "DROP")
            halvings = layers(bare, "POOL") or [c for c in layers(bare, "CONV") if "/2" in c]
            rest = 1 if preset == "paper" else 0  # the paper drops some of the input, too
            assert len(layers(dropout, "DROP")) == len(halvings) + rest
        assert not layers(found["strided"], "POOL")
        assert layers(found["strided_dropout"], "DROP") == layers(found["pooled_dropout"], "DROP")

    def test_nets_of_the_paper(self):
        """Base C and Strided-CNN C as the register has them, dropout and all."""
        found = arms("dropout_or_pooling", "paper")
        for arm, name in (("pooled", "allcnn_c_base"), ("strided", "allcnn_c_strided")):
            registered = summarize(models.create(name), (32, 32, 3))
            assert layers(registered) == layers(found[f"{arm}_dropout"])


class TestBlockOrder:
    @presets("block_order")
    def test_equal_in_weights_and_cost(self, preset):
        found = arms("block_order", preset)
        assert len(found) == 5
        assert len({(each.params, each.macs) for each in found.values()}) == 1
        steps = {tuple((row.path, row.notation) for row in each.rows) for each in found.values()}
        assert len(steps) == 5


class TestShiftResponse:
    @presets("shift_response")
    def test_equal_weights_where_maps_are_halved(self, preset):
        found = arms("shift_response", preset)
        kept = found.pop("no_downsampling")
        assert len({each.params for each in found.values()}) == 1
        assert {shape_before(each, "FC")[:2] for each in found.values()} == {(4, 4)}
        assert shape_before(kept, "FC")[:2] == (32, 32)
        assert len({tuple(row.weights for row in weighted(net)[:-1])
                    for net in [*found.values(), kept]}) == 1  # fmt: skip

    @presets("shift_response")
    def test_nothing_else_gives_invariance(self, preset):
        found = arms("shift_response", preset)
        assert not any(layers(each, "GAP") for each in found.values())
        assert not layers(found["strided"], "POOL", "AVGPOOL")
        for recipe in ablation("shift_response", preset).arms.values():
            assert (recipe.augment.crop_padding, recipe.probe) == (0, "shift")


class TestFirstLayer:
    @presets("first_layer")
    def test_memory_falls(self, preset):
        found = arms("first_layer", preset)
        order = ("three_3x3", "one_7x7_stride_2", "one_11x11_stride_4")
        activations = [found[arm].activations for arm in order]
        assert activations[0] > 4 * activations[1] > 8 * activations[2]

    @presets("first_layer")
    def test_the_same_behind_the_stem(self, preset):
        found = arms("first_layer", preset)
        rest = {
            arm: layers(each)[layers(each).index("RELU", stem) :]
            for (arm, each), stem in zip(sorted(found.items()), (1, 1, 8), strict=True)
        }
        assert len(rest) == 3
        assert len({tuple(each) for each in rest.values()}) == 1
        sides = {arm: shape_before(each, "POOL2")[0] for arm, each in found.items()}
        assert sides == {"three_3x3": 8, "one_7x7_stride_2": 4, "one_11x11_stride_4": 2}


class TestFilterSize:
    @presets("filter_size")
    def test_equal_cost(self, preset):
        found = arms("filter_size", preset)
        for size in (5, 7, 9):
            net = found[f"filters_{size}x{size}"]
            assert net.macs == pytest.approx(found["filters_3x3"].macs, rel=EQUAL)
            assert all(each.startswith(f"CONV{size}-") for each in layers(net, "CONV"))
            assert len(layers(net)) == len(layers(found["filters_3x3"]))
            assert net.receptive_field.size > found["filters_3x3"].receptive_field.size
