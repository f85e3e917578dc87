"""Every config and each of its presets: arms that build, claims that hold together."""

import inspect
import itertools
import re

import jax
import numpy as np
import pytest
from config_files import CASES, MODULES, ablation, stand_in, summaries, summary

from cnnlab import models, training
from cnnlab.evidence import Ablation
from cnnlab.training.program import compiled, program
from cnnlab.training.recipe import identity

PAPER = [
    name
    for name, preset in CASES
    if preset == "paper" and name != "imagenet_resnet50"  # streamed: tests/training/test_streamed
]
E1 = [preset for name, preset in CASES if name == "stacked_convs"]

MAY_DIFFER = {
    "batch_norm": {"optimizer.learning_rate"},
    "block_order": {"model.options.order"},
    "imagenet_resnet50": {"model.options.version"},
    "parameter_sharing": {"data.name"},
    "residual_depth": {"schedule.warmup_steps", "schedule.warmup_rate"},
}
"""Keys of the recipe, beside the network's name, that tell a config's arms apart."""


def flat(tree, prefix=""):
    """A nested dict's leaves by their dotted keys."""
    leaves = {}
    for key, value in tree.items():
        inner = isinstance(value, dict)
        leaves |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return leaves


class TestEveryConfig:
    def test_there_are_some(self):
        assert {("stacked_convs", preset) for preset in ("digits", "cpu", "paper")} <= set(CASES)

    @pytest.mark.parametrize(("name", "preset"), CASES)
    def test_says_what_it_is(self, name, preset):
        config = MODULES[name].get_config(preset)
        assert (config.name, config.preset) == (name, preset)
        assert config.is_locked
        assert f"`{preset}`" in MODULES[name].__doc__

    @pytest.mark.parametrize(("name", "preset"), CASES)
    def test_recipes_can_be_run(self, name, preset):
        found = ablation(name, preset)
        recipes = found.recipes()
        assert len(recipes) == found.seeds * len(found.arms)
        assert len({(recipe.arm, recipe.seed) for recipe in recipes}) == len(recipes)
        for recipe in found.arms.values():
            training.recipe.check_recipe(recipe)
            durations = training.recipe.plan(recipe, 10_000)
            assert 0 <= durations.warmup < durations.steps
            assert 0 < durations.checkpoint_every <= durations.steps

    @pytest.mark.parametrize(("name", "preset"), CASES)
    def test_every_network_fits_an_image(self, name, preset):
        for arm, recipe in ablation(name, preset).arms.items():
            if recipe.model.name in models.names() and not recipe.model.options:
                continue  # as registered, and tested there
            rows = summary(recipe).rows
            assert rows[-1].shape == (10,), arm
            assert sum(row.weights for row in rows) > 0, arm

    @pytest.mark.parametrize(("name", "preset"), CASES)
    def test_claim_speaks_of_the_arms(self, name, preset):
        found = ablation(name, preset)
        compared = {arm for comparison in found.claim.comparisons for arm in comparison.arms}
        assert compared == set(found.arms), "an arm that nothing compares is only cost"
        assert re.fullmatch(r"[ES]\d+", found.claim.id)

    @pytest.mark.parametrize(("name", "preset"), CASES)
    def test_arms_differ_in_what_the_claim_names(self, name, preset):
        """Data, augmentation, schedule and length are the same in all arms."""
        recipes = [flat(identity(recipe)) for recipe in ablation(name, preset).arms.values()]
        differing = {key for key in recipes[0] if len({repr(each[key]) for each in recipes}) > 1}
        assert differing <= {"arm", "model.name"} | MAY_DIFFER.get(name, set())
        assert all(each.keys() == recipes[0].keys() for each in recipes)

    @pytest.mark.parametrize("name", MODULES)
    def test_the_default_preset_is_one(self, name):
        default = inspect.signature(MODULES[name].get_config).parameters["preset"].default
        assert (name, default) in CASES


class TestPaperPresets:
    """So that what only an accelerator can run in full does not rot."""

    @staticmethod
    def short(name, arm):
        """A run of two steps of eight images, with nothing that takes longer."""
        recipe = ablation(name, "paper").recipe(arm, 0)
        never = dict.fromkeys(("epochs", "evaluate_epochs", "checkpoint_epochs"), 0.0)
        never |= dict.fromkeys(("evaluate_steps", "checkpoint_steps"), 0)
        return recipe.override(
            {
                "train": never | {"batch_size": 8, "eval_batch_size": 8, "steps": 2},
                "optimizer.lookahead": min(recipe.optimizer.lookahead, 2),
                "schedule": {"warmup_steps": 0, "warmup_epochs": 0.0, "warmup_rate": 0.0},
            }
        )

    @pytest.mark.parametrize("name", PAPER)
    def test_step_can_be_traced(self, name):
        recipe = self.short(name, next(iter(ablation(name, "paper").arms)))
        dataset, key = stand_in(recipe), jax.random.key(0)
        found = program(recipe, dataset)
        after = jax.eval_shape(found.train, found.shapes, *found.feed.shapes(), key)
        assert after == found.shapes

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "arm"), [(name, arm) for name in PAPER for arm in ablation(name, "paper").arms]
    )
    def test_two_steps(self, name, arm):
        recipe = self.short(name, arm)
        dataset, key = stand_in(recipe), jax.random.key(0)
        found = compiled(recipe, dataset)
        state, fed = found.begin(key), found.feed.shapes()
        for _ in range(2):
            state = found.train(state, *fed, key)
        assert state.step == 2
        assert np.isfinite(state.tally.loss)


