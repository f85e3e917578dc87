"""Published records: what a table is made of, one JSON line a run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cnnlab.evidence.ablation import SELECTION_SEED, Ablation
from cnnlab.evidence.foreign import ForeignRecord, check_recipe, compare
from cnnlab.evidence.selection import choose_rates, selection_recipes
from cnnlab.training import Record
from cnnlab.training.recipe import Recipe, completed, identity
from cnnlab.training.record import write_whole


def read_records(path: Path, ablation: Ablation) -> tuple[Ablation, list[Record]]:
    """The published records of an ablation.

    Returns:
        The ablation with the learning rates that the records of its selection give, and the
        records of its tables.

    Raises:
        ForeignRecord: a record is not of one of the ablation's recipes and seeds, as when the
            config has changed since, or not on the copy of its data that the others were, or there
            twice; names what differs.
        RateNotChosen: as `choose_rates`.
    """
    records = [Record.from_json(line) for line in path.read_text().splitlines()]
    telling = [record for record in records if ablation.rates and record.seed == SELECTION_SEED]
    asked = {
        (recipe.arm, _rate(identity(recipe))): recipe for recipe in selection_recipes(ablation)
    }
    _check_once(path, records)
    for record in telling:
        _check(path, record, asked.get((record.arm, _rate(record.config))))
    chosen = choose_rates(ablation, telling)
    tables = [record for record in records if record not in telling]
    for record in tables:
        known = record.arm in chosen.arms and record.seed < chosen.seeds
        _check(path, record, chosen.recipe(record.arm, record.seed) if known else None)
    first: dict[tuple[str, str], Record] = {}
    for record in records:
        data = completed(record.config)["data"]
        other = first.setdefault((data["name"], data["preprocess"]), record)
        what = f"{path}: {_name(record)} was run on other data than {_name(other)}"
        compare(what, record.dataset, other.dataset)
    return chosen, tables


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Publish records at `path`, sorted by arm and seed."""
    ordered = sorted(records, key=lambda each: (each.arm, each.seed, _rate(each.config)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(record.to_json() + "\n" for record in ordered))


def _check_once(path: Path, records: Iterable[Record]) -> None:
    seen = Counter((_name(record), _rate(record.config)) for record in records)
    if twice := [f"{name} at rate {rate:g}" for (name, rate), times in seen.items() if times > 1]:
        raise ForeignRecord(f"{path}: more than one record of {', '.join(twice)}")


def _check(path: Path, record: Record, recipe: Recipe | None) -> None:
    if recipe is None:
        raise ForeignRecord(f"{path}: {_name(record)} is a run that the config does not have")
    check_recipe(f"{path}: {_name(record)}", record, recipe)


def _rate(config: Mapping[str, Any]) -> float:
    return float(config["optimizer"]["learning_rate"])


def _name(record: Record) -> str:
    return f"arm {record.arm!r} seed {record.seed}"
