"""The choice of each arm's learning rate, by validation error and nothing else.

Every arm is run once at each of the ablation's rates, with a seed that no table has; the rate of
least validation error, the smaller of two that tie, is the arm's in all its other runs. A run that
diverges counts as guessing, and loses to any that does not. The runs stay in the ledger and are
published beside the others, so that the choice can be made again from records.
"""

import dataclasses
from collections.abc import Iterable

from cnnlab.errors import Mistake
from cnnlab.evidence.ablation import SELECTION_SEED, Ablation
from cnnlab.evidence.ledger import Execute, Ledger
from cnnlab.training import Record
from cnnlab.training.recipe import Recipe, completed


class RateNotChosen(Mistake):
    """An arm's learning rate cannot be chosen, because a run that is to tell is missing."""


def selection_recipes(ablation: Ablation) -> list[Recipe]:
    """All runs that the choice needs; none where the ablation has no rates to choose from."""
    return [_recipe(ablation, arm, rate) for rate in ablation.rates for arm in ablation.arms]


def _recipe(ablation: Ablation, arm: str, rate: float) -> Recipe:
    """The recipe of the run that tells how good `rate` is for `arm`."""
    changes = {"optimizer.learning_rate": rate, "train.on_divergence": "chance", "probe": ""}
    return ablation.recipe(arm, SELECTION_SEED).override(changes)


def choose_rates(ablation: Ablation, records: Iterable[Record]) -> Ablation:
    """The ablation with each arm at its rate.

    Args:
        ablation: with the rates to choose from; as it is if there are none.
        records: of the runs of `selection_recipes`; others are passed over.

    Raises:
        RateNotChosen: a run is missing; names its arm and rate.
    """
    if not ablation.rates:
        return ablation
    records = list(records)
    arms = {
        arm: recipe.override({"optimizer.learning_rate": _best(ablation, arm, records)})
        for arm, recipe in ablation.arms.items()
    }
    return dataclasses.replace(ablation, arms=arms)


def _best(ablation: Ablation, arm: str, records: Iterable[Record]) -> float:
    runs = _runs(arm, records)
    if missing := [rate for rate in ablation.rates if rate not in runs]:
        claim = ablation.claim.id
        raise RateNotChosen(f"{claim}: no run of arm {arm!r} at the rate {missing[0]}")
    ranks = {(run.diverged, run.metrics["validation_error"], rate) for rate, run in runs.items()}
    return min(ranks)[-1]


def _runs(arm: str, records: Iterable[Record]) -> dict[float, Record]:
    """The run of an arm at each rate."""
    return {
        completed(record.config)["optimizer"]["learning_rate"]: record
        for record in records
        if (record.arm, record.seed) == (arm, SELECTION_SEED)
    }


def tune(ablation: Ablation, ledger: Ledger, execute: Execute) -> tuple[Ablation, list[Record]]:
    """Do the runs that the choice needs, and make it.

    Returns:
        The ablation with each arm at its rate, and the records that told.

    Raises:
        RateNotChosen: a run failed; says why.
        Exception: as `Ledger.complete`.
    """
    recipes = selection_recipes(ablation)
    if failures := ledger.complete(recipes, execute):
        raise RateNotChosen(f"{ablation.claim.id}: a run that is to tell failed. {failures[0]}")
    told = ledger.records(recipes)
    return choose_rates(ablation, told), told


def at_the_edge(ablation: Ablation) -> list[str]:
    """The arms whose chosen rate is the least or the largest there was: a better may lie beyond."""
    ends = {min(ablation.rates), max(ablation.rates)} if len(ablation.rates) > 1 else set()
    return [arm for arm, recipe in ablation.arms.items() if recipe.optimizer.learning_rate in ends]
