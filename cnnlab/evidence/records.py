"""Published records: what a table is made of, one JSON line a run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cnnlab.evidence.ablation import SELECTION_SEED, Ablation
from cnnlab.evidence.scaling import DATA
from cnnlab.evidence.selection import choose_rates, selection_recipes
from cnnlab.files import inside, write_whole
from cnnlab.training import Record
from cnnlab.training.folder import ForeignRecord, check_record, compare
from cnnlab.training.recipe import Recipe, completed, config_format, identity


def read_records(path: Path, ablation: Ablation) -> tuple[Ablation, list[Record]]:
    """The published records of an ablation.

    Returns:
        The ablation with the learning rates that the records of its selection give, and the
        records of its tables.

    Raises:
        BadFile: a line is no record, or a number in it cannot be; names the line.
        ForeignRecord: a record is not of one of the ablation's recipes and seeds, as when the
            config has changed since, or not on the copy of its data that the others were, or there
            twice; names what differs.
        RateNotChosen: as `choose_rates`.
    """
    records = Record.read_lines(path)
    for record in records:
        config_format().check(record.config, f"{path}: {_name(record)}: config")
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


def records_path(results: Path, ablation: Ablation) -> Path:
    """Where the records of an ablation are published, in the folder of all results."""
    return inside(ablation.home(results), f"{ablation.preset}.jsonl")


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
    title = str(record.dataset["title"])
    whole = "train images" not in title  # a copy that lacks some says so there
    known = DATA[recipe.data.name].examples if whole and recipe.data.name in DATA else None
    check_record(f"{path}: {_name(record)}", record, recipe, known)


def _rate(config: Mapping[str, Any]) -> float:
    return float(completed(dict(config))["optimizer"]["learning_rate"])


def _name(record: Record) -> str:
    return f"arm {record.arm!r} seed {record.seed}"
