from typing import Any

import pytest
from ml_collections import ConfigDict

from cnnlab.evidence import Ablation, blank_config
from cnnlab.training import Recipe, RecipeError

CLAIM = {
    "id": "T1",
    "statement": "Wide beats narrow.",
    "source": "a test",
    "comparisons": (
        {
            "treatment": "wide",
            "baseline": "narrow",
            "expect": "better",
            "question": "Does width help?",
        },
    ),
}


def config_of(**arms: dict[str, Any]) -> ConfigDict:
    config = blank_config("widths", "tiny", CLAIM)
    config.data.name = "digits"
    config.train.epochs = 2.0
    config.seeds = 3
    given: dict[str, Any] = {
        "narrow": {"model": {"name": "INPUT -> FC"}},
        "wide": {"model": {"name": "INPUT -> FC-9 -> FC"}, "optimizer": {"learning_rate": 0.3}},
    }
    config.arms = ConfigDict({**given, **arms})
    return config.lock()


def test_an_arm_is_the_base_recipe_with_its_own_changes() -> None:
    ablation = Ablation.from_config(config_of())
    shared = Recipe().override({"data.name": "digits", "train.epochs": 2.0})
    wide = {"arm": "wide", "model.name": "INPUT -> FC-9 -> FC", "optimizer.learning_rate": 0.3}
    narrow = {"arm": "narrow", "model.name": "INPUT -> FC", "optimizer.learning_rate": 0.1}
    assert ablation.arms["wide"] == shared.override(wide)
    assert ablation.arms["narrow"] == shared.override(narrow)
    assert (ablation.name, ablation.preset, ablation.seeds) == ("widths", "tiny", 3)
    assert ablation.claim.title == "T1: Wide beats narrow"


def test_what_the_command_line_sets_holds_for_every_arm() -> None:
    config = config_of()
    config.train.epochs = 7.0
    config.data.directory = "/elsewhere"
    config.arms.wide.optimizer.learning_rate = 0.5
    arms = Ablation.from_config(config).arms
    assert [arm.train.epochs for arm in arms.values()] == [7.0, 7.0]
    assert [arm.data.directory for arm in arms.values()] == ["/elsewhere"] * 2
    assert (arms["narrow"].optimizer.learning_rate, arms["wide"].optimizer.learning_rate) == (
        0.1,
        0.5,
    )


def test_a_recipe_belongs_to_its_run_alone() -> None:
    ablation = Ablation.from_config(config_of())
    one, two = ablation.recipe("wide", 0), ablation.recipe("wide", 2)
    assert (one.seed, two.seed, two.train.epochs) == (0, 2, 2.0)
    assert ablation.arms["wide"].train.epochs == 2.0


def test_recipes_come_seed_by_seed() -> None:
    runs = [(recipe.seed, recipe.arm) for recipe in Ablation.from_config(config_of()).recipes()]
    assert runs == [(seed, arm) for seed in range(3) for arm in ("wide", "narrow")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": {"learning_rate": 1.0}}, r"'third'.*optimiser(.|\n)*optimizer"),
        ({"train": {"epoch": 3.0}}, r"'third'.*epoch(.|\n)*epochs"),
        ({"seed": 3}, "'third': seed = 3 would change nothing"),
        ({"arm": "other"}, "'third': arm = 'other' would change nothing"),
        ({"train": {"epochs": "three"}}, r"'third'.*(epochs|three|str)"),
    ],
)
def test_a_mistake_in_an_arm_names_arm_and_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Ablation.from_config(config_of(third=change))


def test_a_claim_speaks_of_arms_there_are() -> None:
    config = config_of()
    del config.unlock().arms.wide
    config.arms.wide_one = ConfigDict()
    with pytest.raises(ValueError, match=r"unknown arm.*'wide'.*narrow, wide_one.*'wide_one'\?"):
        Ablation.from_config(config)


def test_an_unknown_arm_is_told_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown arm: 'wild'.*wide, narrow; did you mean 'wide"):
        Ablation.from_config(config_of()).recipe("wild", 0)


@pytest.mark.parametrize("seeds", [0, -1, 1001])
def test_there_is_a_seed(seeds: int) -> None:
    config = config_of()
    config.seeds = seeds
    with pytest.raises(RecipeError, match=f"seeds = {seeds} must be from 1 to 1000"):
        Ablation.from_config(config)


