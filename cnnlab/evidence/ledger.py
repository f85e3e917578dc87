"""The ledger of an ablation: which runs are finished, and the doing of those that are not.

A run is finished when its folder holds a `record.json`; its folder is named by everything that
makes the run what it is, so that a changed recipe is another run. A lock that dies with its process
guards each folder: any number of processes may work on one ledger.

So may any number of machines, on a file system that they share and that takes locks between them
(`flock`): NFS from version 4 on, Lustre mounted with `flock` (not `localflock`), GPFS; buckets
mounted as folders do not. The lock of a machine that is lost is free when the server has noticed,
on NFS after its lease, about a minute.

Processes that have joined for one run (`placement.join`) are one here: the leader looks and locks.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from cnnlab.evidence.foreign import check_recipe, compare
from cnnlab.training import NotFinite, OutOfMemory, Record, UnusableFolder
from cnnlab.training.placement import agreed, leads
from cnnlab.training.recipe import Recipe, dataset_of, essence

Execute = Callable[[Recipe, Path], Record]


class Ledger:
    """The runs under `root`, e.g. `runs/stacked_convs/digits`."""

    def __init__(self, root: Path):
        self.root = root

    def folder(self, recipe: Recipe) -> Path:
        """Where a run belongs: its arm, its seed, and a digest of its recipe and data."""
        whole = {"recipe": essence(recipe), "data": dataset_of(recipe).fingerprint}
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:10]
        return self.root / recipe.arm / f"seed{recipe.seed}-{key}"

    def records(self, recipes: Iterable[Recipe]) -> list[Record]:
        """The records of those runs that are finished.

        Raises:
            ForeignRecord: a record is not of the run whose folder it lies in, as when it was moved
                there; names what differs.
        """
        places = [(recipe, self.folder(recipe) / "record.json") for recipe in recipes]
        return [_read(path, recipe) for recipe, path in places if path.exists()]

    def complete(self, recipes: Iterable[Recipe], execute: Execute) -> list[str]:
        """Do the runs that are missing, and wait for those that other processes do.

        Returns:
            What went wrong, a line for each run whose loss became no number or for which a device
            has too little memory; the others go on.

        Raises:
            UnusableFolder: nothing can be written under `root`.
            Exception: what `execute` raises, but for NotFinite and, in a process that joined no
                others, OutOfMemory.
        """
        failures: list[str] = []
        places = [(recipe, self.folder(recipe)) for recipe in recipes]
        others = []
        for place in places:
            said = self._do(*place, execute, wait=False)
            if said is None:
                others.append(place)
            else:
                failures += said
        # A process that holds a run may die in the middle: then the run is ours to take up.
        for place in others:
            failures += self._do(*place, execute, wait=True) or []
        return failures

    def attempt(self, recipe: Recipe, execute: Execute, *, wait: bool = False) -> list[str] | None:
        """Do one run, unless it is finished.

        Returns:
            What went wrong: a line or none, as `complete`. None instead of a list where another
            process is at the run, unless it is to `wait` for that.

        Raises:
            Exception: as `complete`.
        """
        return self._do(recipe, self.folder(recipe), execute, wait=wait)

    def _do(
        self, recipe: Recipe, folder: Path, execute: Execute, *, wait: bool
    ) -> list[str] | None:
        record = folder / "record.json"
        if agreed(record.exists()):
            return []
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
        if not agreed(leads() and _acquired(lock, folder)):
            return None
        try:
            if not agreed(record.exists()):  # another process may have finished it since
                execute(recipe, folder)
            return []
        except NotFinite as error:
            return [str(error)]
        except OutOfMemory as error:
            if jax.process_count() > 1:  # the others may have enough, and wait for this one
                raise
            return [str(error)]
        finally:
            lock.release()


def _read(path: Path, recipe: Recipe) -> Record:
    record = Record.read(path)
    check_recipe(str(path), record, recipe)
    data = {"fingerprint": record.dataset["fingerprint"]}
    compare(f"{path} is of other data", data, {"fingerprint": dataset_of(recipe).fingerprint})
    return record


def _acquired(lock: FileLock, folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        return False
    except OSError as error:
        raise UnusableFolder(f"cannot write to {folder}: {error}") from error
    return True