class TestStackedConvs:
    """E1, and that its controls change one thing each."""

    @pytest.mark.parametrize("preset", E1)
    def test_same_receptive_field_in_what_is_compared(self, preset):
        found = summaries("stacked_convs", preset)
        fields = {arm: summary.receptive_field for arm, summary in found.items()}
        for comparison in ablation("stacked_convs", preset).claim.comparisons:
            assert fields[comparison.treatment] == fields[comparison.baseline]

    @pytest.mark.parametrize("preset", E1)
    def test_fewer_weights_more_memory(self, preset):
        found = summaries("stacked_convs", preset)
        stack, single = found["three_3x3"], found["one_7x7"]
        assert stack.params < single.params
        assert stack.activations > single.activations

    @pytest.mark.parametrize("preset", E1)
    def test_linear_control_lacks_only_the_relus(self, preset):
        found = summaries("stacked_convs", preset)
        rows, linear_rows = (
            [(row.notation, row.shape) for row in found[arm].rows]
            for arm in ("three_3x3", "three_3x3_linear")
        )
        relus = [notation == "RELU" for notation, _ in rows]
        assert [row for row, relu in zip(rows, relus, strict=True) if not relu] == [
            row for row in linear_rows if row[0] != "RELU"
        ]
        stages = sum(notation == "POOL2" for notation, _ in rows)
        assert sum(relus) == 3 * stages
        assert sum(notation == "RELU" for notation, _ in linear_rows) == stages
        pairs = [(a, b) for (a, _), (b, _) in itertools.pairwise(linear_rows)]
        assert ("RELU", "POOL2") in pairs
        assert ("BN", "CONV3-") not in pairs
        assert found["three_3x3"].params == found["three_3x3_linear"].params

    @pytest.mark.parametrize("preset", E1)
    def test_narrow_control_has_the_weights_of_the_stack(self, preset):
        """To 2%, on the channels that the preset's images have."""
        channels = 1 if preset == "digits" else 3
        found = summaries("stacked_convs", preset, (32, 32, channels))
        assert found["one_7x7_narrow"].params == pytest.approx(found["three_3x3"].params, rel=0.02)

    def test_stage_of_equal_channels_is_27_to_49(self):
        """N0's count, in the second stage of the `digits` nets: 16 channels in and out."""
        found = summaries("stacked_convs", "digits")
        weights = lambda arm, layer: sum(  # noqa: E731
            row.weights for row in found[arm].rows if row.notation == layer
        )
        first = 3 * 16
        assert weights("three_3x3", "CONV3-16") - 9 * first == (2 * 9 + 27) * 16**2
        assert weights("one_7x7", "CONV7-16") - 49 * first == 49 * 16**2


class TestOverrides:
    def test_recipe_keys(self):
        config = MODULES["stacked_convs"].get_config("digits")
        config.train.epochs = 3.0
        config.optimizer.name = "adamw"
        config.seeds = 2
        found = Ablation.from_config(config)
        assert {recipe.train.epochs for recipe in found.arms.values()} == {3.0}
        assert {recipe.optimizer.name for recipe in found.arms.values()} == {"adamw"}
        assert len(found.recipes()) == 2 * 4

    def test_misspelt_key(self):
        config = MODULES["stacked_convs"].get_config("digits")
        with pytest.raises(AttributeError, match="epochs"):
            config.train.epoch = 3.0

    def test_arms_override_the_rest(self):
        config = MODULES["stacked_convs"].get_config("digits")
        with config.unlocked():
            config.arms.one_7x7.train = {"epochs": 1.0}
        found = Ablation.from_config(config)
        assert found.arms["one_7x7"].train.epochs == 1.0
        assert found.arms["three_3x3"].train.epochs == config.train.epochs

    def test_arm_with_a_misspelt_key(self):
        config = MODULES["stacked_convs"].get_config("digits")
        with config.unlocked():
            config.arms.one_7x7.optimiser = {"name": "adamw"}
        with pytest.raises(training.RecipeError, match=r"arm 'one_7x7': .*optimi[sz]er"):
            Ablation.from_config(config)
