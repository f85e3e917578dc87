"""A run's folder: whether it is the recipe's, where it was begun, and whether it is finished.

What lies there may have been edited, moved or cut short. It counts only if it is what the recipe
would have put there, and is never taken for something else, run again or written over.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnnlab.data import Dataset
from cnnlab.errors import Mistake
from cnnlab.files import write_whole
from cnnlab.training.environment import environment
from cnnlab.training.probes import metrics_of
from cnnlab.training.recipe import Recipe, completed, config_format, identity, plan
from cnnlab.training.record import ENVIRONMENT, Record, UnusableFolder


class ForeignRecord(Mistake):
    """A record of a run that the ablation does not have, or on another copy of its data."""


def finished(folder: Path, recipe: Recipe, dataset: Dataset) -> Record | None:
    """The record in a run's folder; None where the run is not finished.

    Raises:
        BadFile: it is no record, or a number in it cannot be.
        ForeignRecord: it is of another run, as when it was moved there; names what differs.
    """
    path = folder / "record.json"
    if not path.exists():
        return None
    record = Record.read(path)
    check_record(str(path), record, recipe, dataset.examples)
    data = {"fingerprint": record.dataset["fingerprint"]}
    compare(f"{path} is of other data", data, {"fingerprint": dataset.fingerprint})
    return record


def check_record(what: str, record: Record, recipe: Recipe, examples: int | None) -> None:
    """Refuse a record that no run of a recipe leaves, whatever the copy of its data.

    Args:
        what: words for the record, with which the message begins.
        record: as it was read.
        recipe: of the run that it stands for.
        examples: training images; None where nobody knows.

    Raises:
        BadFile: its recipe is none.
        ForeignRecord: names the fields that differ.
    """
    config_format().check(record.config, f"{what}: config")
    said = f"{what} was run with another recipe than the config's"
    compare(said, completed(record.config), identity(recipe))
    found = {"arm": record.arm, "seed": record.seed, "data": record.dataset["name"]}
    expected = {"arm": recipe.arm, "seed": recipe.seed, "data": recipe.data.name}
    compare(f"{what} does not agree with its config", found, expected)
    names = {name: name in record.metrics for name in (*record.metrics, *metrics_of(recipe))}
    compare(f"{what} has other metrics", names, dict.fromkeys(metrics_of(recipe), True))
    if record.diverged and recipe.train.on_divergence == "fail":
        raise ForeignRecord(f"{what} is of a run that diverged, and the recipe makes none of that")
    if examples is not None:
        steps = plan(recipe, examples).steps
        if record.steps != steps and not (record.diverged and record.steps < steps):
            raise ForeignRecord(f"{what}: steps = {record.steps}, not {steps}")


def compare(what: str, found: Any, expected: Any) -> None:
    """Refuse what is not as expected.

    Raises:
        ForeignRecord: begins with `what` and names the fields that differ.
    """
    if differing := list(differences(found, expected)):
        raise ForeignRecord(f"{what}: {'; '.join(differing)}")


def differences(found: Any, expected: Any, key: str = "") -> Iterator[str]:
    """Says of each field that differs what it is, there and here."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            inner = f"{key}.{name}" if key else name
            yield from differences(found.get(name), expected.get(name), inner)
    elif found != expected:
        yield f"{key} = {found!r}, not {expected!r}"


def check_same(folder: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds another run.

    Raises:
        UnusableFolder: the run there is of another recipe.
        BadFile: its `config.json` is no recipe's.
    """
    path = folder / "config.json"
    if path.exists() and completed(config_format().read(path)) != identity(recipe):
        raise UnusableFolder(f"{folder} holds a run of another recipe; see its config.json")


def check_same_backend(folder: Path) -> None:
    """Refuse to go on with a run with other convolutions than those it was begun with.

    Raises:
        UnusableFolder: says what goes on with it.
        BadFile: its `environment.json` is none.
    """
    path, here = folder / "environment.json", environment()["convolutions"]
    if not path.exists():
        return
    # What was begun before there was a choice was begun by XLA.
    begun = ENVIRONMENT.read(path).get("convolutions", "xla")
    if begun != here:
        raise UnusableFolder(
            f"{folder} holds a run begun with convolutions by {begun}, and here they would be by "
            f"{here}, with other bits; CNNLAB_CONV={begun.split()[0]} goes on with it, in another "
            "folder it starts anew"
        )


def prepare(folder: Path, recipe: Recipe, dataset: Dataset, weights: int) -> None:
    """Make the folder and say now, not hours later, that it cannot be used.

    Raises:
        UnusableFolder: a file is in the way, or there is no room for a network of so many weights.
        OSError: the machine refuses to write there.
    """
    # Parameters, gradients and momentum in float32, in a few checkpoints.
    needed = 2**24 + 3 * 4 * 4 * weights
    with nothing_in_the_way(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UnusableFolder(f"{folder} has {free:,} bytes free; the run needs {needed:,}")
        write_whole(folder / "config.json", _json(identity(recipe)))
        facts = environment_of(folder) | {"dataset": dataset.fingerprint}
        write_whole(folder / "environment.json", _json(facts))


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2, sort_keys=True)


def environment_of(folder: Path) -> dict[str, Any]:
    """Where a run in `folder` is at work, and as `begun` where it was begun, if elsewhere.

    Raises:
        BadFile: as `check_same_backend`.
    """
    here, path = environment(), folder / "environment.json"
    before = ENVIRONMENT.read(path) if path.exists() else here
    begun = before.get("begun", {fact: before.get(fact) for fact in here})
    return here if begun == here else here | {"begun": begun}


@contextmanager
def nothing_in_the_way(folder: Path) -> Iterator[None]:
    """Say of a file that stands where `folder` should be that it is the wrong place to ask for.

    Raises:
        UnusableFolder: such a file is there, or a folder where a file should be.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UnusableFolder(f"cannot write to {folder}: {error}") from error
