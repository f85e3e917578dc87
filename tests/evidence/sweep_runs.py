"""Runs for the tests of sweeps: tiny real ones, and some that do what seldom happens."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cnnlab.evidence import Ledger
from cnnlab.evidence.sweep import Run
from cnnlab.training import Recipe, Record, SaveFailed

SMALL = "INPUT -> AVGPOOL4 -> FC"
# Its digest tells on how many cores it was trained: XLA splits the large filters' sums by them.
LARGE = "INPUT -> AVGPOOL2 -> CONV7-16 -> BN -> RELU -> POOL2 -> GAP -> FC"


def recipe_of(arm: str, seed: int, net: str = SMALL, **train: object) -> Recipe:
    """A few steps on the digits."""
    train = {"batch_size": 64, "eval_batch_size": 180, "steps": 10} | train
    augment = {"crop_padding": 0, "flip": False}
    return Recipe(arm=arm, seed=seed).override(
        {"model.name": net, "augment": augment, "train": train}
    )


def runs_of(root: Path, *, seeds: int, **options: object) -> list[Run]:
    ledger = Ledger(root)
    return [Run(ledger, recipe_of("trained", seed, **options)) for seed in range(seeds)]


def records(runs: list[Run]) -> list[Record]:
    return [Record.read(run.folder / "record.json") for run in runs]


@dataclass(frozen=True)
class StandIn(Run):
    """Does what its arm is called, and notes each attempt with its process and cores."""

    def attempt(self, console: Console, *, wait: bool) -> list[str] | None:
        root, arm = self.ledger.root, self.recipe.arm
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        with (root / f"{arm}.attempts").open("a") as file:
            file.write(f"{os.getpid()} {cores} {wait}\n")
        if arm == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if arm == "held" and not wait:
            return None
        if arm == "unsaved":
            raise SaveFailed("the disk is full")
        return [f"{arm} is no number"] if arm == "diverges" else []


def attempts(root: Path, arm: str) -> int:
    return len((root / f"{arm}.attempts").read_text().splitlines())
