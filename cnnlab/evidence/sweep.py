"""A sweep: the runs of any number of ablations, done one after another, and the time they take.

`processes` and `cluster` do the same on all of a machine and on many. All go through the ledgers'
locks, so that other processes may be at the same sweep, and do no run twice. All give the same
records, to the bit where a run has as many cores (XLA may split sums otherwise).
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rich.console import Console

from cnnlab import training
from cnnlab.errors import Mistake
from cnnlab.evidence.ledger import Ledger
from cnnlab.native.memory import keep_memory
from cnnlab.training import Record, journal, placement
from cnnlab.training.recipe import Recipe, plan

LOST = 3
"""How often the process or the machine of a run may be lost before the run counts as failed."""


def prepare() -> None:
    """What a process does first that is to train."""
    keep_memory()
    placement.keep_compiled()


class CannotSweep(Mistake):
    """The processes, or the cluster, that were asked for cannot be had."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep, and the ledger that it belongs to."""

    ledger: Ledger
    recipe: Recipe

    @functools.cached_property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.ledger.folder(self.recipe)

    @property
    def finished(self) -> bool:
        """Whether there is a record of it.

        Raises:
            BadFile, ForeignRecord: as `Ledger.record`.
        """
        return (self.folder / "record.json").exists() and bool(self._record)

    @functools.cached_property
    def _record(self) -> Record:
        (record,) = self.ledger.records([self.recipe])
        return record

    def attempt(self, console: Console, *, wait: bool) -> list[str] | None:
        """Train, unless it is finished; gives and raises what `Ledger.attempt` does."""
        execute = functools.partial(training.run, console=console)
        return self.ledger.attempt(self.recipe, execute, wait=wait)

    def seconds(self) -> float | None:
        """How long it trained, by its record and its journal; None where they do not tell."""
        return self._seconds if self.finished else None

    @functools.cached_property
    def _seconds(self) -> float | None:
        lines = journal.read(self.folder)
        rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
        if not rates:
            return None
        return float(self._record.steps * self.recipe.train.batch_size / rates[-1])

    def work(self) -> float | None:
        """How much it computes: multiply-adds of a forward pass, times the images trained on.

        None where the network's MACs are not known.
        """
        # What differs in nothing else is one.
        return _work(self.recipe.override({"arm": "", "seed": 0, "optimizer.learning_rate": 0.0}))

    def __str__(self) -> str:
        return f"{self.recipe.arm} seed {self.recipe.seed} in {self.ledger.root}"


@functools.lru_cache
def _work(recipe: Recipe) -> float | None:
    dataset, network = training.inspect(recipe)
    if network.macs is None:
        return None
    steps = plan(recipe, dataset.examples).steps
    return float(network.macs) * steps * recipe.train.batch_size


Done = tuple[Run, list[str]]
"""A run that is over, and what went wrong: nothing, or a line."""


def one_by_one(runs: Iterable[Run], console: Console) -> Iterator[Done]:
    """One after another in this process, those last that other processes are at.

    Raises:
        Exception: what `Ledger.attempt` raises.
    """
    held = []
    for run in runs:
        failures = run.attempt(console, wait=False)
        if failures is None:
            held.append(run)
        else:
            yield run, failures
    for run in held:
        yield run, run.attempt(console, wait=True) or []


class TimeLeft(NamedTuple):
    """An estimate: `seconds` for the runs that it can judge, and how many it cannot."""

    seconds: float
    unknown: int


def time_left(runs: Iterable[Run], at_once: int) -> TimeLeft:
    """How long the unfinished of `runs` take, `at_once` at a time.

    A run is taken to need as long as the finished ones of its arm did, else as long for its work as
    the finished ones of its ledger needed for theirs, else as those of all; half-finished runs
    count whole.
    """
    arms: dict[tuple[Path, str], list[float]] = defaultdict(list)
    paces: dict[Path | None, list[float]] = defaultdict(list)
    missing = []
    for run in runs:
        seconds = run.seconds()
        if not run.finished:
            missing.append(run)
        elif seconds is not None:
            arms[run.ledger.root, run.recipe.arm].append(seconds)
            if work := run.work():
                for whose in (run.ledger.root, None):
                    paces[whose].append(seconds / work)
    known = []
    for run in missing:
        if times := arms.get((run.ledger.root, run.recipe.arm)):
            known.append(fmean(times))
        elif (pace := paces.get(run.ledger.root) or paces.get(None)) and (work := run.work()):
            known.append(fmean(pace) * work)
    return TimeLeft(sum(known) / min(at_once, len(missing) or 1), len(missing) - len(known))