def test_a_config_sets_no_single_arm_or_seed() -> None:
    config = blank_config("widths", "tiny", CLAIM)
    assert not {"arm", "seed"} & set(config)
    assert set(Recipe().to_dict()) - {"arm", "seed"} <= set(config)
    assert (config.name, config.preset, config.seeds) == ("widths", "tiny", 5)


def test_an_arm_may_set_its_networks_own_options() -> None:
    network = {"name": "INPUT -> POOL2? -> FC", "options": {"pool": False}}
    ablation = Ablation.from_config(config_of(wide={"model": network}))
    assert ablation.arms["wide"].model.options == {"pool": False}
    assert ablation.arms["narrow"].model.options == {}


def test_a_network_that_no_arm_would_use_is_refused() -> None:
    config = config_of()
    config.model.name = "resnet20"
    with pytest.raises(RecipeError, match=r"'resnet20' would change nothing.* narrow, wide"):
        Ablation.from_config(config)
    config = config_of(wide={"optimizer": {"learning_rate": 0.3}})
    config.model.name = "resnet20"
    assert Ablation.from_config(config).arms["wide"].model.name == "resnet20"


def test_a_metric_that_no_record_will_have_is_refused_before_any_run() -> None:
    config = config_of()
    with config.unlocked():
        config.claim.metric = "test_eror"
    with pytest.raises(RecipeError, match=r"claim.metric: 'test_eror'.*did you mean 'test_error'"):
        Ablation.from_config(config)


def test_arms_stand_in_the_order_asked_for_then_as_they_are_compared() -> None:
    config = config_of(another={}, zebra={})
    assert list(Ablation.from_config(config).arms) == ["wide", "narrow", "another", "zebra"]
    config.order = ("zebra", "narrow")
    ablation = Ablation.from_config(config)
    assert list(ablation.arms) == ["zebra", "narrow", "wide", "another"]
    assert [recipe.arm for recipe in ablation.recipes()[:4]] == list(ablation.arms)
    config.order = ("zebar",)
    with pytest.raises(RecipeError, match=r"unknown arm in order: 'zebar'.*did you mean 'zebra'\?"):
        Ablation.from_config(config)


def test_a_probes_metric_is_one_of_the_arms_that_have_it() -> None:
    config = config_of()
    with config.unlocked():
        config.claim.metric = "generalisation_gap"
    with pytest.raises(
        RecipeError, match=r"arm 'wide': unknown claim.metric: 'generalisation_gap'"
    ):
        Ablation.from_config(config)
    config.probe = "gap"
    assert Ablation.from_config(config).claim.metric == "generalisation_gap"
    with config.unlocked():
        config.arms.narrow.probe = ""
    with pytest.raises(RecipeError, match=r"arm 'narrow': unknown claim.metric"):
        Ablation.from_config(config)


def test_a_rate_beside_those_to_choose_from_is_refused() -> None:
    config = config_of(wide={"train": {"epochs": 2.0}})
    config.rates, config.optimizer.learning_rate = (0.1, 0.2), 0.1
    Ablation.from_config(config)
    config.optimizer.learning_rate = 0.3
    with pytest.raises(
        RecipeError, match=r"= 0\.3 would change nothing: .* rates = \(0\.1, 0\.2\)"
    ):
        Ablation.from_config(config)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((0.1, 0.1), r"rates = \(0\.1, 0\.1\) must be positive and differ"),
        ((0.1, 0.0), "must be positive and differ"),
        ((0.1, float("nan")), r"learning_rate = nan must be a number"),
        ((0.1, -1.0), r"learning_rate = -1\.0 must be"),
        ((0.1, "0.2"), r"config: rates\[1\] must be number, not '0\.2'"),
        ("0.1", r"config: rates must be array, not '0\.1'"),
    ],
)
def test_rates_that_are_none(rates: object, words: str) -> None:
    config = blank_config("widths", "tiny", CLAIM)
    config.arms = ConfigDict({"narrow": {}, "wide": {}})
    with config.ignore_type():
        config.rates = rates
    with pytest.raises(RecipeError, match=words):
        Ablation.from_config(config)
