"""The ledger of an ablation: which runs are finished, and the doing of those that are not.

A run is finished when its folder holds a `record.json` that is its own: another one, or one that
makes no sense, is told and stays. The folder is named by everything that makes the run what it is,
so that a changed recipe is another run. A lock that dies with its process guards each folder: any
number of processes may work on one ledger.

So may any number of machines, on a file system that they share and that takes locks between them
(`flock`): NFS from version 4 on, Lustre mounted with `flock` (not `localflock`), GPFS; buckets
mounted as folders do not. The lock of a machine that is lost is free when the server has noticed,
on NFS after its lease, about a minute.

Processes that have joined for one run (`placement.join`) are one here: the leader looks and locks.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from cnnlab.data import Dataset
from cnnlab.files import inside
from cnnlab.training import NotFinite, OutOfMemory, Record
from cnnlab.training.folder import finished, nothing_in_the_way
from cnnlab.training.placement import by_leader, leads
from cnnlab.training.recipe import Recipe, dataset_of, essence

Execute = Callable[[Recipe, Path], Record]


class Ledger:
    """The runs under `root`, e.g. `runs/stacked_convs/digits`."""

    def __init__(self, root: Path):
        self.root = root

    def folder(self, recipe: Recipe) -> Path:
        """Where a run belongs: its arm, its seed, and a digest of its recipe and data.

        Raises:
            BadName: no folder can be named after the arm.
        """
        return self._folder(recipe, dataset_of(recipe))

    def _folder(self, recipe: Recipe, dataset: Dataset) -> Path:
        whole = {"recipe": essence(recipe), "data": dataset.fingerprint}
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:10]
        return inside(self.root, recipe.arm, f"seed{recipe.seed}-{key}")

    def record(self, recipe: Recipe) -> Record | None:
        """The record of a run; None where it is not finished.

        Raises:
            BadFile, ForeignRecord: as `training.folder.finished`.
        """
        dataset = dataset_of(recipe)
        return finished(self._folder(recipe, dataset), recipe, dataset)

    def records(self, recipes: Iterable[Recipe]) -> list[Record]:
        """The records of those runs that are finished.

        Raises:
            BadFile, ForeignRecord: as `record`.
        """
        return [record for record in map(self.record, recipes) if record]

    def complete(self, recipes: Iterable[Recipe], execute: Execute) -> list[str]:
        """Do the runs that are missing, and wait for those that other processes do.

        Returns:
            What went wrong, a line for each run whose loss became no number or for which a device
            has too little memory; the others go on.

        Raises:
            UnusableFolder: a file stands where a folder under `root` should be.
            BadFile, ForeignRecord, BadName: as `record` and `folder`.
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
        if by_leader(lambda: self.record(recipe) is not None):
            return []
        lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        if not by_leader(lambda: _acquired(lock, folder)):
            return None
        try:
            # Another process may have finished it since.
            if by_leader(lambda: self.record(recipe) is None):
                execute(recipe, folder)
            return []
        except NotFinite as error:
            return [str(error)]
        except OutOfMemory as error:
            if jax.process_count() > 1:  # the others may have enough, and wait for this one
                raise
            return [str(error)]
        finally:
            if leads():
                _leave(lock, folder, made)


def _acquired(lock: FileLock, folder: Path) -> bool:
    with nothing_in_the_way(folder):
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
                return True
            except Timeout:
                return False
            except FileNotFoundError:  # whoever had it was refused, and took the folder away
                continue


def _leave(lock: FileLock, folder: Path, made: list[Path]) -> None:
    """Let go of a run; if it was refused before it wrote anything, without a trace of it."""
    with suppress(OSError):
        if os.listdir(folder) == [".lock"]:
            (folder / ".lock").unlink()
            for empty in made:
                empty.rmdir()
    lock.release()
