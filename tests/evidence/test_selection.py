"""Learning rates: chosen by validation error of runs apart, never by the table's or test error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from cnnlab.evidence import (
    Ablation,
    ForeignRecord,
    Ledger,
    RateNotChosen,
    blank_config,
    read_records,
    tune,
    write_records,
)
from cnnlab.evidence.caption import caption
from cnnlab.evidence.selection import at_the_edge, choose_rates, selection_recipes
from cnnlab.evidence.tables import readable_arms
from cnnlab.training import OutOfMemory, RecipeError, Record
from cnnlab.training.recipe import Recipe, dataset_of, identity

CLAIM = {
    "id": "T1",
    "statement": "Wide beats narrow.",
    "source": "a test",
    "comparisons": (
        {"treatment": "wide", "baseline": "narrow", "expect": "better", "question": "Does it?"},
    ),
}
RATES = (0.3, 0.1, 0.03)
# The rates in the order above. Test errors say the opposite of validation errors.
VALIDATION = {"wide": (30.0, 10.0, 20.0), "narrow": (90.0, 40.0, 40.0)}


def ablation_of(**changes: object) -> Ablation:
    config = blank_config("widths", "tiny", CLAIM)
    config.arms = ConfigDict({"narrow": {}, "wide": {"model": {"name": "INPUT -> FC-9 -> FC"}}})
    config.model.name = "INPUT -> FC"
    config.train.steps, config.seeds, config.probe, config.rates = 9, 2, "gap", RATES
    config.update(changes)
    return Ablation.from_config(config)


@pytest.fixture
def ablation() -> Ablation:
    return ablation_of()


@pytest.fixture
def record_of(
    records_of: Callable[..., list[Record]], run_of: Callable[[Record, Recipe], Record]
) -> Callable[..., Record]:
    """Makes the record of a recipe."""

    def make(recipe: Recipe, validation: float = 50.0, test: float = 50.0) -> Record:
        (record,) = records_of({recipe.arm: [0.0]})
        metrics = record.metrics | {"validation_error": validation, "test_error": test}
        data = {**record.dataset, "fingerprint": dataset_of(recipe).fingerprint}
        return run_of(replace(record, metrics=metrics, dataset=data), recipe)

    return make


@pytest.fixture
def told(ablation: Ablation, record_of: Callable[..., Record]) -> list[Record]:
    """What the runs of the selection leave."""
    found = []
    for recipe in selection_recipes(ablation):
        error = VALIDATION[recipe.arm][RATES.index(recipe.optimizer.learning_rate)]
        found.append(record_of(recipe, error, 100 - error))
    return found


def test_every_arm_runs_once_at_every_rate_with_a_seed_apart(ablation: Ablation) -> None:
    recipes = selection_recipes(ablation)
    assert {(r.arm, r.optimizer.learning_rate) for r in recipes} == {
        (arm, rate) for arm in ("narrow", "wide") for rate in RATES
    }
    assert len(recipes) == 6
    assert {r.seed for r in recipes} == {1000}
    assert not {r.seed for r in recipes} & {r.seed for r in ablation.recipes()}
    assert {(r.probe, r.train.on_divergence) for r in recipes} == {("", "chance")}
    assert {(r.probe, r.train.on_divergence) for r in ablation.recipes()} == {("gap", "fail")}
    assert {r.model.name for r in recipes if r.arm == "wide"} == {"INPUT -> FC-9 -> FC"}


def test_validation_error_decides_and_the_smaller_of_two_that_tie(
    ablation: Ablation, told: list[Record], record_of: Callable[..., Record]
) -> None:
    tables = [record_of(recipe, 0.0) for recipe in ablation.recipes()]  # of the base rate, 0.1
    for records in (told, told[::-1], [*tables, *told]):
        chosen = choose_rates(ablation, records)
        rates = {arm: recipe.optimizer.learning_rate for arm, recipe in chosen.arms.items()}
        assert rates == {"wide": 0.1, "narrow": 0.03}
    assert {(r.arm, r.optimizer.learning_rate, r.seed) for r in chosen.recipes()} == {
        (arm, rates[arm], seed) for arm in rates for seed in (0, 1)
    }
    assert at_the_edge(chosen) == ["narrow"]
    assert {r.optimizer.learning_rate for r in ablation.arms.values()} == {0.1}, "ours was changed"


def test_a_run_that_diverged_loses_to_one_that_guesses(
    ablation: Ablation, told: list[Record]
) -> None:
    """All but the largest rate of the wide net do worse than guessing, which is 90%."""
    others = [record for record in told if record.arm != "wide"]
    at = {r.config["optimizer"]["learning_rate"]: r for r in told if r.arm == "wide"}
    guessing = replace(at[0.3], metrics=at[0.3].metrics | {"validation_error": 90.0})
    worse = [
        replace(at[rate], metrics=at[rate].metrics | {"validation_error": 90.5})
        for rate in (0.1, 0.03)
    ]
    for parameters, rate in ((guessing.parameters, 0.3), ("", 0.03)):
        first = replace(guessing, parameters=parameters)
        chosen = choose_rates(ablation, [*others, first, *worse])
        assert chosen.arms["wide"].optimizer.learning_rate == rate


def test_no_rates_no_choice() -> None:
    plain = ablation_of(rates=())
    assert selection_recipes(plain) == []
    assert choose_rates(plain, []) is plain
    assert at_the_edge(plain) == []


def test_a_missing_run_is_named(ablation: Ablation, told: list[Record]) -> None:
    with pytest.raises(RateNotChosen, match=r"^T1: no run of arm 'narrow' at the rate 0\.03$"):
        choose_rates(ablation, told[:-1])


def test_an_arm_with_a_rate_of_its_own_is_refused() -> None:
    own = {"narrow": {"optimizer": {"learning_rate": 0.5}}, "wide": {}}
    with pytest.raises(RecipeError, match=r"'narrow': optimizer.learning_rate = 0.5 .* \(0.3, 0.1"):
        ablation_of(arms=ConfigDict(own))


def test_what_is_missing_is_run_and_the_choice_made(
    ablation: Ablation, told: list[Record], tmp_path: Path
) -> None:
    done, ledger = [], Ledger(tmp_path)

    def execute(recipe: Recipe, folder: Path) -> Record:
        (record,) = (r for r in told if r.config == identity(recipe))
        record.write(folder / "record.json")
        done.append((recipe.arm, recipe.optimizer.learning_rate))
        return record

    chosen, found = tune(ablation, ledger, execute)
    assert (chosen, found) == (choose_rates(ablation, told), told)
    assert tune(ablation, ledger, execute) == (chosen, found)
    assert len(done) == 6, "a finished run was done again"


def test_a_run_that_fails_is_told(ablation: Ablation, tmp_path: Path) -> None:
    def execute(recipe: Recipe, folder: Path) -> Record:
        raise OutOfMemory(f"{recipe.arm} seed {recipe.seed}: why")

    with pytest.raises(RateNotChosen, match=r"^T1: .* failed\. wide seed 1000: why$"):
        tune(ablation, Ledger(tmp_path), execute)


def test_the_choice_can_be_made_again_from_what_is_published(
    ablation: Ablation, told: list[Record], record_of: Callable[..., Record], tmp_path: Path
) -> None:
    chosen, path = choose_rates(ablation, told), tmp_path / "tiny.jsonl"
    tables = [record_of(recipe) for recipe in chosen.recipes()]
    write_records(path, [*tables, *told])
    again, found = read_records(path, ablation)
    assert again == chosen
    assert sorted(r.arm + str(r.seed) for r in found) == ["narrow0", "narrow1", "wide0", "wide1"]
    before = path.read_bytes()
    write_records(path, [*told[::-1], *tables])
    assert path.read_bytes() == before

    write_records(path, [*tables, *told[1:]])
    with pytest.raises(RateNotChosen, match=r"no run of arm 'wide' at the rate 0\.3$"):
        read_records(path, ablation)
    at_base = [record_of(recipe) for recipe in ablation.recipes()]
    write_records(path, [*at_base, *told])
    with pytest.raises(
        ForeignRecord, match=r"'narrow' .*: optimizer.learning_rate = 0.1, not 0.03"
    ):
        read_records(path, ablation)
    write_records(path, [*tables, *told])
    with pytest.raises(ForeignRecord, match=r"seed 1000 is a run that the config does not have"):
        read_records(path, ablation_of(rates=(0.3, 0.1)))


def test_the_table_shows_the_rates_and_where_a_better_may_lie(
    ablation: Ablation, told: list[Record], record_of: Callable[..., Record]
) -> None:
    chosen = choose_rates(ablation, told)
    tables = [record_of(recipe) for recipe in chosen.recipes()]
    assert list(readable_arms(chosen, tables)["learning rate"]) == ["0.1", "0.03"]
    assert (
        "Each arm's learning rate is the one of 0.3, 0.1, 0.03 with the least validation error in "
        "one run (seed 1000), a noisy judge of rates that are close; at the edge of these, so that "
        "a better may lie beyond: narrow."
    ) in caption(chosen, tables)
    plain = ablation_of(rates=())
    assert "learning rate" not in readable_arms(plain, tables)
    assert "learning rate" not in caption(plain, tables)
